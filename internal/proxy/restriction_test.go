package proxy

import (
	"slices"
	"strings"
	"testing"

	"github.com/ruche-project/ruche"
)

func TestFilesCloseHosts(t *testing.T) {
	up := says(t, "opened")
	redirected := site("locked.trusted.test", up)
	redirected.HTTPSMethod = ruche.HTTPSRedirect
	slashed := site("locked.test", up)
	slashed.Match.Path = "/dir/"
	router := nowhere("")
	router.Vocabulary, router.Name, router.Match = ruche.VocabularyTraefik, "r", ruche.Match{Rule: "Host(`a.test`) || Host(`r.locked.test`)"}
	router.Port, router.Endpoints = 0, []string{up}
	r := start(t, Config{}, slashed, redirected, site("*.locked.test", up), site("open.test", up), router)

	for _, url := range []string{"locked.test/dir/x", "locked.test/dir", "locked.trusted.test/", "any.locked.test/", "r.locked.test/"} {
		for _, scheme := range []string{"http://", "https://"} {
			t.Run(scheme+url, func(t *testing.T) {
				resp, body := r.get(scheme + url)
				if resp.StatusCode != 503 || !strings.Contains(body, "access restriction that is not supported") {
					t.Errorf("got %d %q, want 503 with the reason", resp.StatusCode, body)
				}
				ex, err := r.Explain(scheme + url)
				if err != nil || ex.Status != 503 || !strings.HasSuffix(ex.Answer, ".ca.crt asks for client certificates") ||
					!slices.ContainsFunc(ex.Reasons, func(s string) bool { return strings.Contains(s, ".ca.crt asks for client certificates") }) {
					t.Errorf("explained by %+v, %v; want 503 and the file in answer and reasons", ex, err)
				}
			})
		}
	}
	for _, url := range []string{"http://open.test/", "https://open.test/", "http://a.test/"} {
		if resp, body := r.get(url); body != "opened" {
			t.Errorf("%s: got %d %q, want it served", url, resp.StatusCode, body)
		}
	}
	for _, st := range r.Routes().Routes {
		if want := st.ID != "nginx-proxy:open.test/"; (st.Blocked != "") != want {
			t.Errorf("%s is blocked because %q, want it blocked: %v", st.ID, st.Blocked, want)
		}
	}
}

// A wildcard may answer where a host of its own has no life; what closes the wildcard closes it there, too.
func TestFilesCloseTheWildcardThatServes(t *testing.T) {
	r := start(t, Config{}, site("*.locked.test", says(t, "opened")))
	found := r.current.Load().table.Lookup("x.locked.test", "/")
	if reason := r.restriction(found.Route, "y.test"); reason != "*.locked.test.ca.crt asks for client certificates" {
		t.Errorf("closed because %q, want the route's own pattern asked about", reason)
	}
}
