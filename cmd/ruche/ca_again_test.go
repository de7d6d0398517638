package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/ruche-project/ruche"
)

// Whoever begins an authority anew by mistake is believed by nobody who trusts the old root.
func TestAuthoritiesAreForgottenByWhoMeansIt(t *testing.T) {
	list := ruche.AuthorityList{Authorities: []ruche.AuthorityStatus{{Name: "services", Live: 12}, {Name: "clients", Live: 3}}}
	var begun atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			_ = json.NewEncoder(w).Encode(list)
			return
		}
		begun.Add(1)
		_ = json.NewEncoder(w).Encode(ruche.AuthorityAnswer{})
	}))
	defer server.Close()
	for _, tc := range []struct {
		args, typed string // typed: nothing where there is no terminal
		done        bool
		says        []string
	}{
		{"services --again", "", false, []string{"error: nothing was done: this would forget services with the root, of which 12 certificates are good now; nobody can be asked", "hint: give --yes if it is; who is to trust the new ones needs the new root", "replaced at once"}},
		{"--again", "", false, []string{"forget services and clients with the root, of which 15 certificates are good now"}},
		{"services --again", "no\n", false, []string{"This would forget services", "Type yes to go on: ", "error: nothing was done\n"}},
		{"services --again", "yes\n", true, []string{"Type yes to go on: "}},
		{"services --again --yes", "", true, nil},
		{"docker --again", "", true, nil}, // there is nothing to forget
		{"services", "", true, nil},       // the control node refuses it
	} {
		begun.Store(0)
		_, said := answered(t, tc.typed, append([]string{"ca", "init", "--permit", "any", "--admin-addr", server.Listener.Addr().String()}, strings.Fields(tc.args)...)...)
		if done := begun.Load() == 1; done != tc.done {
			t.Errorf("%q, %q: begun %v, want %v\n%s", tc.args, tc.typed, done, tc.done, said)
		}
		for _, want := range tc.says {
			if !strings.Contains(said, want) {
				t.Errorf("%q, %q: it said\n%swant %q in it", tc.args, tc.typed, said, want)
			}
		}
	}
}
