package discovery

import (
	"slices"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/discovery/setting"
)

type writtenClientAuth struct {
	Mode *string `yaml:"mode"`
	CA   *string `yaml:"ca"`
	CRL  *string `yaml:"crl"`
}

type writtenEndpointTLS struct {
	CA         *string `yaml:"ca"`
	ServerName *string `yaml:"server_name"`
	ClientCert *string `yaml:"client_cert"`
	MinTLS     *string `yaml:"min_tls"`
}

// readSecurity reads what is asked of TLS on both sides, after the endpoints and the mode.
func readSecurity(written *writtenRoute, route *ruche.Route) []setting.Problem {
	var c complaints
	readClientAuth(&c, written.ClientAuth, route)
	readEndpointTLS(&c, written.EndpointTLS, route)
	route.MinTLS = parsed(&c, "min_tls", written.MinTLS, setting.MinTLS)
	route.HSTS = text(&c, "hsts", written.HSTS, setting.HSTS)
	switch {
	case route.HSTS != "" && route.Protocol != "":
		c.add("remove it", "hsts: it belongs to routes of HTTP")
	case route.MinTLS != "" && !endsTLS(route):
		c.add("remove it", "min_tls: the TLS of this route does not end here")
	}
	return c
}

// endsTLS reports whether clients may do their TLS with Ruche.
func endsTLS(route *ruche.Route) bool {
	if route.Protocol == "" {
		return route.TLS != ruche.TLSOff
	}
	return route.Protocol == ruche.ProtocolTCP && route.TLS != "" && route.TLS != ruche.TLSOff && route.TLS != ruche.TLSPassthrough
}

// parsed gives a value that was written, as it was read; the zero value when it was not.
func parsed[T any](c *complaints, key string, written *string, read func(string) (T, *setting.Problem)) (value T) {
	if written != nil {
		var p *setting.Problem
		value, p = read(*written)
		c.check(key, p)
	}
	return value
}

func readClientAuth(c *complaints, written *writtenClientAuth, route *ruche.Route) {
	if written == nil {
		return
	}
	route.ClientAuth = &ruche.ClientAuth{
		Mode: ruche.ClientAuthRequire,
		CA:   parsed(c, "client_auth: ca", written.CA, setting.Authority),
		CRL:  parsed(c, "client_auth: crl", written.CRL, setting.RevocationList),
	}
	if written.Mode != nil {
		route.ClientAuth.Mode = parsed(c, "client_auth: mode", written.Mode, setting.ClientAuthMode)
	}
	if p := setting.ClientAuth(route.ClientAuth); p != nil {
		c.check("client_auth", p)
	}
	if route.ClientAuth.Mode != ruche.ClientAuthOff && !endsTLS(route) {
		c.add("tls: auto", "client_auth: the TLS of this route does not end here, so nobody can be asked for a certificate")
	}
}

func readEndpointTLS(c *complaints, written *writtenEndpointTLS, route *ruche.Route) {
	if written == nil {
		return
	}
	route.EndpointTLS = &ruche.EndpointTLS{
		CA:         parsed(c, "endpoint_tls: ca", written.CA, setting.Authority),
		ServerName: text(c, "endpoint_tls: server_name", written.ServerName, setting.ServerName),
		ClientCert: text(c, "endpoint_tls: client_cert", written.ClientCert, setting.FileName),
		MinTLS:     parsed(c, "endpoint_tls: min_tls", written.MinTLS, setting.MinTLS),
	}
	if !slices.Contains([]string{ruche.SchemeHTTPS, ruche.SchemeGRPCS}, route.Scheme) {
		c.add("remove it", "endpoint_tls: it belongs to endpoints with https:// or grpcs://")
	}
}
