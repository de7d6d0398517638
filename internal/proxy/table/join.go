package table

import (
	"cmp"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/match"
)

// join collects declared routes of the same vocabulary and match.
type join struct {
	declarations []declaration
	endpoints    map[string]ruche.Endpoint
	groups       map[string]*group
	diagnostics  []ruche.Diagnostic
}

// group is one route in the making. Parts come in the order in which they win.
type group struct {
	route *Route
	parts []part
}

// declaration is all that one workload declares, and how alive it is.
type declaration struct {
	ruche.Declaration
	life life
}

// part is one declared route.
type part struct {
	declaration *declaration
	route       *ruche.Route
}

func (p part) life() life { return p.declaration.life }

func newJoin(declarations map[string]ruche.Declaration, endpoints map[string]ruche.Endpoint) *join {
	j := &join{
		declarations: make([]declaration, 0, len(declarations)),
		endpoints:    endpoints,
		groups:       make(map[string]*group, len(declarations)),
	}
	for _, d := range declarations {
		j.declarations = append(j.declarations, declaration{d, j.lifeOf(&d)})
	}
	slices.SortFunc(j.declarations, func(a, b declaration) int {
		return compareOwners(owner{a.Workload, a.life}, owner{b.Workload, b.life})
	})
	for i := range j.declarations {
		d := &j.declarations[i]
		if d.life != gone {
			j.diagnostics = append(j.diagnostics, d.Diagnostics...)
		}
		for k := range d.Routes {
			j.add(part{d, &d.Routes[k]})
		}
	}
	return j
}

