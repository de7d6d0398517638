package match_test

import (
	"errors"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/ruche-project/ruche/internal/match"
)

func TestConnectionRules(t *testing.T) {
	db := match.Request{Host: "db.example", Client: netip.MustParseAddr("10.1.2.3"), Protocols: []string{"h2", "postgresql"}}
	none := match.Request{Client: netip.MustParseAddr("2001:db8::1")}
	tests := []struct {
		rule     string
		db, none bool
	}{
		{"HostSNI(`*`)", true, true},
		{"HostSNI(`DB.example`)", true, false},
		{"hostsni(`a.example`, \"db.example\")", true, false},
		{"HostSNI(`*.example`)", true, false},
		{"HostSNI(`a.example`) || HostSNI(`b.example`)", false, false},
		{"HostSNIRegexp(`^[a-z]+\\.example$`)", true, false},
		{"HostSNIRegexp(`{sub:[a-z]+}.example`)", true, false},
		{"ClientIP(`10.1.2.3`)", true, false},
		{"ClientIP(`10.0.0.0/8`) && HostSNI(`*`)", true, false},
		{"ClientIP(`10.1.2.255/16`)", true, false},
		{"ClientIP(`::ffff:10.1.0.0/112`)", true, false},
		{"ClientIP(`2001:db8::/32`, `192.0.2.1`)", false, true},
		{"!ClientIP(`10.0.0.0/8`)", false, true},
		{"ALPN(`postgresql`)", true, false},
		{"ALPN(`mqtt`)", false, false},
		{"HostSNI(`db.example`) && (ALPN(`mqtt`) || !ClientIP(`192.0.2.1`))", true, false},
	}
	for _, tt := range tests {
		r, err := match.ParseConnectionRule(tt.rule)
		if err != nil {
			t.Errorf("%s: %v", tt.rule, err)
			continue
		}
		if got := r.Match(db); got != tt.db {
			t.Errorf("%s takes %+v: %v", tt.rule, db, got)
		}
		if got := r.Match(none); got != tt.none {
			t.Errorf("%s takes %+v: %v", tt.rule, none, got)
		}
	}
}

func TestWhatConnectionRulesAsk(t *testing.T) {
	tests := []struct {
		rule      string
		all, tls  bool
		unnamed   bool // it may take connections that ask for no name
		hosts     []string
		exact     bool
		protocols []string
	}{
		{"HostSNI(`*`)", true, false, true, nil, false, nil},
		{"HostSNI(`*`) && ClientIP(`10.0.0.1`)", false, false, true, nil, false, nil},
		{"HostSNI(`a`) && ClientIP(`10.0.0.1`)", false, true, false, []string{"a"}, true, nil},
		{"HostSNI(`a`) || HostSNIRegexp(`^b.$`)", false, true, false, []string{"a"}, false, nil},
		{"!HostSNI(`a`)", false, true, true, nil, false, nil},
		{"ALPN(`x`) && (ALPN(`y`) || !ALPN(`z`) || ALPN(`x`))", false, true, true, nil, false, []string{"x", "y"}},
	}
	for _, tt := range tests {
		r, err := match.ParseConnectionRule(tt.rule)
		if err != nil {
			t.Errorf("%s: %v", tt.rule, err)
			continue
		}
		hosts, exact := r.Hosts()
		if r.TakesAll() != tt.all || r.AsksTLS() != tt.tls || r.MayMatchHost("") != tt.unnamed {
			t.Errorf("%s: all %v, TLS %v, unnamed %v", tt.rule, r.TakesAll(), r.AsksTLS(), r.MayMatchHost(""))
		}
		if !slices.Equal(hosts, tt.hosts) || exact != tt.exact || !reflect.DeepEqual(r.Protocols(), tt.protocols) {
			t.Errorf("%s: hosts %v (exact: %v), protocols %v", tt.rule, hosts, exact, r.Protocols())
		}
	}
}

func TestParseConnectionRuleRefuses(t *testing.T) {
	tests := []struct {
		rule   string
		column int
		want   string
	}{
		{"", 0, "empty"},
		{"Host(`a`)", 1, "HTTP routers"},
		{"HostSNI(`a`) && PathPrefix(`/`)", 17, "HTTP routers"},
		{"Method(`GET`)", 1, "HTTP routers"},
		{"Nonsense(`a`)", 1, "unknown matcher"},
		{"HostSNI(`a b`)", 9, "a b"},
		{"HostSNI(`~a`)", 9, "regular expression"},
		{"HostSNIRegexp(`(`)", 15, "("},
		{"HostSNIRegexp(``)", 15, "empty"},
		{"ClientIP(`10.0.0`)", 10, "neither an address nor a network"},
		{"ClientIP(`fe80::1%eth0`)", 10, "neither an address nor a network"},
		{"ALPN(``)", 6, "empty"},
		{"ALPN(`acme-tls/1`)", 6, "acme-tls/1"},
		{"HostSNI(`a`) HostSNI(`b`)", 14, "unexpected"},
	}
	for _, tt := range tests {
		_, err := match.ParseConnectionRule(tt.rule)
		var e *match.Error
		if !errors.As(err, &e) || e.Column != tt.column || !strings.Contains(e.Message, tt.want) {
			t.Errorf("%s: got %v, want column %d and %q", tt.rule, err, tt.column, tt.want)
		}
	}
}

func FuzzParseConnectionRule(f *testing.F) {
	for _, s := range []string{
		"HostSNI(`*`)", "HostSNI(`a`) && ClientIP(`10.0.0.0/8`)", "!ALPN(`h2`)", "HostSNIRegexp(`^a`) || HostSNI(`*.b`)", "ClientIP(`::ffff:1.2.3.4/100`)", "Host(`a`)",
	} {
		f.Add(s, "a", "10.0.0.1", "h2")
	}
	f.Fuzz(func(t *testing.T, text, host, client, protocol string) {
		r, err := match.ParseConnectionRule(text)
		if err != nil {
			var e *match.Error
			if !errors.As(err, &e) || e.Column < 0 || e.Column > len(text)+1 {
				t.Fatalf("%q: bad error %v", text, err)
			}
			return
		}
		a, _ := netip.ParseAddr(client)
		takes := r.Match(match.Request{Host: host, Client: a, Protocols: []string{protocol}})
		if hosts, exact := r.Hosts(); takes && exact && !slices.Contains(hosts, host) {
			t.Fatalf("rule %q matches host %q, which is not among %v", text, host, hosts)
		}
		if takes && !r.MayMatchHost(host) {
			t.Fatalf("rule %q matches host %q, but may not", text, host)
		}
		if !r.AsksTLS() && r.Match(match.Request{Client: a}) != r.Match(match.Request{Client: a, Host: host, Protocols: []string{protocol}}) {
			t.Fatalf("rule %q asks what only TLS tells", text)
		}
	})
}
