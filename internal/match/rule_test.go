package match_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/ruche-project/ruche/internal/match"
)

func TestRuleMatch(t *testing.T) {
	tests := []struct {
		rule  string
		yes   string // "host/path", separated by blanks
		no    string
		hosts string
		exact bool
	}{
		{"Host(`a.example`)", "a.example/ a.example/x", "b.example/", "a.example", true},
		{"Host(`A.Example`)", "a.example/", "", "a.example", true},
		{"Host(`a`,`b`)", "a/ b/", "c/", "a b", true},
		{"host(`a`) || HOST(\"b\")", "a/ b/", "c/", "a b", true},
		{"Host(`a`) && PathPrefix(`/api`)", "a/api a/apis", "a/ b/api", "a", true},
		{"Host(`a`) && Path(`/api`)", "a/api", "a/api/ a/apis", "a", true},
		{"Host(`a`) && PathRegexp(`^/(x|y)/`)", "a/x/ a/y/1", "a/z/", "a", true},
		{"Host(`a`) && !PathPrefix(`/x`)", "a/ a/y", "a/x b/", "a", true},
		{"!Host(`a`)", "b/", "a/", "", false},
		{"Host(`a`) || PathPrefix(`/x`)", "a/ b/x", "b/", "a", false},
		{"(Host(`a`) || Host(`b`)) && (PathPrefix(`/x`) || PathPrefix(`/y`))", "a/x b/y", "a/ c/x", "a b", true},
		{"Host(`a`) || Host(`b`) && PathPrefix(`/x`)", "a/ b/x", "b/", "a b", true},
		{"Host(`a`) && Host(`b`)", "", "a/ b/", "", true},
		{"HostRegexp(`^.+\\.example$`)", "a.example/", "example/ a.example.org/", "", false},
		{"HostRegexp(`^.+\\.example$`) && Host(`a.example`)", "a.example/", "b.example/", "a.example", true},
		{"HostRegexp(`{sub:[a-z]+}.example`)", "a.example/", "1.example/ a.b.example/ xa.exampley/", "", false},
		{"HostRegexp(`{sub}.a.example`)", "x.a.example/", "x.y.a.example/", "", false},
		{"Host(`a`) && Path(`/u/{id:[0-9]{1,2}}`)", "a/u/7 a/u/77", "a/u/ a/u/777 a/u/x", "a", true},
		{"Host(`a`) && PathPrefix(`/u/{id}`)", "a/u/7/x", "a/u/", "a", true},
		{"Host(`*.example`)", "a.example/", "example/ a.b.example/", "", false},
		{"Host(`*`)", "a/ b/", "", "", false},
		{"PathPrefix(`/`)", "a/", "", "", false},
		{" ( ( Host( `a` ) ) ) ", "a/", "", "a", true},
		{"!!Host(`a`)", "a/", "b/", "", false},
		{"Host(`[::1]`)", "[::1]/", "", "[::1]", true},
	}
	for _, tt := range tests {
		t.Run(tt.rule, func(t *testing.T) {
			r, err := match.ParseRule(tt.rule)
			if err != nil {
				t.Fatalf("ParseRule: %v", err)
			}
			for _, s := range strings.Fields(tt.yes) {
				if !r.Match(request(s)) {
					t.Errorf("does not match %s", s)
				}
			}
			for _, s := range strings.Fields(tt.no) {
				if r.Match(request(s)) {
					t.Errorf("matches %s", s)
				}
			}
			hosts, exact := r.Hosts()
			if !slices.Equal(hosts, strings.Fields(tt.hosts)) || exact != tt.exact {
				t.Errorf("Hosts() = %v, %v, want [%s], %v", hosts, exact, tt.hosts, tt.exact)
			}
			if r.Len() != len(tt.rule) || r.String() != tt.rule {
				t.Errorf("Len() = %d, String() = %q", r.Len(), r)
			}
		})
	}
}

func request(s string) match.Request {
	i := strings.IndexByte(s, '/')
	return match.Request{Host: s[:i], Path: s[i:]}
}

