package discovery

import (
	"reflect"
	"strings"
	"testing"

	"github.com/ruche-project/ruche"
)

const streamFile = `routes:
  - entry_point: postgres
    endpoints: [tcp://10.0.0.5:5432, tcp://10.0.0.6:5432]
    proxy_protocol: 2
    policy: client-hash
    check: {}
  - host: pass.example
    endpoints: [tcp://10.0.0.7:8443]
  - entry_point: postgres
    host: "*.db.example"
    endpoints: ["tcp://[2001:db8::1]:5432"]
  - entry_point: mqtts
    tls: auto
    endpoints: [tcp://10.0.0.7:1883]
  - {host: mqtt.example, tls: file, endpoints: [tcp://10.0.0.7:1883]}
  - entry_point: dns
    endpoints: [{url: "udp://10.0.0.8:53", weight: 3}, udp://ns.example:53]
    policy: client-hash
`

func TestStreamRoutesInFiles(t *testing.T) {
	routes, diagnostics := routesOf("f.yaml", []byte(streamFile), nil)
	if len(diagnostics) != 0 || len(routes) != 6 {
		t.Fatalf("%d routes, diagnostics %+v", len(routes), diagnostics)
	}
	first := routes[0]
	if first.Check == nil || first.Check.Mode != ruche.CheckConnect || first.ProxyProtocol != 2 || first.Policy != ruche.PolicyClientHash {
		t.Errorf("got %+v", first)
	}
	if routes[0].TLS != "" || routes[3].TLS != ruche.TLSAuto || routes[4].TLS != ruche.TLSFile {
		t.Errorf("TLS is %q, %q and %q", routes[0].TLS, routes[3].TLS, routes[4].TLS)
	}
	if last := routes[5]; last.Protocol != ruche.ProtocolUDP || last.Scheme != ruche.SchemeUDP || last.Match != (ruche.Match{EntryPoint: "dns"}) || len(last.Endpoints) != 2 {
		t.Errorf("got %+v", last)
	}
	for i, want := range []ruche.Match{{EntryPoint: "postgres"}, {EntryPoint: "https", Host: "pass.example"}, {EntryPoint: "postgres", Host: "*.db.example"}} {
		if r := routes[i]; r.Match != want || r.Protocol != ruche.ProtocolTCP || r.Scheme != ruche.SchemeTCP {
			t.Errorf("route %d is %+v, want the match %+v", i, r, want)
		}
	}
}

func TestBadStreamRoutesInFiles(t *testing.T) {
	tests := []struct{ name, item, want string }{
		{"no host on the HTTPS port", "endpoints: [tcp://10.0.0.5:1]", "neither a host nor an entry point"},
		{"any host on the HTTPS port", "{host: '*', endpoints: [tcp://10.0.0.5:1]}", "neither a host nor an entry point"},
		{"no port", "{entry_point: db, endpoints: [tcp://10.0.0.5]}", "names no port"},
		{"an address for a name", "{entry_point: ':5432', endpoints: [tcp://10.0.0.5:1]}", "not the name of an entry point"},
		{"endpoints of requests", "{entry_point: db, endpoints: [http://10.0.0.5:1]}", "endpoints with tcp://"},
		{"mixed", "{host: a.example, endpoints: [tcp://10.0.0.5:1, http://10.0.0.6:1]}", "endpoints with tcp://"},
		{"a path", "{entry_point: db, path: /x, endpoints: [tcp://10.0.0.5:1]}", "path: the route is about connections"},
		{"TLS off", "{entry_point: db, tls: off, endpoints: [tcp://10.0.0.5:1]}", "tls: off is for sites"},
		{"UDP with TLS", "{entry_point: db, tls: auto, endpoints: [udp://10.0.0.5:1]}", "tls: the route is about datagrams"},
		{"a cookie", "{entry_point: db, policy: sticky, endpoints: [tcp://10.0.0.5:1]}", "sticky: the route is about connections"},
		{"an HTTP check", "{entry_point: db, check: {path: /up}, endpoints: [tcp://10.0.0.5:1]}", "cannot be asked by HTTP"},
		{"UDP without an entry point", "{endpoints: [udp://10.0.0.5:1]}", "a route of UDP has an entry_point"},
		{"UDP with a host", "{entry_point: dns, host: a.example, endpoints: [udp://10.0.0.5:1]}", "datagrams tell none"},
		{"UDP with a check", "{entry_point: dns, check: {}, endpoints: [udp://10.0.0.5:1]}", "check: the route is about datagrams"},
		{"UDP with a PROXY header", "{entry_point: dns, proxy_protocol: 2, endpoints: [udp://10.0.0.5:1]}", "proxy_protocol: the route is about datagrams"},
		{"UDP and TCP", "{entry_point: dns, endpoints: [udp://10.0.0.5:1, tcp://10.0.0.5:1]}", "with udp://"},
		{"a bad host", "{entry_point: db, host: 'a b', endpoints: [tcp://10.0.0.5:1]}", "a b"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			routes, diagnostics := routesOf("f.yaml", []byte("routes:\n  - "+tt.item+"\n"), nil)
			if len(routes) != 0 || len(diagnostics) == 0 || !strings.Contains(diagnostics[0].Message, tt.want) {
				t.Errorf("%d routes, %+v; want a diagnostic with %q", len(routes), diagnostics, tt.want)
			}
		})
	}
}

func TestBadStreamRouteKeepsItsLastVersion(t *testing.T) {
	last, _ := routesOf("f.yaml", []byte(streamFile), nil)
	routes, diagnostics := routesOf("f.yaml", []byte(strings.Replace(streamFile, "proxy_protocol: 2", "proxy_protocol: 3", 1)), last)
	if len(routes) != 6 || len(diagnostics) != 1 || !strings.Contains(diagnostics[0].Message, "the last good version of this route stands") {
		t.Fatalf("%d routes, %+v", len(routes), diagnostics)
	}
	if !reflect.DeepEqual(routes[5], last[0]) {
		t.Errorf("got %+v, want the last version", routes[2])
	}
}