func (j *join) lifeOf(d *ruche.Declaration) life {
	if !d.GoneSince.IsZero() {
		return gone
	}
	if d.Workload.Kind == ruche.KindContainer {
		if e, ok := j.endpoints[d.Workload.ID]; !ok || e.State == ruche.EndpointStopped {
			return resting
		}
	}
	return running
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

// add puts a declared route to those of the same match, unless it contradicts them.
func (j *join) add(p part) {
	route, key, err := parse(p.route)
	if err != nil {
		j.report(p, codeOf(p.route), err.Error(), "the route is not in force; correct it where it is declared")
		return
	}
	g := j.groups[key]
	if g == nil {
		route.owner = owner{p.declaration.Workload, p.life()}
		j.groups[key] = &group{route: route, parts: []part{p}}
		return
	}
	first := g.parts[0]
	if route.Match != g.route.Match {
		// Only routers come here: one name, two rules. What does not run makes way for what does without a word.
		if p.life() != first.life() {
			return
		}
		j.reportTo(g, p, ruche.CodeRouteConflict,
			fmt.Sprintf("router %q is declared with %s, but %s declares it with %s", p.route.Name, describeRule(p.route.Match),
				first.declaration.Workload.Name, describeRule(first.route.Match)),
			"the oldest workload that runs wins; give the routers different names, or the same rule and priority")
		return
	}
	g.parts = append(g.parts, p)
}

func describeRule(m ruche.Match) string {
	if m.Priority == 0 {
		return "the rule " + m.Rule
	}
	return fmt.Sprintf("the rule %s and priority %d", m.Rule, m.Priority)
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
	if r.Protocol != "" {
		return ruche.CodeHostInvalid
	}
	if r.Match.Rule != "" {
		return ruche.CodeRuleInvalid
	}
	if _, err := match.ParseHost(r.Match.Host); err != nil {
		return ruche.CodeHostInvalid
	}
	return ruche.CodePathInvalid
}

// report adds a diagnostic about a declared route. What is gone is past complaining about.
func (j *join) report(p part, code ruche.Code, message, hint string) (ruche.Diagnostic, bool) {
	if p.life() == gone {
		return ruche.Diagnostic{}, false
	}
	d := ruche.Diagnostic{
		Code: code, Severity: ruche.SeverityError, Workload: p.declaration.Workload.Name,
		Source: p.route.Source, Host: p.route.Match.Host, Message: message, Hint: hint,
	}
	j.diagnostics = append(j.diagnostics, d)
	return d, true
}

func (j *join) reportTo(g *group, p part, code ruche.Code, message, hint string) {
	if d, ok := j.report(p, code, message, hint); ok {
		g.route.Diagnostics = append(g.route.Diagnostics, d)
	}
}

func (j *join) finish() []*Route {
	routes := make([]*Route, 0, len(j.groups))
	for _, g := range j.groups {
		routes = append(routes, g.route)
	}
	slices.SortFunc(routes, func(a, b *Route) int { return strings.Compare(a.ID, b.ID) })
	for i, r := range routes {
		r.Index = i
		j.settle(j.groups[r.ID])
	}
	return routes
}

// settle decides the settings of a joined route and lists its endpoints.
func (j *join) settle(g *group) {
	r, decider := g.route, decider(g.parts)
	r.Dest, r.CleanPath, r.Blocked = decider.route.Dest, decider.route.CleanPath, decider.route.Blocked
	for _, p := range g.parts {
		w := p.declaration.Workload
		r.Sources = append(r.Sources, ruche.RouteSource{
			Workload: w.Name, WorkloadKind: w.Kind, Source: p.route.Source, GoneSince: p.declaration.GoneSince,
		})
		if p.route.Blocked != "" && r.Blocked == "" {
			j.reportTo(g, p, ruche.CodeRouteConflict, "its endpoints get no requests: "+p.route.Blocked,
				decider.declaration.Workload.Name+" declares the same route without a restriction and is served; remove one of them")
			continue
		}
		if p.life() == decider.life() {
			j.agree(g, decider, p)
		}
		j.addEndpoints(g, p)
	}
	r.complete()
}

// decider is the part whose settings are in force: the first, but one that must not be served only when there is no other that is
// as alive. What its owner closed stays closed, and does not close what others opened.
func decider(parts []part) part {
	for _, p := range parts {
		if p.route.Blocked == "" && p.life() == parts[0].life() {
			return p
		}
	}
	return parts[0]
}

func (j *join) addEndpoints(g *group, p part) {
	w := p.declaration.Workload
	if len(p.route.Endpoints) > 0 {
		for i, u := range p.route.Endpoints {
			scheme, address, ok := parseEndpoint(u)
			if !ok {
				j.reportTo(g, p, ruche.CodeValueInvalid, fmt.Sprintf("endpoint %q is not a base URL", u), "write for example http://127.0.0.1:9100")
				continue
			}
			state := ruche.EndpointReady
			if p.life() == gone {
				state = ruche.EndpointStopped
			}
			g.addEndpoint(Endpoint{
				Scheme: scheme, Address: address, Weight: weight(p.route, i), WorkloadID: w.ID, Workload: w.Name, Node: w.Node, State: state,
				PortReason: "fixed endpoint",
			})
		}
		return
	}
	live, ok := j.endpoints[w.ID]
	if !ok {
		return
	}
	e := Endpoint{
		Scheme: cmp.Or(p.route.Scheme, ruche.SchemeHTTP), Weight: weight(p.route, 0), WorkloadID: w.ID, Workload: w.Name, Node: live.Node, Network: live.Network,
		NetworkReason: live.NetworkReason, PortReason: p.route.PortReason, State: live.State, StateReason: live.StateReason, Since: live.Since,
	}
	if live.Address != "" && p.route.Port != 0 {
		e.Address = net.JoinHostPort(live.Address, strconv.Itoa(int(p.route.Port)))
	}
	g.addEndpoint(e)
}

// weight is what endpoint i of a declared route weighs.
func weight(r *ruche.Route, i int) int {
	if i < len(r.Weights) {
		return max(r.Weights[i], 0)
	}
	return 1
}

func (g *group) addEndpoint(e Endpoint) {
	if e.Address != "" {
		e.URL = e.Scheme + "://" + e.Address
	}
	for i := range g.route.Endpoints {
		if o := &g.route.Endpoints[i]; o.URL == e.URL && o.WorkloadID == e.WorkloadID {
			return
		}
	}
	g.route.Endpoints = append(g.route.Endpoints, e)
}
