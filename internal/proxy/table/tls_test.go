package table

import (
	"slices"
	"strings"
	"testing"

	"github.com/ruche-project/ruche"
)

func declares(id string, age int, routes ...ruche.Route) *ruche.Declaration {
	w := ruche.Workload{ID: "file/" + id, Kind: ruche.KindFile, Name: id}
	w.Created = w.Created.AddDate(2000+age, 0, 0)
	return &ruche.Declaration{Workload: w, Routes: routes}
}

func compileAll(declarations ...*ruche.Declaration) *Table {
	all := map[string]*ruche.Declaration{}
	for _, d := range declarations {
		all[d.Workload.ID] = d
	}
	return Compile(nil, all, nil)
}

func TestClientCertificatesOfSeveralWorkloads(t *testing.T) {
	route := func(endpoint string, a *ruche.ClientAuth) ruche.Route {
		return ruche.Route{Vocabulary: ruche.VocabularyNginxProxy, Match: ruche.Match{Host: "a.test"}, Endpoints: []string{endpoint}, ClientAuth: a}
	}
	off, partners, others := &ruche.ClientAuth{Mode: ruche.ClientAuthOff}, &ruche.ClientAuth{Mode: ruche.ClientAuthRequire, CA: "partners"}, &ruche.ClientAuth{Mode: ruche.ClientAuthRequire, CA: "others"}
	for _, tc := range []struct {
		name      string
		old, new  *ruche.ClientAuth
		want      *ruche.ClientAuth
		endpoints int
		complains bool
	}{
		{"none", nil, nil, nil, 2, false},
		{"both the same", partners, &ruche.ClientAuth{Mode: ruche.ClientAuthRequire, CA: "partners"}, partners, 2, false},
		{"the newer one alone closes both", nil, partners, partners, 2, false},
		{"the older one alone", partners, nil, partners, 2, false},
		{"by others", partners, others, partners, 1, true},
		{"open and closed", off, partners, off, 1, true},
		{"closed and open", partners, off, partners, 2, true},
	} {
		r := compileAll(declares("old", 1, route("http://10.0.0.1:80", tc.old)), declares("new", 2, route("http://10.0.0.2:80", tc.new))).Routes[0]
		if got := r.ClientAuth; (got == nil) != (tc.want == nil) || got != nil && *got != *tc.want {
			t.Errorf("%s: %+v is in force, want %+v", tc.name, got, tc.want)
		}
		if len(r.Endpoints) != tc.endpoints || (len(r.diagnostics) > 0) != tc.complains {
			t.Errorf("%s: %d endpoints and %v, want %d", tc.name, len(r.Endpoints), r.diagnostics, tc.endpoints)
		}
	}
}

func TestHSTSIsAMatterOfTheHost(t *testing.T) {
	route := func(v ruche.Vocabulary, path, hsts string) ruche.Route {
		return ruche.Route{Vocabulary: v, Match: ruche.Match{Host: "a.test", Path: path}, Endpoints: []string{"http://10.0.0.1:80"}, HSTS: hsts}
	}
	const nginx, file = ruche.VocabularyNginxProxy, ruche.VocabularyFile
	got := map[string]string{}
	for _, r := range compileAll(declares("a", 1, route(nginx, "/", ""), route(nginx, "/b", "max-age=1"), route(nginx, "/c", "off"), route(file, "/d", ""))).Routes {
		got[r.Match.Path] = r.HSTS
	}
	for path, want := range map[string]string{"/": "max-age=1", "/b": "max-age=1", "/c": "off", "/d": ""} {
		if got[path] != want {
			t.Errorf("%s has %q, want %q", path, got[path], want)
		}
	}
	if r := compileAll(declares("a", 1, route(nginx, "/", ""))).Routes[0]; r.HSTS != defaultHSTS {
		t.Errorf("by default %q", r.HSTS)
	}
}

func TestTakers(t *testing.T) {
	name := func(host, path string) ruche.Route {
		return ruche.Route{Vocabulary: ruche.VocabularyNginxProxy, Match: ruche.Match{Host: host, Path: path}, Endpoints: []string{"http://10.0.0.1:80"}}
	}
	rule := func(router, rule string) ruche.Route {
		return ruche.Route{Name: router, Vocabulary: ruche.VocabularyTraefik, Match: ruche.Match{Rule: rule}, Endpoints: []string{"http://10.0.0.1:80"}}
	}
	table := compileAll(declares("a", 1, name("a.test", "/"), name("a.test", "/x"), name("*.test", "/"), name("b.other", "/"),
		rule("named", "Host(`a.test`) && PathPrefix(`/y`)"), rule("else", "Host(`c.test`)"), rule("pattern", "HostRegexp(`^[a-b]\\.test$`)"), rule("path", "PathPrefix(`/z`)")))
	for host, want := range map[string]string{
		"a.test": "a.test/ a.test/x named path pattern", "x.test": "*.test/ path", "c.test": "*.test/ else path", "stranger": "path",
	} {
		var got []string
		for r := range table.Takers(host) {
			_, id, _ := strings.Cut(r.ID, ":")
			got = append(got, id)
		}
		slices.Sort(got)
		if strings.Join(got, " ") != want {
			t.Errorf("%s may be taken by %v, want %s", host, got, want)
		}
		for range table.Takers(host) {
			break // which must be possible anywhere
		}
	}
}
