package table

import (
	"cmp"
	"fmt"
	"net"
	"slices"
	"strconv"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/match"
)

// workload is what one workload declares and where it is live. It belongs to every table that is made while neither changes.
type workload struct {
	id          string
	declaration *ruche.Declaration
	live        []*ruche.Endpoint // in the order of their IDs; none: it is nowhere
	life        life
	parts       []part
	diagnostics []ruche.Diagnostic // about its routes that cannot be compiled
}

// part is one route of a workload.
type part struct {
	workload *workload
	route    *ruche.Route
	place    int    // among the workload's
	id       string // of the joined route
	parsed   *Route // until the part is settled first
}

func newWorkload(d *ruche.Declaration, live []*ruche.Endpoint) *workload {
	w := &workload{id: d.Workload.ID, declaration: d, live: live, life: lifeOf(d, live), parts: make([]part, 0, len(d.Routes))}
	for i := range d.Routes {
		r := &d.Routes[i]
		parsed, id, err := parse(r)
		if err != nil {
			w.diagnostics = w.report(w.diagnostics, r, codeOf(r), err.Error(), "the route is not in force; correct it where it is declared")
			continue
		}
		w.parts = append(w.parts, part{w, r, i, id, parsed})
	}
	return w
}

func lifeOf(d *ruche.Declaration, live []*ruche.Endpoint) life {
	runs := func(e *ruche.Endpoint) bool { return e.State != ruche.EndpointStopped }
	switch {
	case !d.GoneSince.IsZero():
		return gone
	case d.Workload.Kind != ruche.KindFile && !slices.ContainsFunc(live, runs):
		return resting
	}
	return running
}

func (w *workload) owner() owner { return owner{w.declaration.Workload, w.life} }

// report adds a diagnostic about a declared route. What is gone is past complaining about.
func (w *workload) report(to []ruche.Diagnostic, r *ruche.Route, code ruche.Code, message, hint string) []ruche.Diagnostic {
	if w.life == gone {
		return to
	}
	return append(to, ruche.Diagnostic{
		Code: code, Severity: ruche.SeverityError, Workload: w.declaration.Workload.Name,
		Source: r.Source, Host: r.Match.Host, Message: message, Hint: hint,
	})
}

func compareOwners(a, b owner) int {
	switch {
	case a.before(b):
		return -1
	case b.before(a):
		return 1
	}
	return 0
}

// parse compiles a declared match. Routes with equal keys join.
func parse(d *ruche.Route) (r *Route, key string, err error) {
	r = &Route{Vocabulary: d.Vocabulary, Match: d.Match}
	if d.Protocol != "" {
		return parseStream(d)
	}
	if d.Match.Rule != "" {
		if r.rule, err = match.ParseRule(d.Match.Rule); err != nil {
			return nil, "", err
		}
		r.priority = cmp.Or(d.Match.Priority, r.rule.Len())
		r.Hosts, _ = r.rule.Hosts()
		r.ID = string(d.Vocabulary) + ":" + d.Name
		return r, r.ID, nil
	}
	if r.host, err = match.ParseHost(d.Match.Host); err != nil {
		return nil, "", err
	}
	if r.path, err = match.ParsePath(cmp.Or(d.Match.Path, "/")); err != nil {
		return nil, "", err
	}
	r.Match = ruche.Match{Host: r.host.String(), Path: r.path.String()}
	r.Hosts = []string{r.Match.Host}
	r.ID = string(d.Vocabulary) + ":" + r.Match.Host + r.Match.Path
	return r, r.ID, nil
}

func codeOf(r *ruche.Route) ruche.Code {
	if r.Match.Rule != "" {
		return ruche.CodeRuleInvalid
	}
	if r.Protocol != "" {
		return ruche.CodeHostInvalid
	}
	if _, err := match.ParseHost(r.Match.Host); err != nil {
		return ruche.CodeHostInvalid
	}
	return ruche.CodePathInvalid
}

// take returns the parsed route for the caller to complete.
func (p *part) take() *Route {
	r := p.parsed
	if p.parsed = nil; r == nil {
		r, _, _ = parse(p.route) // which has been parsed before
	}
	return r
}

func (p *part) name() string { return p.workload.declaration.Workload.Name }

func (p *part) life() life { return p.workload.life }

// settle makes a route of its parts, which come in the order in which they win: it decides the settings and lists the endpoints.
func settle(parts []*part) *Route {
	r := parts[0].take()
	r.parts, r.owner = parts, parts[0].workload.owner()
	agreed := r.agreed()
	decider := decider(agreed)
	r.Dest, r.CleanPath, r.Blocked = decider.route.Dest, decider.route.CleanPath, decider.route.Blocked
	for _, p := range agreed {
		d := p.workload.declaration
		r.Sources = append(r.Sources, ruche.RouteSource{
			Workload: d.Workload.Name, WorkloadKind: d.Workload.Kind, Source: p.route.Source, GoneSince: d.GoneSince,
		})
		if p.route.Blocked != "" && r.Blocked == "" {
			r.report(p, ruche.CodeRouteConflict, "its endpoints get no requests: "+p.route.Blocked,
				decider.name()+" declares the same route without a restriction and is served; remove one of them")
			continue
		}
		if p.life() == decider.life() {
			r.agree(decider, p)
			if r.opens(p) {
				r.report(p, ruche.CodeRouteConflict, "its endpoints get no requests: it asks for client certificates otherwise than "+decider.name(),
					"declare the same on all workloads of a host and path")
				continue
			}
		}
		r.addEndpoints(p)
	}
	r.complete()
	return r
}

