package discovery

import (
	"fmt"
	"strings"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/discovery/setting"
)

// writtenTLS is the key tls of a route: a mode, or a map that says more.
type writtenTLS struct {
	Mode      string   `yaml:"mode,alone"`
	Names     []string `yaml:"names"`
	Issuer    string   `yaml:"issuer"`
	KeyType   string   `yaml:"key_type"`
	Profile   string   `yaml:"profile"`
	Challenge string   `yaml:"challenge"`
}

// writtenCertificate is an item of the list certificates: one that no route needs.
type writtenCertificate struct {
	Names     []string `yaml:"names"`
	Issuer    string   `yaml:"issuer"`
	KeyType   string   `yaml:"key_type"`
	Profile   string   `yaml:"profile"`
	Challenge string   `yaml:"challenge"`
}

func (w *writtenTLS) certificate() writtenCertificate {
	return writtenCertificate{Names: w.Names, Issuer: w.Issuer, KeyType: w.KeyType, Profile: w.Profile, Challenge: w.Challenge}
}

// read checks what is written. The names that are good and those that are not are told apart; every other mistake is a complaint.
func (w writtenCertificate) read() (spec ruche.CertificateSpec, dropped []setting.NameProblem, c complaints) {
	spec.Issuer, spec.Profile = w.Issuer, w.Profile
	c.check("issuer", setting.Word("issuer", w.Issuer))
	c.check("profile", setting.Word("profile", w.Profile))
	var p *setting.Problem
	spec.KeyType, p = setting.KeyType(w.KeyType)
	c.check("key_type", p)
	spec.Challenge, p = setting.Challenge(w.Challenge)
	c.check("challenge", p)
	spec.Names, dropped = setting.Names(w.Names, setting.MaxNames)
	if len(w.Names) > 0 && len(spec.Names) == 0 {
		c.check("names", &setting.Problem{Message: "none of them can be used: " + dropped[0].Message, Hint: dropped[0].Hint})
	}
	c.check("challenge", setting.Provable(&spec))
	return spec, dropped, c
}

// mode is what is written as one, empty where nothing is.
func (w *writtenRoute) mode() ruche.TLSMode {
	if w.TLS == nil {
		return ""
	}
	return ruche.TLSMode(w.TLS.Mode)
}

// readTLS reads where the certificate of a route comes from, and how it is to be.
func readTLS(w *writtenTLS, route *ruche.Route) (wish tlsWish, dropped []setting.NameProblem, c complaints) {
	if w == nil {
		return wish, nil, nil
	}
	wish.mode = ruche.TLSMode(w.Mode)
	wish.spec, dropped, c = w.certificate().read()
	if !c.check("tls", knownMode(wish.mode)) || !c.check("tls", wish.settle()) {
		return wish, dropped, c
	}
	idle := wish
	idle.mode = ""
	if idle.orders() && !wish.orders() {
		c.check("tls", &setting.Problem{Message: fmt.Sprintf("mode %s takes no certificate that is issued, so there is nothing to say about it", wish.mode), Hint: "write the mode alone, or acme"})
	}
	switch {
	case wish.mode != "" && wish.mode != ruche.TLSAuto:
		route.TLS = wish.mode
	case route.Protocol != "": // where it is not the same as nothing
		route.TLS = ruche.TLSAuto
	}
	return wish, dropped, c
}

// routePart stands between file and line, and the route that a certificate goes with.
const routePart = ", route "

// order takes note of the certificate of a good route.
func (f *fileReader) order(wish tlsWish, route ruche.Route) complaints {
	if !wish.orders() {
		return nil
	}
	wish.spec.Source = route.Source + routePart + route.Name
	specs := wish.specs(hostsOf([]ruche.Route{route}), nil)
	if len(specs) == 0 {
		return complaints{{Message: "tls: a certificate cannot be for the host " + setting.Quote(route.Match.Host), Hint: "list its names: tls: {names: [shop.example]}"}}
	}
	var c complaints
	if c.check("tls", setting.Provable(&specs[0])) {
		f.certificates = append(f.certificates, specs...)
	}
	return c
}

// routeOf gives the name of the route that a certificate of this file goes with; "" where it goes with none.
func (f *fileReader) routeOf(spec ruche.CertificateSpec) string {
	place, _ := strings.CutPrefix(spec.Source, f.name+":")
	_, route, _ := strings.Cut(place, routePart)
	return route
}

// askedByRoute finds the certificate that a route of the file asks for.
func (f *fileReader) askedByRoute(route ruche.Route) (a asked, ok bool) {
	for _, spec := range f.certificates {
		if f.routeOf(spec) == route.Name {
			return asked{route.Source, ruche.SeverityWarning, "add it to names under tls, or remove names: then the certificate is for the host"}, true
		}
	}
	return asked{}, false
}

// keepRoute lets a route of the last version stand, with its certificate.
func (f *fileReader) keepRoute(old ruche.Route) {
	f.lines[old.Match] = 0
	f.routes = append(f.routes, old)
	for _, spec := range f.last.certificates {
		if f.routeOf(spec) == old.Name {
			f.certificates = append(f.certificates, spec)
		}
	}
}
