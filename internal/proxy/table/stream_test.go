package table

import (
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
			if r := table.Stream(tt.entryPoint, tt.serverName); r != nil {
				got = r.ID
			}
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
	if !table.ByServerName("https") || !table.ByServerName("postgres") || table.ByServerName("mysql") {
		t.Error("ByServerName is wrong")
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