// agreed returns the parts that mean the same requests as the first. Others are routers alone: one name, two rules.
func (r *Route) agreed() []*part {
	agreed := r.parts[:1:1]
	for _, p := range r.parts[1:] {
		switch match := p.take().Match; {
		case match == r.Match:
			agreed = append(agreed, p)
		case p.life() == r.owner.life: // What does not run makes way for what does without a word.
			r.report(p, ruche.CodeRouteConflict,
				fmt.Sprintf("router %q is declared with %s, but %s declares it with %s", p.route.Name, describeRule(p.route.Match),
					r.owner.workload.Name, describeRule(r.parts[0].route.Match)),
				"the oldest workload that runs wins; give the routers different names, or the same rule and priority")
		}
	}
	return agreed
}

func (r *Route) report(p *part, code ruche.Code, message, hint string) {
	r.diagnostics = p.workload.report(r.diagnostics, p.route, code, message, hint)
}

func describeRule(m ruche.Match) string {
	if m.Priority == 0 {
		return "the rule " + m.Rule
	}
	return fmt.Sprintf("the rule %s and priority %d", m.Rule, m.Priority)
}

// decider is the part whose settings are in force: the first, but one that must not be served only when there is no other that is
// as alive. What its owner closed stays closed, and does not close what others opened.
func decider(parts []*part) *part {
	for _, p := range parts {
		if p.route.Blocked == "" && p.life() == parts[0].life() {
			return p
		}
	}
	return parts[0]
}

func (r *Route) addEndpoints(p *part) {
	w := p.workload.declaration.Workload
	if len(p.route.Endpoints) > 0 {
		for i, u := range p.route.Endpoints {
			scheme, address, ok := parseEndpoint(u)
			if !ok {
				r.report(p, ruche.CodeValueInvalid, fmt.Sprintf("endpoint %q is not a base URL", u), "write for example http://127.0.0.1:9100")
				continue
			}
			state := ruche.EndpointReady
			if p.life() == gone {
				state = ruche.EndpointStopped
			}
			r.addEndpoint(Endpoint{
				Scheme: scheme, Address: address, Weight: weight(p.route, i), WorkloadID: w.ID, Workload: w.Name, Node: w.Node, State: state,
				PortReason: "fixed endpoint",
			})
		}
		return
	}
	for _, live := range p.workload.live {
		r.addEndpoint(p.endpoint(live))
	}
}

// endpoint is where a live endpoint of the workload takes the requests of this route.
func (p *part) endpoint(live *ruche.Endpoint) Endpoint {
	w := p.workload.declaration.Workload
	e := Endpoint{
		Scheme: cmp.Or(p.route.Scheme, ruche.SchemeHTTP), Weight: weight(p.route, 0), WorkloadID: w.ID, Workload: w.Name, Node: live.Node, Network: live.Network,
		NetworkReason: live.NetworkReason, PortReason: p.route.PortReason, State: live.State, StateReason: live.StateReason, Since: live.Since,
	}
	port := p.route.Port
	if live.Address == "" || port == 0 {
		return e
	}
	if len(live.Ports) > 0 {
		bound, ok := live.Ports[port]
		if !ok {
			e.State, e.StateReason = ruche.EndpointUnreachable, fmt.Sprintf("port %d is not among those that are published on its node", port)
			return e
		}
		e.PortReason = fmt.Sprintf("%s: port %d, published on its node as %d", e.PortReason, port, bound)
		port = bound
	}
	e.Address = net.JoinHostPort(live.Address, strconv.Itoa(int(port)))
	return e
}

// weight is what endpoint i of a declared route weighs.
func weight(r *ruche.Route, i int) int {
	if i < len(r.Weights) {
		return max(r.Weights[i], 0)
	}
	return 1
}

func (r *Route) addEndpoint(e Endpoint) {
	if e.Address != "" {
		e.URL = e.Scheme + "://" + e.Address
	}
	for i := range r.Endpoints {
		o := &r.Endpoints[i]
		if o.URL != e.URL || o.WorkloadID != e.WorkloadID || e.URL == "" && *o != e {
			continue
		}
		// The next task of a service may be where the one that ends still is.
		if e.Ready() && !o.Ready() {
			*o = e
		}
		return
	}
	r.Endpoints = append(r.Endpoints, e)
}
