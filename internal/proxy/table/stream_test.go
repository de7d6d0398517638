package table

import (
	"net/netip"
	"testing"

	"github.com/ruche-project/ruche"
)

func stream(vocabulary ruche.Vocabulary, entryPoint, host string) ruche.Route {
	return ruche.Route{
		Name: "r", Vocabulary: vocabulary, Source: "here", Protocol: ruche.ProtocolTCP, Match: ruche.Match{EntryPoint: entryPoint, Host: host},
		Scheme: ruche.SchemeTCP, Endpoints: []string{"tcp://10.0.0.5:5432"},
	}
}

func compileStreams(routes ...ruche.Route) *Table {
	declarations := map[string]*ruche.Declaration{}
	for i, r := range routes {
		id := "file/" + string(rune('a'+i))
		declarations[id] = &ruche.Declaration{Workload: ruche.Workload{ID: id, Kind: ruche.KindFile, Name: id}, Routes: []ruche.Route{r}}
	}
	return Compile(nil, declarations, nil)
}

func TestStream(t *testing.T) {
	file, traefik := ruche.VocabularyFile, ruche.VocabularyTraefik
	table := compileStreams(
		stream(file, "", "pass.example"), stream(file, "https", "*.pass.example"), stream(file, "https", "*.deep.pass.example"),
		stream(file, "postgres", "*"), stream(traefik, "postgres", ""), stream(file, "postgres", "db.example"),
		stream(file, "", ""), stream(file, "", "*"),
		ruche.Route{Name: "w", Vocabulary: file, Source: "here", Match: ruche.Match{Host: "web.example"}, Endpoints: []string{"http://10.0.0.5"}},
	)
	tests := []struct {
		name       string
		entryPoint string
		serverName string
		want       string // ID
	}{
		{"named", "https", "pass.example", "file:tcp://pass.example@https"},
		{"wildcard", "https", "a.pass.example", "file:tcp://*.pass.example@https"},
		{"the longer wildcard", "https", "a.deep.pass.example", "file:tcp://*.deep.pass.example@https"},
		{"a web site", "https", "web.example", ""},
		{"no name", "https", "", ""},
		{"named on its own port", "postgres", "db.example", "file:tcp://db.example@postgres"},
		{"any", "postgres", "other.example", "file:tcp://*@postgres"},
		{"not TLS", "postgres", "", "file:tcp://*@postgres"},
		{"nobody's entry point", "mysql", "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := ""
			if r := table.Stream(tt.entryPoint, Arrival{TLS: tt.serverName != "", ServerName: tt.serverName}); r != nil {
				got = r.ID
			}
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
	if !table.LooksAhead("https") || !table.LooksAhead("postgres") || table.LooksAhead("mysql") {
		t.Error("LooksAhead is wrong")
	}
	codes := map[ruche.Code]int{}
	for _, d := range table.Diagnostics {
		codes[d.Code]++
	}
	if codes[ruche.CodeHostInvalid] != 2 || codes[ruche.CodeRouteShadowed] != 1 || len(codes) != 2 {
		t.Errorf("diagnostics %v: want two invalid hosts and one shadowed route", table.Diagnostics)
	}
	if r := table.Lookup("pass.example", "/"); r.Route != nil || r.KnownHost {
		t.Errorf("a request finds %+v", r.Route)
	}
}

// router is a TCP router of Traefik.
func router(name, entryPoint, rule string, priority int, mode ruche.TLSMode) ruche.Route {
	return ruche.Route{
		Name: name, Vocabulary: ruche.VocabularyTraefik, Source: "label", Protocol: ruche.ProtocolTCP, Scheme: ruche.SchemeTCP, TLS: mode, Port: 1,
		Match: ruche.Match{EntryPoint: entryPoint, Rule: rule, Priority: priority},
	}
}

func TestStreamRules(t *testing.T) {
	const pass, auto = ruche.TLSPassthrough, ruche.TLSAuto
	table := compileStreams(
		router("plain", "db", "HostSNI(`*`)", 0, ""), router("near", "db", "ClientIP(`10.0.0.0/8`)", 0, ""), router("first", "db", "ClientIP(`10.1.0.0/16`)", 99, ""),
		router("rest", "db", "HostSNI(`*`)", 0, auto), router("a", "db", "HostSNI(`a.example`)", 0, pass), router("a-mqtt", "db", "HostSNI(`a.example`) && ALPN(`mqtt`)", 0, auto),
		router("pattern", "db", "HostSNIRegexp(`^[a-z]+\\.example$`)", 0, pass), router("last", "db", "HostSNI(`z.test`)", -5, auto),
		router("same", "db", "HostSNI(`a.example`)", 0, pass),
		stream(ruche.VocabularyFile, "db", "file.example"), stream(ruche.VocabularyFile, "db", "*.example"),
		router("site", "https", "HostSNI(`site.example`)", 100, auto), router("many", "https", "HostSNIRegexp(`^.+\\.example$`)", 0, pass),
		ruche.Route{Name: "w", Vocabulary: ruche.VocabularyFile, Source: "here", Match: ruche.Match{Host: "web.example"}, Endpoints: []string{"http://10.0.0.5"}},
		ruche.Route{Name: "w", Vocabulary: ruche.VocabularyFile, Source: "here", Match: ruche.Match{Host: "plain.example"}, Endpoints: []string{"http://10.0.0.5"}, TLS: ruche.TLSOff},
	)
	at := func(address string) Arrival { return Arrival{Client: netip.MustParseAddr(address)} }
	secure := func(name string, protocols ...string) Arrival {
		return Arrival{TLS: true, ServerName: name, Protocols: protocols}
	}
	tests := []struct {
		name       string
		entryPoint string
		arrival    Arrival
		want       string // ID
	}{
		{"the rest", "db", at("192.0.2.1"), "traefik:tcp:plain@db"},
		{"a client's network", "db", at("10.2.0.1"), "traefik:tcp:near@db"},
		{"the higher priority", "db", at("10.1.0.1"), "traefik:tcp:first@db"},
		{"TLS without a name", "db", secure(""), "traefik:tcp:rest@db"},
		{"TLS with an unknown name", "db", secure("elsewhere.test"), "traefik:tcp:rest@db"},
		{"TLS goes before the client's address", "db", Arrival{TLS: true, Client: netip.MustParseAddr("10.1.0.1")}, "traefik:tcp:rest@db"},
		{"by name", "db", secure("a.example", "h2"), "traefik:tcp:a@db"},
		{"by name and protocol", "db", secure("a.example", "h2", "mqtt"), "traefik:tcp:a-mqtt@db"},
		{"a wildcard goes before an expression", "db", secure("b.example"), "file:tcp://*.example@db"},
		{"a file's host", "db", secure("file.example"), "file:tcp://file.example@db"},
		{"a low priority", "db", secure("z.test"), "traefik:tcp:rest@db"},
		{"HTTPS by name, with a priority above that of the longer rule", "https", secure("site.example"), "traefik:tcp:site@https"},
		{"HTTPS by pattern", "https", secure("b.example"), "traefik:tcp:many@https"},
		{"a site goes before a pattern", "https", secure("web.example"), ""},
		{"but not one without HTTPS", "https", secure("plain.example"), "traefik:tcp:many@https"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := ""
			if r := table.Stream(tt.entryPoint, tt.arrival); r != nil {
				got = r.ID
			}
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
	for _, r := range table.Routes {
		if by := table.ShadowedBy(r); (by != "") != (r.ID == "traefik:tcp:same@db") {
			t.Errorf("%s is shadowed by %q", r.ID, by)
		}
	}
}

func TestStreamRulesThatCannotBe(t *testing.T) {
	tests := []struct {
		name  string
		route ruche.Route
	}{
		{"no rule of connections", router("r", "db", "Host(`a`)", 0, "")},
		{"a name without TLS", router("r", "db", "HostSNI(`a`)", 0, "")},
		{"a protocol without TLS", router("r", "db", "!ALPN(`a`)", 0, "")},
		{"HTTPS without TLS", router("r", "https", "ClientIP(`10.0.0.1`)", 0, "")},
		{"HTTPS for all names", router("r", "https", "HostSNI(`*`)", 0, ruche.TLSAuto)},
		{"HTTPS but for a name", router("r", "", "!HostSNI(`a`)", 0, ruche.TLSPassthrough)},
		{"HTTPS by address", router("r", "", "HostSNI(`a`) || ClientIP(`10.0.0.1`)", 0, ruche.TLSPassthrough)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			table := compileStreams(tt.route)
			if len(table.Routes) != 0 || len(table.Diagnostics) != 1 || table.Diagnostics[0].Code != ruche.CodeRuleInvalid {
				t.Errorf("%d routes, diagnostics %v", len(table.Routes), table.Diagnostics)
			}
		})
	}
}

func TestStreamCertificates(t *testing.T) {
	file := stream(ruche.VocabularyFile, "db", "*.a.example")
	file.TLS = ruche.TLSFile
	table := compileStreams(file, router("r", "db", "HostSNI(`b.example`) || HostSNIRegexp(`^c`)", 0, ruche.TLSAuto), stream(ruche.VocabularyFile, "db", "pass.example"))
	for name, want := range map[string]ruche.CertificateQuery{
		"x.a.example": {ServerName: "x.a.example", Host: "*.a.example", Mode: ruche.TLSFile},
		"b.example":   {ServerName: "b.example", Host: "b.example", Declared: true, Mode: ruche.TLSAuto},
		"c.example":   {ServerName: "c.example", Host: "c.example", Mode: ruche.TLSAuto},
	} {
		r := table.Stream("db", Arrival{TLS: true, ServerName: name})
		if r == nil || !r.EndsTLS() || r.StreamCertificate(name) != want {
			t.Errorf("%s: %+v", name, r)
		}
	}
	if r := table.Stream("db", Arrival{TLS: true, ServerName: "pass.example"}); r == nil || r.EndsTLS() {
		t.Errorf("passed through: %+v", r)
	}
}

func TestBind(t *testing.T) {
	table := compileStreams(stream(ruche.VocabularyFile, "postgres", ""), stream(ruche.VocabularyFile, "dns", ""))
	table.Bind(func(_ ruche.Protocol, entryPoint string) bool { return entryPoint == "postgres" })
	if len(table.Diagnostics) != 1 || table.Diagnostics[0].Code != ruche.CodeEntryPointUnknown {
		t.Fatalf("diagnostics %v", table.Diagnostics)
	}
	for _, r := range table.Routes {
		if want := r.Match.EntryPoint == "dns"; (len(table.DiagnosticsOf(r)) == 1) != want {
			t.Errorf("%s has %v", r.ID, table.DiagnosticsOf(r))
		}
	}
}

func TestModesThatEndTLS(t *testing.T) {
	for mode, want := range map[ruche.TLSMode]bool{
		ruche.TLSAuto: true, ruche.TLSACME: true, ruche.TLSInternal: true, ruche.TLSFile: true, ruche.TLSPassthrough: false, ruche.TLSOff: false, "": false,
	} {
		if r := (&Route{Protocol: ruche.ProtocolTCP, TLS: mode}); r.EndsTLS() != want {
			t.Errorf("mode %q ends TLS: %v, want %v", mode, r.EndsTLS(), want)
		}
	}
}