func TestRuleSpecificity(t *testing.T) {
	tests := []struct {
		rule, request string
		want          match.Specificity
	}{
		{"Host(`a.b`) && PathPrefix(`/x`)", "a.b/xy", match.Specificity{Host: match.HostExact, HostLen: 3, PathLen: 2}},
		{"PathPrefix(`/x`) || Host(`a`)", "a/xy", match.Specificity{Host: match.HostExact, HostLen: 1}},
		{"PathPrefix(`/x`) || PathPrefix(`/xy`)", "a/xy", match.Specificity{Host: match.HostAny, PathLen: 3}},
		{"Host(`*.b`) && !Path(`/long`)", "a.b/", match.Specificity{Host: match.HostLeading, HostLen: 1}},
		{"Host(`a`) && Path(`/x`)", "a/x", match.Specificity{Host: match.HostExact, HostLen: 1, PathLen: 3}},
		{"HostRegexp(`a`) && PathRegexp(`^/ab[0-9]`)", "a/ab1", match.Specificity{Host: match.HostRegexp, PathLen: 3}},
	}
	for _, tt := range tests {
		r, err := match.ParseRule(tt.rule)
		if err != nil {
			t.Fatalf("ParseRule(%s): %v", tt.rule, err)
		}
		if got, ok := r.Specificity(request(tt.request)); !ok || got != tt.want {
			t.Errorf("%s of %s: got %+v, %v, want %+v", tt.rule, tt.request, got, ok, tt.want)
		}
	}
}

func TestRuleMayMatchHost(t *testing.T) {
	tests := []struct {
		rule, yes, no string
	}{
		{"Host(`a`) && PathPrefix(`/x`)", "a", "b"},
		{"Host(`a`) || PathPrefix(`/x`)", "a b", ""},
		{"!Host(`a`)", "b", "a"},
		{"!(Host(`a`) && PathPrefix(`/x`))", "a b", ""},
		{"!(Host(`a`) || PathPrefix(`/x`))", "b", "a"},
		{"HostRegexp(`^a+$`) && !Host(`aa`)", "a aaa", "aa b"},
	}
	for _, tt := range tests {
		r, err := match.ParseRule(tt.rule)
		if err != nil {
			t.Fatalf("ParseRule(%s): %v", tt.rule, err)
		}
		for _, h := range strings.Fields(tt.yes) {
			if !r.MayMatchHost(h) {
				t.Errorf("%s: no path for host %s", tt.rule, h)
			}
		}
		for _, h := range strings.Fields(tt.no) {
			if r.MayMatchHost(h) {
				t.Errorf("%s: a path for host %s", tt.rule, h)
			}
		}
	}
}

func TestRulePrefixes(t *testing.T) {
	tests := []struct {
		rule, want string
		plain      bool
	}{
		{"Host(`a`)", "", true},
		{"Host(`a`) && (PathPrefix(`/x`) || PathPrefix(`/y`))", "/x /y", true},
		{"Host(`a`) && Path(`/x`)", "/x", false},
		{"Host(`a`) && !PathPrefix(`/x`)", "", false},
		{"HostRegexp(`a`) && PathPrefix(`/x`)", "/x", false},
	}
	for _, tt := range tests {
		r, err := match.ParseRule(tt.rule)
		if err != nil {
			t.Fatalf("ParseRule(%s): %v", tt.rule, err)
		}
		if got, plain := r.Paths(); !slices.Equal(got, strings.Fields(tt.want)) || plain != tt.plain {
			t.Errorf("%s: Paths() = %v, %v, want [%s], %v", tt.rule, got, plain, tt.want, tt.plain)
		}
	}
}

