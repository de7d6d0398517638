package proxy

import (
	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/h1"
	"github.com/ruche-project/ruche/internal/proxy/table"
)

// hsts is what browsers are told about coming by HTTPS alone (RFC 6797); empty where nothing is to be said. As with nginx-proxy hosts that are served by HTTP, too, say
// nothing; nor do those whose certificate nobody vouches for: a browser that was told would let nobody in any more (section 8.4).
func (p *Proxy) hsts(r *table.Route, a *asked, v verdict) string {
	switch {
	case r.HSTS == "" || r.HSTS == ruche.HSTSOff || !a.secure || !a.named:
		return ""
	case v.method != ruche.HTTPSRedirect && v.method != ruche.HTTPSNoHTTP:
		return ""
	case !p.cfg.Certificates.Trusted(a.query):
		return ""
	}
	return r.HSTS
}

// insist adds the field, unless the endpoint has one of its own: browsers heed the first alone (section 8.1).
func (x *exchange) insist() {
	if x.hsts == "" {
		return
	}
	for i := range x.answered {
		if x.answered[i].ID == h1.StrictTransportSecurity {
			return
		}
	}
	x.answered = append(x.answered, h1.Field{ID: h1.StrictTransportSecurity, Name: bytesOf("Strict-Transport-Security"), Value: bytesOf(x.hsts)})
}
