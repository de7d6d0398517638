package match_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/ruche-project/ruche/internal/match"
)

func TestParseHost(t *testing.T) {
	tests := []struct {
		in   string
		kind match.HostKind
		text string
		yes  []string
		no   []string
	}{
		{"Shop.Example.", match.HostExact, "shop.example", []string{"shop.example"}, []string{"a.shop.example", "shop.exampl"}},
		{"localhost", match.HostExact, "localhost", []string{"localhost"}, []string{"localhos"}},
		{"my_app", match.HostExact, "my_app", []string{"my_app"}, nil},
		{"192.0.2.1", match.HostExact, "192.0.2.1", []string{"192.0.2.1"}, nil},
		{"[2001:DB8:0::1]", match.HostExact, "[2001:db8::1]", []string{"[2001:db8::1]"}, nil},
		{"*.bar.com", match.HostLeading, "*.bar.com", []string{"a.bar.com", "b.a.bar.com"}, []string{"bar.com", "xbar.com", ".bar.com"}},
		{"foo.bar.*", match.HostTrailing, "foo.bar.*", []string{"foo.bar.com", "foo.bar.co.uk"}, []string{"foo.bar", "foo.bar.", "foo.barn.com"}},
		{`~^shop-[0-9]+\.Example$`, match.HostRegexp, `~^shop-[0-9]+\.Example$`, []string{"shop-1.example", "SHOP-22.example"}, []string{"shop-.example"}},
	}
	for _, tt := range tests {
		t.Run(tt.in, func(t *testing.T) {
			h, err := match.ParseHost(tt.in)
			if err != nil {
				t.Fatalf("ParseHost: %v", err)
			}
			if h.Kind() != tt.kind || h.String() != tt.text {
				t.Errorf("got %s %q, want %s %q", h.Kind(), h, tt.kind, tt.text)
			}
			for _, host := range tt.yes {
				if !h.Match(host) {
					t.Errorf("does not match %q", host)
				}
			}
			for _, host := range tt.no {
				if h.Match(host) {
					t.Errorf("matches %q", host)
				}
			}
		})
	}
}

func TestParseHostRefuses(t *testing.T) {
	tests := []struct{ in, message, hint string }{
		{"", "empty", "shop.example"},
		{"a b", "blank", "commas"},
		{" a", "blank", ""},
		{"http://a.example", "scheme", "without"},
		{"a.example/x", "slash", ""},
		{"a.example:8080", "port", "on its own"},
		{"2001:db8::1", "without brackets", "[2001:db8::1]"},
		{"[2001:db8::1", "brackets", ""},
		{"[2001:db8::1]:80", "brackets", "without a port"},
		{"[fe80::1%eth0]", "brackets", ""},
		{"[192.0.2.1]", "brackets", ""},
		{".example.com", "begins with a dot", "example.com,*.example.com"},
		{"a..b", "empty label", ""},
		{".", "begins with a dot", ""},
		{"*", "asterisk", "~^regex"},
		{"a.*.b", "asterisk", ""},
		{"*a.example", "asterisk", ""},
		{"*.a.*", "asterisk", ""},
		{"a;b", "contains", ""},
		{"münchen.example", "characters", "xn--mnchen-3ya.example"},
		{strings.Repeat("a", 64) + ".example", "label", "63"},
		{strings.Repeat("a.", 200) + "b", "too long", ""},
		{"~", "empty regular expression", ""},
		{"~^(a", "missing closing", ""},
		{"~^(?!a)", "invalid", "look-ahead"},
	}
	for _, tt := range tests {
		t.Run(tt.in, func(t *testing.T) { wantError(t, second(match.ParseHost(tt.in)), 0, tt.message, tt.hint) })
	}
}

func second[T any](_ T, err error) error { return err }

func wantError(t *testing.T, err error, column int, message, hint string) {
	t.Helper()
	var e *match.Error
	if !errors.As(err, &e) {
		t.Fatalf("got error %v, want a *match.Error with %q", err, message)
	}
	if !strings.Contains(e.Message, message) || !strings.Contains(e.Hint, hint) || e.Column != column {
		t.Errorf("got column %d, %q, hint %q; want column %d, %q, hint %q", e.Column, e.Message, e.Hint, column, message, hint)
	}
}

func TestCanonicalHost(t *testing.T) {
	tests := []struct {
		in, want string
		ok       bool
	}{
		{"a.example", "a.example", true},
		{"A.Example:8080", "a.example", true},
		{"a.example.", "a.example", true},
		{"a.example.:80", "a.example", true},
		{"a.example:", "a.example", true},
		{"[::1]", "[::1]", true},
		{"[0:0::1]:443", "[::1]", true},
		{"192.0.2.1:80", "192.0.2.1", true},
		{"a.example:port", "", false},
		{"a.example:123456", "", false},
		{"a..example", "", false},
		{".a", "", false},
		{"", "", false},
		{".", "", false},
		{":80", "", false},
		{"a b", "", false},
		{"a/b", "", false},
		{"a@b", "", false},
		{"a\x00", "", false},
		{"[::1", "", false},
		{"[::1]x", "", false},
		{"[a]", "", false},
		{"::1", "", false},
		{"é", "", false},
	}
	for _, tt := range tests {
		if got, ok := match.CanonicalHost(tt.in); got != tt.want || ok != tt.ok {
			t.Errorf("CanonicalHost(%q) = %q, %v, want %q, %v", tt.in, got, ok, tt.want, tt.ok)
		}
	}
}

func FuzzParseHost(f *testing.F) {
	for _, s := range []string{"a.example", "*.a.example", "a.*", "~^a.*$", "[::1]", "192.0.2.1", "a:80", "*", "~(", "é.example"} {
		f.Add(s, "a.example")
	}
	f.Fuzz(func(t *testing.T, pattern, host string) {
		h, err := match.ParseHost(pattern)
		if err != nil {
			return
		}
		again, err := match.ParseHost(h.String())
		if err != nil || again.String() != h.String() || again.Kind() != h.Kind() {
			t.Fatalf("%q became %q, which parses to %q, %v", pattern, h, again, err)
		}
		if name, ok := match.CanonicalHost(host); ok {
			if h.Match(name) != again.Match(name) {
				t.Fatalf("%q and %q disagree about %q", pattern, h, name)
			}
			if twice, ok := match.CanonicalHost(name); !ok || twice != name {
				t.Fatalf("CanonicalHost(%q) = %q, then %q", host, name, twice)
			}
		}
		if h.Kind() == match.HostExact {
			if name, ok := match.CanonicalHost(h.String()); !ok || !h.Match(name) {
				t.Fatalf("%q does not match itself (%q, %v)", h, name, ok)
			}
		}
	})
}