func TestParseRuleRefuses(t *testing.T) {
	tests := []struct {
		rule          string
		column        int
		message, hint string
	}{
		{"", 0, "empty", "Host("},
		{"   ", 0, "empty", ""},
		{"Host", 5, "expected ( after Host, found end of the rule", ""},
		{"Host(", 6, "expected a string, found end", "backticks"},
		{"Host()", 6, "expected a string, found ')'", ""},
		{"Host(a.example)", 6, `expected a string, found "a"`, "backticks"},
		{"Host('a')", 6, "expected a string", "backticks"},
		{"Host(`a`", 9, "expected a comma or )", ""},
		{"Host(`a)", 6, "not closed", ""},
		{"Host(`a`) &&", 13, "expected a matcher, found end", ""},
		{"Host(`a`) Path(`/x`)", 11, `unexpected "Path"`, "&&"},
		{"Host(`a`))", 10, "unexpected ')'", "remove"},
		{"(Host(`a`)", 11, "closing parenthesis", "column 1"},
		{"Hosts(`a`)", 1, "unknown matcher", "PathPrefix"},
		{"Host(`ä`) && Nope(`b`)", 6, "Host: host", "xn--"},
		{"Path(`/ä`) && Nope(`b`)", 15, "unknown matcher", ""},
		{"Host(`a b`)", 6, "blank", ""},
		{"Host(`a.*`)", 6, "asterisk", "HostRegexp"},
		{"Host(`~a`)", 6, "regular expression", "HostRegexp"},
		{"HostRegexp(`(`)", 12, "missing closing", ""},
		{"HostRegexp(``)", 12, "empty", ""},
		{"PathPrefix(`api`)", 12, "slash", ""},
		{"Host(`a`) & Host(`b`)", 11, "unexpected '&'", "&&"},
		{"HostSNI(`a`)", 1, "TCP", ""},
		{strings.Repeat("(", 1<<20), 0, "more than", ""},
		{strings.Repeat("(", 1<<15), 102, "nests deeper", ""},
		{strings.Repeat("!", 1<<15), 102, "nests deeper", ""},
	}
	for _, tt := range tests {
		t.Run(tt.rule[:min(len(tt.rule), 30)], func(t *testing.T) {
			err := second(match.ParseRule(tt.rule))
			wantError(t, err, tt.column, tt.message, tt.hint)
			if errors.Is(err, match.ErrUnsupported) {
				t.Error("wraps ErrUnsupported")
			}
		})
	}
}

func TestParseRuleNamesUnsupportedMatchers(t *testing.T) {
	for _, name := range []string{"Method", "Header", "Headers", "HeaderRegexp", "Query", "QueryRegexp", "ClientIP"} {
		err := second(match.ParseRule("Host(`a`) && " + name + "(`x`)"))
		wantError(t, err, 14, name, "PathRegexp")
		if !errors.Is(err, match.ErrUnsupported) {
			t.Errorf("%s: %v does not wrap ErrUnsupported", name, err)
		}
	}
}

func TestLongChainIsNoDepth(t *testing.T) {
	rule := strings.Repeat("Host(`a`) || ", 2000) + "Host(`b`)"
	r, err := match.ParseRule(rule)
	if err != nil {
		t.Fatal(err)
	}
	if !r.Match(match.Request{Host: "b", Path: "/"}) {
		t.Error("the last alternative does not match")
	}
}

func TestRuleMatchDoesNotAllocate(t *testing.T) {
	r, err := match.ParseRule("(Host(`a`) || HostRegexp(`^b+$`)) && !PathPrefix(`/x`)")
	if err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(100, func() { r.Match(match.Request{Host: "bbb", Path: "/y"}) }); n != 0 {
		t.Errorf("Match allocates %v times", n)
	}
}

func FuzzParseRule(f *testing.F) {
	for _, s := range []string{
		"Host(`a`)", "Host(`a`) && PathPrefix(`/x`)", "!(Host(`a`) || Path(\"/x\"))", "HostRegexp(`{s:[a-z]+}.a`)",
		"Method(`GET`)", "((((", "Host(`*.a`)", "PathRegexp(`^/a{2}`)", "Host(`a`) ||", "Host(\"\\u00e9\")",
	} {
		f.Add(s, "a", "/x")
	}
	f.Fuzz(func(t *testing.T, text, host, path string) {
		r, err := match.ParseRule(text)
		if err != nil {
			var e *match.Error
			if !errors.As(err, &e) || e.Column < 0 || e.Column > len(text)+1 {
				t.Fatalf("ParseRule(%q): bad error %v", text, err)
			}
			return
		}
		hosts, exact := r.Hosts()
		if r.Match(match.Request{Host: host, Path: path}) && exact && !slices.Contains(hosts, host) {
			t.Fatalf("rule %q matches host %q, which is not among %v", text, host, hosts)
		}
		if r.Match(match.Request{Host: host, Path: path}) && !r.MayMatchHost(host) {
			t.Fatalf("rule %q matches host %q, but may not", text, host)
		}
	})
}
