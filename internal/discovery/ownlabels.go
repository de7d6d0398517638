package discovery

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/discovery/setting"
	"github.com/ruche-project/ruche/internal/docker"
	"github.com/ruche-project/ruche/internal/strictyaml"
)

const (
	ownPrefix = "ruche."
	tlsPrefix = "ruche.tls."
)

// tlsLabels are what stands behind tlsPrefix, in the order in which people should meet them.
func tlsLabels() []string { return append([]string{"mode"}, orderLabels()...) }

// orderLabels are those that say how a certificate is to be.
func orderLabels() []string { return []string{"names", "issuer", "key-type", "profile", "challenge"} }

// ownLabel is a label of Ruche's own.
type ownLabel struct{ key, value string }

// ownReader reads the labels that begin with ruche., without regard to case.
type ownReader struct {
	c      docker.Container
	labels map[string]ownLabel // by what stands behind tlsPrefix
	d      *declared
}

// readOwnLabels reads the labels of Ruche itself. They hold for all routes of the container, over what other vocabularies say.
func readOwnLabels(c docker.Container, d *declared) {
	r := ownReader{c: c, labels: map[string]ownLabel{}, d: d}
	r.take()
	if len(r.labels) == 0 {
		return
	}
	wish := r.readWish()
	r.setMode(wish.mode)
	if wish.excludes() {
		r.replace()
	}
	if wish.orders() {
		r.order(wish)
		return
	}
	r.checkIdle(wish.mode)
}

// take sorts the labels, and reports those that nobody knows: one of those that are not about TLS stands for all of them.
func (r *ownReader) take() {
	reported := false
	for _, key := range slices.Sorted(maps.Keys(r.c.Labels)) {
		name, ours := strings.CutPrefix(strings.ToLower(key), ownPrefix)
		about, isTLS := strings.CutPrefix(name, strings.TrimPrefix(tlsPrefix, ownPrefix))
		switch {
		case !ours, restricts(ownPrefix + name): // secure has said what there is to say
		case isTLS && slices.Contains(tlsLabels(), about):
			if _, twice := r.labels[about]; !twice {
				r.labels[about] = ownLabel{key, strings.TrimSpace(r.c.Labels[key])}
			}
		case isTLS:
			hint := cmp.Or(strictyaml.DidYouMean(about, tlsLabels()), "the labels are "+tlsPrefix+strings.Join(tlsLabels(), ", "+tlsPrefix))
			r.add(ruche.CodeKeyUnknown, ruche.SeverityWarning, ownLabel{key: key}, hint, "the label is not known; it is ignored")
		case !reported:
			reported = true
			r.add(ruche.CodeKeyUnsupported, ruche.SeverityInfo, ownLabel{key: key}, "declare the route by VIRTUAL_HOST, by Traefik labels, or in a route file",
				"of the labels that begin with %s only those below %s and %s have a meaning", ownPrefix, tlsPrefix, endpointPrefix)
		}
	}
}

func (r *ownReader) add(code ruche.Code, severity ruche.Severity, l ownLabel, hint, format string, args ...any) {
	key := l.key
	if len(key) > 200 {
		key = strings.ToValidUTF8(key[:200], "") + "..."
	}
	d := ruche.Diagnostic{Code: code, Severity: severity, Workload: r.c.Name, Source: "label " + key, Message: fmt.Sprintf(format, args...), Hint: hint}
	if len(r.d.routes) > 0 {
		d.Host = r.d.routes[0].Match.Host
	}
	r.d.diagnostics = append(r.d.diagnostics, d)
}

