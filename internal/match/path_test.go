package match_test

import (
	"testing"

	"github.com/ruche-project/ruche/internal/match"
)

func TestParsePath(t *testing.T) {
	tests := []struct {
		in   string
		kind match.PathKind
		text string
		size int
		yes  []string
		no   []string
	}{
		{"/", match.PathPrefix, "/", 1, []string{"/", "/x"}, nil},
		{"/foo", match.PathPrefix, "/foo", 4, []string{"/foo", "/foobar", "/foo/x"}, []string{"/fo", "/Foo"}},
		{"= /x", match.PathExact, "= /x", 3, []string{"/x"}, []string{"/x/", "/xy"}},
		{"=/x", match.PathExact, "= /x", 3, []string{"/x"}, nil},
		{"^~ /img/", match.PathPrefixOnly, "^~ /img/", 5, []string{"/img/a"}, []string{"/img"}},
		{"~ ^/(a|b)/", match.PathRegexp, "~ ^/(a|b)/", 1, []string{"/a/x", "/b/"}, []string{"/A/", "/c/a/"}},
		{`~* \.PHP$`, match.PathRegexp, `~* \.PHP$`, 0, []string{"/x.php", "/x.Php"}, []string{"/x.php5"}},
		{`~ "^/x{2}$"`, match.PathRegexp, "~ ^/x{2}$", 3, []string{"/xx"}, []string{"/x"}},
	}
	for _, tt := range tests {
		t.Run(tt.in, func(t *testing.T) {
			p, err := match.ParsePath(tt.in)
			if err != nil {
				t.Fatalf("ParsePath: %v", err)
			}
			if p.Kind() != tt.kind || p.String() != tt.text || p.Len() != tt.size {
				t.Errorf("got %s %q of %d, want %s %q of %d", p.Kind(), p, p.Len(), tt.kind, tt.text, tt.size)
			}
			for _, path := range tt.yes {
				if !p.Match(path) {
					t.Errorf("does not match %q", path)
				}
			}
			for _, path := range tt.no {
				if p.Match(path) {
					t.Errorf("matches %q", path)
				}
			}
		})
	}
}

func TestParsePathRefuses(t *testing.T) {
	tests := []struct{ in, message, hint string }{
		{"", "empty", "/"},
		{"  ", "empty", "/"},
		{"foo", "slash", "begin with /"},
		{"= foo", "slash", ""},
		{"=", "slash", ""},
		{"/a /b", "blank", ""},
		{"/a?b", "query", ""},
		{"~", "empty regular expression", ""},
		{"~ (", "missing closing", "re2"},
		{"~ ^/(?<!a)b", "invalid", "look-ahead"},
		{"@named", "slash", ""},
	}
	for _, tt := range tests {
		t.Run(tt.in, func(t *testing.T) { wantError(t, second(match.ParsePath(tt.in)), 0, tt.message, tt.hint) })
	}
}

func FuzzParsePath(f *testing.F) {
	for _, s := range []string{"/", "/foo", "= /x", "^~ /x", "~ ^/a", "~* \\.php$", `~ "a{2}"`, "~", "foo", `~ ""a""`} {
		f.Add(s, "/foo")
	}
	f.Fuzz(func(t *testing.T, pattern, path string) {
		p, err := match.ParsePath(pattern)
		if err != nil {
			return
		}
		if p.Len() > len(p.Value())+1 {
			t.Fatalf("%q fixes %d bytes, more than it has", pattern, p.Len())
		}
		got := p.Match(path)
		if p.Kind() != match.PathRegexp {
			again, err := match.ParsePath(p.String())
			if err != nil || again != p || again.Match(path) != got {
				t.Fatalf("%q became %q, which parses to %q, %v", pattern, p, again, err)
			}
		}
	})
}
