package proxy

import (
	"net/http"
	"strings"
	"testing"

	"github.com/ruche-project/ruche"
)

func stickyRoute(n int, s ruche.Sticky) ruche.Route {
	return balanced(n, func(r *ruche.Route) { r.Sticky = &s })
}

func TestStickyCookieKeepsTheEndpoint(t *testing.T) {
	declared := stickyRoute(3, ruche.Sticky{})
	s, r := snap(declared, nil)
	cookie := []byte(r.all[2].token)
	for i := range 4 {
		p := r.picker(pickKey{cookie: cookie})
		e := p.next(epoch())
		if letter(r, e) != "c" || p.stickyCookie(e, true) != "" {
			t.Fatalf("request %d: endpoint %s, cookie %q; want c and no cookie", i, letter(r, e), p.stickyCookie(e, true))
		}
	}
	for _, foreign := range []string{"", "x", strings.Repeat("f", tokenLen)} {
		p := r.picker(pickKey{cookie: []byte(foreign)})
		e := p.next(epoch())
		if got := p.stickyCookie(e, false); !strings.HasPrefix(got, r.cookieName()+"="+e.token+";") {
			t.Errorf("cookie %q: %q is set, want that of %s", foreign, got, letter(r, e))
		}
	}
	// While its endpoint is ejected a client is someone else's, and stays with that one.
	out(r, "c", "", "")
	p := r.picker(pickKey{cookie: cookie})
	e := p.next(epoch())
	if letter(r, e) == "c" || p.stickyCookie(e, false) == "" {
		t.Errorf("endpoint %s, cookie %q", letter(r, e), p.stickyCookie(e, false))
	}
	_, again := snap(declared, nil)
	if again.all[2].token != string(cookie) || again.cookieName() != r.cookieName() {
		t.Error("another process has other cookies")
	}
	if _, swapped := snap(declared, s); swapped.all[2].token != string(cookie) {
		t.Error("a swap changes cookies")
	}
}

func TestStickyCookieThatFailsGoesOn(t *testing.T) {
	_, r := snap(stickyRoute(3, ruche.Sticky{}), nil)
	if got := order(r, pickKey{cookie: []byte(r.all[2].token)}, epoch()); len(got) != 3 || got[0] != 'c' {
		t.Errorf("%s, want c and then the others", got)
	}
}

func TestStickySessions(t *testing.T) {
	route := site("a.test", says(t, "1"), says(t, "2"), says(t, "3"))
	route.Sticky = &ruche.Sticky{Cookie: "srv", HTTPOnly: true}
	r := start(t, Config{}, route)
	for _, scheme := range []string{"http", "https"} {
		resp, first := r.get(scheme + "://a.test/")
		cookies := resp.Cookies()
		if len(cookies) != 1 || cookies[0].Name != "srv" || !cookies[0].HttpOnly {
			t.Fatalf("%s: cookies %v, want one called srv", scheme, cookies)
		}
		for range 4 {
			req := r.request("GET", scheme+"://a.test/", nil)
			req.Header.Set("Cookie", "other=1; "+cookies[0].Name+"="+cookies[0].Value)
			if resp, body := r.do(req); body != first || len(resp.Cookies()) != 0 {
				t.Errorf("%s: answer of %s with the cookies %v, want %s again and none", scheme, body, resp.Cookies(), first)
			}
		}
	}
}

func TestTokensTellNoAddress(t *testing.T) {
	_, r := snap(stickyRoute(2, ruche.Sticky{}), nil)
	for _, e := range r.all {
		if len(e.token) != tokenLen || strings.Contains(e.token, "10.0") || strings.Trim(e.token, "0123456789abcdef") != "" {
			t.Errorf("token %q of %s", e.token, e.url)
		}
	}
	if r.all[0].token == r.all[1].token {
		t.Error("two endpoints share a token")
	}
}

func TestSetCookie(t *testing.T) {
	for _, tc := range []struct {
		name   string
		sticky ruche.Sticky
		secure bool
		want   string
	}{
		{"plain", ruche.Sticky{Cookie: "srv"}, false, "srv=TOKEN; Path=/"},
		{"all", ruche.Sticky{Cookie: "srv", Secure: true, HTTPOnly: true, SameSite: "strict", Path: "/app", Domain: "a.test", MaxAge: 60}, true,
			"srv=TOKEN; Path=/app; Domain=a.test; Max-Age=60; HttpOnly; Secure; SameSite=Strict"},
		{"lax", ruche.Sticky{Cookie: "srv", SameSite: "lax"}, true, "srv=TOKEN; Path=/; SameSite=Lax"},
		{"none", ruche.Sticky{Cookie: "srv", SameSite: "none", Secure: true}, true, "srv=TOKEN; Path=/; Secure; SameSite=None"},
		{"a secure one without TLS", ruche.Sticky{Cookie: "srv", Secure: true}, false, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, r := snap(stickyRoute(2, tc.sticky), nil)
			e := r.all[0]
			want := strings.ReplaceAll(tc.want, "TOKEN", e.token)
			got := r.stickyCookie(e, tc.secure)
			if got != want {
				t.Errorf("%q, want %q", got, want)
			}
			if c, err := http.ParseSetCookie(got); want != "" && (err != nil || c.Value != e.token) {
				t.Errorf("it is no cookie: %v, %v", c, err)
			}
		})
	}
	_, r := snap(balanced(2, nil), nil)
	if got := r.stickyCookie(r.all[0], true); got != "" || r.cookieName() != "" {
		t.Errorf("a route without cookie sets %q", got)
	}
}

func TestCookieValue(t *testing.T) {
	for _, tc := range []struct{ header, want string }{
		{"", ""}, {"srv=1", "1"}, {"a=b; srv=1", "1"}, {"a=b;srv=1;c=d", "1"}, {"xsrv=1", ""}, {"srvx=1", ""}, {"srv", ""}, {"srv=", ""},
		{"SRV=1", ""}, {"srv=1; srv=2", "1"}, {`srv="1"`, "1"}, {"srv=a=b", "a=b"}, {" \tsrv=1 ", "1"}, {"; ;srv=1", "1"},
	} {
		if got := cookieValue([]byte(tc.header), "srv"); string(got) != tc.want {
			t.Errorf("%q: %q, want %q", tc.header, got, tc.want)
		}
	}
}

// FuzzCookieValue holds it against the standard library, where that reads the header at all.
func FuzzCookieValue(f *testing.F) {
	for _, s := range []string{"srv=1", "a=b; srv=1; c", `srv="1"`, ";;=;srv=="} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, header string) {
		got := cookieValue([]byte(header), "srv")
		cookies, err := http.ParseCookie(header)
		if err != nil {
			return
		}
		for _, c := range cookies {
			if c.Name == "srv" && strings.Trim(c.Value, `"`) != string(got) {
				t.Fatalf("%q: %q, want %q", header, got, c.Value)
			} else if c.Name == "srv" {
				return
			}
		}
	})
}