// readWish reads what the labels say together; what is wrong is left out.
func (r *ownReader) readWish() tlsWish {
	w := tlsWish{mode: ruche.TLSMode(strings.ToLower(r.labels["mode"].value))}
	complain := func(name string, p *setting.Problem) {
		if p != nil {
			r.add(ruche.CodeValueInvalid, ruche.SeverityWarning, r.labels[name], p.Hint, "%s; the label is ignored", p.Message)
		}
	}
	if p := knownMode(w.mode); p != nil {
		complain("mode", p)
		w.mode = ""
	}
	names, problems := setting.Names(listOf(r.labels["names"].value), setting.MaxNames)
	for _, p := range problems {
		r.add(ruche.CodeHostInvalid, p.Severity, r.labels["names"], p.Hint, "%s", p.Message)
	}
	w.spec.Names = names
	var p *setting.Problem
	w.spec.KeyType, p = setting.KeyType(r.labels["key-type"].value)
	complain("key-type", p)
	w.spec.Challenge, p = setting.Challenge(r.labels["challenge"].value)
	complain("challenge", p)
	for _, word := range []struct {
		name string
		into *string
	}{{"issuer", &w.spec.Issuer}, {"profile", &w.spec.Profile}} {
		if p := setting.Word(word.name, r.labels[word.name].value); p != nil {
			complain(word.name, p)
			continue
		}
		*word.into = r.labels[word.name].value
	}
	if p := w.settle(); p != nil {
		r.add(ruche.CodeValueInvalid, ruche.SeverityWarning, r.labels["mode"], p.Hint, "%s", p.Message)
	}
	w.spec.Source = "label " + r.first(orderLabels()).key
	return w
}

// first gives the first of some labels that is there.
func (r *ownReader) first(names []string) ownLabel {
	for _, name := range names {
		if l := r.labels[name]; l.key != "" {
			return l
		}
	}
	return ownLabel{}
}

// setMode gives all routes the mode, but for those of TCP whose TLS does not end here, and of UDP.
func (r *ownReader) setMode(mode ruche.TLSMode) {
	for i := range r.d.routes {
		route := &r.d.routes[i]
		switch {
		case mode == "":
		case route.Protocol == "":
			route.TLS = mode
		case route.TLS == "" || route.TLS == ruche.TLSPassthrough:
		case mode == ruche.TLSOff:
			r.add(ruche.CodeKeyUnsupported, ruche.SeverityWarning, r.labels["mode"], "leave the tls labels of the router out to hand connections on as they come",
				"off is for sites; TLS of the TCP router %q ends here all the same", route.Name)
		default:
			route.TLS = mode
		}
	}
}

// order takes note of the certificates: those that other vocabularies ask for are to be as the labels say, and hosts without one get one.
func (r *ownReader) order(w tlsWish) {
	var named []string
	for i := range r.d.certificates {
		w.overlay(&r.d.certificates[i])
		named = append(named, r.d.certificates[i].Names...)
	}
	r.d.certificates = append(r.d.certificates, w.specs(hostsOf(r.d.routes), named)...)
	if len(r.d.certificates) == 0 {
		r.add(ruche.CodeValueInvalid, ruche.SeverityWarning, r.first(orderLabels()), "add the label "+tlsPrefix+"names", "no route of the container names a host that a certificate could be for; none is requested")
	}
	for i := range r.d.certificates {
		if p := setting.Provable(&r.d.certificates[i]); p != nil && w.spec.Challenge != "" {
			r.add(ruche.CodeValueInvalid, ruche.SeverityWarning, r.labels["challenge"], p.Hint, "%s", p.Message)
		}
	}
}

// replace takes the certificates away that other vocabularies ask for.
func (r *ownReader) replace() {
	l := r.first(tlsLabels())
	for _, spec := range r.d.certificates {
		r.add(ruche.CodeRouteShadowed, ruche.SeverityInfo, l, "remove one of the two", "the certificate for %s that %s asks for is not requested: this label says otherwise",
			setting.Quote(spec.Names[0]), spec.Source)
	}
	r.d.certificates = nil
}

// checkIdle reports labels about a certificate that nobody orders.
func (r *ownReader) checkIdle(mode ruche.TLSMode) {
	if mode != ruche.TLSFile && mode != ruche.TLSOff {
		return
	}
	for _, name := range orderLabels() {
		if l := r.labels[name]; l.value != "" {
			r.add(ruche.CodeKeyUnsupported, ruche.SeverityInfo, l, "remove one of the two labels", "it has no effect with %smode=%s", tlsPrefix, mode)
		}
	}
}

// listOf takes a list with commas apart and drops what is empty.
func listOf(list string) []string {
	var found []string
	for item := range strings.SplitSeq(list, ",") {
		if item = strings.TrimSpace(item); item != "" {
			found = append(found, item)
		}
	}
	return found
}
