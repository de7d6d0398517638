package proxy

import (
	"net/http"
	"testing"

	"github.com/ruche-project/ruche"
)

func TestHSTS(t *testing.T) {
	up := backend(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/own" {
			w.Header().Set("Strict-Transport-Security", "max-age=1")
		}
		if r.URL.Path == "/error" {
			w.WriteHeader(500)
		}
	})
	with := func(host, hsts string, method ruche.HTTPSMethod) ruche.Route {
		r := site(host, up)
		r.HSTS, r.HTTPSMethod = hsts, method
		return r
	}
	path := with("paths.trusted.test", "max-age=5", ruche.HTTPSRedirect)
	other := with("paths.trusted.test", "", "")
	other.Match.Path = "/other/"
	file := with("file.trusted.test", "", ruche.HTTPSRedirect)
	file.Vocabulary = ruche.VocabularyFile
	fileOwn := with("own.trusted.test", "max-age=7", ruche.HTTPSRedirect)
	fileOwn.Vocabulary = ruche.VocabularyFile
	unserved := nowhere("nowhere.trusted.test")
	unserved.HTTPSMethod = ""
	r := startHTTP3(t, Config{TrustedProxies: loopback()},
		with("a.trusted.test", "", ""), with("custom.trusted.test", "max-age=86400; includeSubDomains; preload", ruche.HTTPSNoHTTP), with("off.trusted.test", ruche.HSTSOff, ""),
		with("both.trusted.test", "", ruche.HTTPSNoRedirect), with("both2.trusted.test", "max-age=3", ruche.HTTPSNoRedirect), with("self.test", "max-age=9", ""),
		path, other, file, fileOwn, unserved,
	)
	const year = "max-age=31536000"
	for _, tc := range []struct{ url, want string }{
		{"https://a.trusted.test/", year}, {"https://a.trusted.test/error", year}, {"https://a.trusted.test/own", "max-age=1"},
		{"http://a.trusted.test/", ""}, {"https://custom.trusted.test/", "max-age=86400; includeSubDomains; preload"}, {"https://off.trusted.test/", ""},
		{"https://both.trusted.test/", ""}, {"https://both2.trusted.test/", ""}, {"https://self.test/", ""},
		{"https://paths.trusted.test/", "max-age=5"}, {"https://paths.trusted.test/other/x", "max-age=5"}, {"https://paths.trusted.test/other", "max-age=5"},
		{"https://file.trusted.test/", ""}, {"https://own.trusted.test/", "max-age=7"}, {"https://nowhere.trusted.test/", year},
	} {
		resp, _ := r.get(tc.url)
		got := resp.Header.Values("Strict-Transport-Security")
		if len(got) > 1 || resp.Header.Get("Strict-Transport-Security") != tc.want {
			t.Errorf("%s got %q, want %q", tc.url, got, tc.want)
		}
	}
	if resp, _ := r.answer3(r.request("GET", "https://a.trusted.test/", nil)); resp.Header.Get("Strict-Transport-Security") != year {
		t.Errorf("by HTTP/3 got %q", resp.Header.Values("Strict-Transport-Security"))
	}
	req := r.request("GET", "http://a.trusted.test/", nil)
	req.Header.Set("X-Forwarded-Proto", "https")
	if resp, _ := r.do(req); resp.StatusCode != 200 || resp.Header.Get("Strict-Transport-Security") != "" {
		t.Errorf("behind a proxy that took TLS off: %d, %q; the field is that proxy's to send", resp.StatusCode, resp.Header.Get("Strict-Transport-Security"))
	}
}
