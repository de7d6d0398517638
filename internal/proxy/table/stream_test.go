package table

import (
	"testing"

	"github.com/ruche-project/ruche"
)

func stream(p ruche.Protocol, vocabulary ruche.Vocabulary, entryPoint, host string) ruche.Route {
	return ruche.Route{
		Name: "r", Vocabulary: vocabulary, Source: "here", Protocol: p, Match: ruche.Match{EntryPoint: entryPoint, Host: host},
		Scheme: string(p), Endpoints: []string{string(p) + "://10.0.0.5:5432"},
	}
}

func compileStreams(routes ...ruche.Route) *Table {
	declarations := map[string]ruche.Declaration{}
	for i, r := range routes {
		id := "file/" + string(rune('a'+i))
		declarations[id] = ruche.Declaration{Workload: ruche.Workload{ID: id, Kind: ruche.KindFile, Name: id}, Routes: []ruche.Route{r}}
	}
	return Compile(declarations, map[string]ruche.Endpoint{})
}

func TestStream(t *testing.T) {
	tcp, udp := ruche.ProtocolTCP, ruche.ProtocolUDP
	file, traefik := ruche.VocabularyFile, ruche.VocabularyTraefik
	table := compileStreams(
		stream(tcp, file, "", "pass.example"), stream(tcp, file, "https", "*.pass.example"), stream(tcp, file, "https", "*.deep.pass.example"),
		stream(tcp, file, "postgres", "*"), stream(tcp, traefik, "postgres", ""), stream(tcp, file, "postgres", "db.example"), stream(udp, file, "dns", ""),
		stream(tcp, file, "", ""), stream(tcp, file, "", "*"), stream(udp, file, "dns", "a.example"),
		ruche.Route{Name: "w", Vocabulary: file, Source: "here", Match: ruche.Match{Host: "web.example"}, Endpoints: []string{"http://10.0.0.5"}},
	)
	tests := []struct {
		name       string
		protocol   ruche.Protocol
		entryPoint string
		serverName string
		want       string // ID
	}{
		{"named", tcp, "https", "pass.example", "file:tcp://pass.example@https"},
		{"wildcard", tcp, "https", "a.pass.example", "file:tcp://*.pass.example@https"},
		{"the longer wildcard", tcp, "https", "a.deep.pass.example", "file:tcp://*.deep.pass.example@https"},
		{"a web site", tcp, "https", "web.example", ""},
		{"no name", tcp, "https", "", ""},
		{"named on its own port", tcp, "postgres", "db.example", "file:tcp://db.example@postgres"},
		{"any", tcp, "postgres", "other.example", "file:tcp://*@postgres"},
		{"not TLS", tcp, "postgres", "", "file:tcp://*@postgres"},
		{"datagrams", udp, "dns", "", "file:udp://*@dns"},
		{"another protocol", tcp, "dns", "", ""},
		{"nobody's entry point", tcp, "mysql", "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := ""
			if r := table.Stream(tt.protocol, tt.entryPoint, tt.serverName); r != nil {
				got = r.ID
			}
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
	if !table.ByServerName("https") || !table.ByServerName("postgres") || table.ByServerName("mysql") || table.ByServerName("dns") {
		t.Error("ByServerName is wrong")
	}
	codes := map[ruche.Code]int{}
	for _, d := range table.Diagnostics {
		codes[d.Code]++
	}
	if codes[ruche.CodeHostInvalid] != 3 || codes[ruche.CodeRouteShadowed] != 1 || len(codes) != 2 {
		t.Errorf("diagnostics %v: want three invalid hosts and one shadowed route", table.Diagnostics)
	}
	if r := table.Lookup("pass.example", "/"); r.Route != nil || r.KnownHost {
		t.Errorf("a request finds %+v", r.Route)
	}
}

func TestBind(t *testing.T) {
	table := compileStreams(stream(ruche.ProtocolTCP, ruche.VocabularyFile, "postgres", ""), stream(ruche.ProtocolUDP, ruche.VocabularyFile, "dns", ""))
	table.Bind(func(p ruche.Protocol, entryPoint string) bool {
		return p == ruche.ProtocolTCP && entryPoint == "postgres"
	})
	if len(table.Diagnostics) != 1 || table.Diagnostics[0].Code != ruche.CodeEntryPointUnknown {
		t.Fatalf("diagnostics %v", table.Diagnostics)
	}
	for _, r := range table.Routes {
		if want := len(r.Match.EntryPoint) == len("dns"); (len(r.Diagnostics) == 1) != want {
			t.Errorf("%s has %v", r.ID, r.Diagnostics)
		}
	}
}
