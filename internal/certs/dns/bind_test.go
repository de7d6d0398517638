package dns_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	wire "github.com/miekg/dns"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/certs/dns"
)

func TestRecordsReachAllNameServers(t *testing.T) {
	l := newLab(t)
	s := l.solver(t)
	for name, where := range map[string]string{
		"_acme-challenge.example.test":       "_acme-challenge.example.test",
		"_ACME-Challenge.a.example.test.":    "_acme-challenge.a.example.test",
		"_acme-challenge.child.example.test": "_acme-challenge.child.example.test", // another zone
		"_acme-challenge.shop.example.test":  "shop.acme.test",                     // a CNAME to another zone
		"_acme-challenge.far.example.test":   "deep.sub.child.example.test",        // two of them
		"_acme-challenge.x.y.z.w.acme.test":  "_acme-challenge.x.y.z.w.acme.test",
		"_acme-challenge.www.example.test":   "_acme-challenge.www.example.test", // beside a foreign value
	} {
		t.Run(name, func(t *testing.T) {
			err := s.Present(t.Context(), l.provider(), name, "value-1")
			if err != nil {
				t.Fatal(err)
			}
			for _, server := range []string{"127.0.0.1", "127.0.0.2"} {
				if server == "127.0.0.2" && !strings.HasSuffix(where, "e.example.test") {
					continue // this zone has one name server
				}
				if got := texts(t, net.JoinHostPort(server, l.port), where); !slices.Contains(got, "value-1") {
					t.Errorf("%s has %q", server, got)
				}
			}
			if err := s.CleanUp(t.Context(), l.provider(), name, "value-1"); err != nil {
				t.Fatal(err)
			}
			if got := texts(t, l.primary(), where); slices.Contains(got, "value-1") {
				t.Errorf("after cleaning up there is %q", got)
			}
			if err := s.CleanUp(t.Context(), l.provider(), name, "value-1"); err != nil {
				t.Errorf("cleaning up twice: %v", err)
			}
		})
	}
	if got := texts(t, l.primary(), "_acme-challenge.www.example.test"); !slices.Equal(got, []string{"somebody else's"}) {
		t.Errorf("the foreign value: %q", got)
	}
}

func TestValuesStandBesideEachOther(t *testing.T) {
	l := newLab(t)
	s := l.solver(t)
	const name, n = "_acme-challenge.www.example.test", 8
	values := func(do func(context.Context, ruche.DNSProvider, string, string) error, from, to int) {
		t.Helper()
		var all sync.WaitGroup
		for i := from; i < to; i++ {
			all.Go(func() {
				if err := do(t.Context(), l.provider(), name, fmt.Sprint("value-", i)); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
	}
	values(s.Present, 0, n)
	if got := texts(t, l.primary(), name); len(got) != n+1 {
		t.Fatalf("there are %q", got)
	}
	values(s.CleanUp, 0, n/2)
	want := []string{"somebody else's"}
	for i := n / 2; i < n; i++ {
		want = append(want, fmt.Sprint("value-", i))
	}
	if got := texts(t, l.primary(), name); !slices.Equal(slices.Sorted(slices.Values(got)), want) {
		t.Errorf("there are %q, want %q", got, want)
	}
}

func TestRefusedUpdates(t *testing.T) {
	l := newLab(t)
	for name, tc := range map[string]struct {
		at       string
		settings map[string]string
		want     []string
	}{
		"wrong secret":    {settings: map[string]string{"key": otherKey}, want: []string{`refuses the signature by the TSIG key "ruche-key"`}},
		"wrong name":      {settings: map[string]string{"key_name": "nobody"}, want: []string{`does not know the TSIG key "nobody" with hmac-sha256`}},
		"wrong algorithm": {settings: map[string]string{"key_algorithm": "hmac-sha512"}, want: []string{`does not know the TSIG key "ruche-key" with hmac-sha512`}},
		"no key":          {settings: map[string]string{"key": "", "key_name": ""}, want: []string{"does not let an unsigned update write TXT at _acme-challenge.a.example.test", "update-policy"}},
		"no right": {settings: map[string]string{"key": otherKey, "key_name": "weak-key", "key_algorithm": "hmac-sha512"},
			want: []string{`does not let the TSIG key "weak-key" write TXT at _acme-challenge.a.example.test`}},
		"other zone":     {settings: map[string]string{"zone": "acme.test"}, want: []string{"is not in the zone acme.test"}},
		"a secondary":    {settings: map[string]string{"server": l.secondary}, want: []string{l.secondary}},
		"nobody there":   {settings: map[string]string{"server": "127.0.0.3:" + l.port}, want: []string{"does not answer", "127.0.0.3"}},
		"ring of CNAMEs": {at: "_acme-challenge.ring.example.test", want: []string{"leads back to"}},
	} {
		t.Run(name, func(t *testing.T) {
			at := "_acme-challenge.a.example.test"
			if tc.at != "" {
				at = tc.at
			}
			p := l.provider()
			maps.Copy(p.Settings, tc.settings)
			err := l.solver(t).Present(t.Context(), p, at, "v")
			if err == nil {
				t.Fatal("it was written")
			}
			for _, want := range append(tc.want, "cannot write the TXT record of "+at) {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%v\nlacks %q", err, want)
				}
			}
			for _, secret := range []string{tsigSecret, otherKey} {
				if strings.Contains(err.Error(), secret) {
					t.Errorf("the error has the key: %v", err)
				}
			}
		})
	}
}

func TestKeyFromFiles(t *testing.T) {
	l := newLab(t)
	dir := t.TempDir()
	write(t, filepath.Join(dir, "secret"), tsigSecret+"\n")
	write(t, filepath.Join(dir, "key"), fmt.Sprintf("key \"weak-key\" {\n\talgorithm hmac-sha512;\n\tsecret \"%s\";\n};\n", otherKey))
	for name, settings := range map[string]map[string]string{
		"file:":  {"RFC2136_NAMESERVER": l.primary(), "RFC2136_TSIG_KEY": tsigName, "RFC2136_TSIG_SECRET": "file:" + filepath.Join(dir, "secret")},
		"_FILE":  {"RFC2136_NAMESERVER": l.primary(), "RFC2136_TSIG_KEY": tsigName, "RFC2136_TSIG_SECRET_FILE": filepath.Join(dir, "secret")},
		"a key":  {"NSUPDATE_SERVER": "127.0.0.1", "NSUPDATE_SERVER_PORT": l.port, "NSUPDATE_KEY": filepath.Join(dir, "key")},
		"a zone": {"NSUPDATE_SERVER": l.primary(), "NSUPDATE_ZONE": "example.test.", "NSUPDATE_KEY": filepath.Join(dir, "key")},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := dns.Resolve("dns_nsupdate", settings)
			if err != nil {
				t.Fatal(err)
			}
			if err := l.solver(t).Present(t.Context(), p, "_acme-challenge.weak.example.test", "of "+name); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestSlowNameServer(t *testing.T) {
	l := newLab(t)
	const name = "_acme-challenge.slow.test"
	var asked atomic.Int32
	l.answers(t, "127.0.0.3", func(w wire.ResponseWriter, m *wire.Msg) {
		if asked.Add(1) >= 4 {
			relay(t, w, m, l.primary())
			return
		}
		if err := w.WriteMsg(new(wire.Msg).SetRcode(m, wire.RcodeNameError)); err != nil { // it does not know of the name for a while
			t.Error(err)
		}
	})
	if err := l.solver(t).Present(t.Context(), l.provider(), name, "slow"); err != nil {
		t.Fatal(err)
	}
	if n := asked.Load(); n < 4 {
		t.Errorf("it was asked %d times", n)
	}
}

func TestNameServerThatNeverLearns(t *testing.T) {
	l := newLab(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	var asked atomic.Int32
	l.answers(t, "127.0.0.3", func(w wire.ResponseWriter, m *wire.Msg) {
		if asked.Add(1) == 3 {
			cancel(errors.New("no longer wanted"))
		}
		if err := w.WriteMsg(new(wire.Msg).SetRcode(m, wire.RcodeNameError)); err != nil {
			t.Error(err)
		}
	})
	err := l.solver(t).Present(ctx, l.provider(), "_acme-challenge.slow.test", "v")
	if err == nil || strings.Contains(err.Error(), l.primary()) {
		t.Fatalf("error: %v", err)
	}
	for _, want := range []string{"127.0.0.3:" + l.port + " does not have it yet", "no longer wanted", "name servers of the zone slow.test"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v\nlacks %q", err, want)
		}
	}
	s := l.solver(t, func(o *dns.Options) { o.Timeout = 300 * time.Millisecond })
	if err := s.Present(t.Context(), l.provider(), "_acme-challenge.slow.test", "v"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("at the end of the time: %v", err)
	}
}

// A name server that is dead, or that does not serve the zone, stops nobody.
func TestNameServerThatIsNone(t *testing.T) {
	l := newLab(t)
	t.Run("nothing there", func(t *testing.T) {
		if err := l.solver(t).Present(t.Context(), l.provider(), "_acme-challenge.slow.test", "v"); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("refuses", func(t *testing.T) {
		l.answers(t, "127.0.0.3", func(w wire.ResponseWriter, m *wire.Msg) {
			if err := w.WriteMsg(new(wire.Msg).SetRcode(m, wire.RcodeRefused)); err != nil {
				t.Error(err)
			}
		})
		if err := l.solver(t).Present(t.Context(), l.provider(), "_acme-challenge.slow.test", "w"); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("none can be reached", func(t *testing.T) {
		s := l.solver(t, func(o *dns.Options) { o.NameServerPort = freePort(t) })
		if err := s.Present(t.Context(), l.provider(), "_acme-challenge.example.test", "v"); err != nil {
			t.Fatal(err)
		}
		if got := texts(t, l.primary(), "_acme-challenge.example.test"); !slices.Equal(got, []string{"v"}) {
			t.Errorf("there is %q", got)
		}
	})
}

func TestWaitsAsLongAsTheProviderSays(t *testing.T) {
	l := newLab(t)
	p := l.provider()
	p.Wait = 300 * time.Millisecond
	began := time.Now()
	if err := l.solver(t).Present(t.Context(), p, "_acme-challenge.acme.test", "v"); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took < p.Wait {
		t.Errorf("it took %s", took)
	}
}

func TestWildcardsInDNS(t *testing.T) {
	l := newLab(t)
	for name, tc := range map[string]struct{ at, hidden string }{
		"_acme-challenge.wild.example.test":        {at: "_acme-challenge.wild.example.test"},
		"_acme-challenge.own.wild.example.test":    {at: "_acme-challenge.own.wild.example.test"},
		"_acme-challenge.a.wild.example.test":      {at: "_acme-challenge.a.wild.example.test", hidden: "a.wild.example.test"},
		"_acme-challenge.double.both.example.test": {at: "_acme-challenge.double.both.example.test"},
		"_acme-challenge.cn.example.test":          {at: "_acme-challenge.cn.example.test"}, // the wildcard's CNAME is no delegation
		"_acme-challenge.b.cn.example.test":        {at: "www.example.test"},                // a record of its own would hide b.cn.example.test
	} {
		t.Run(name, func(t *testing.T) {
			var log strings.Builder
			s, err := dns.New(slog.New(slog.NewTextHandler(&log, nil)), dns.Options{Resolvers: []string{l.primary()}, NameServerPort: l.port})
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Present(t.Context(), l.provider(), name, "v"); err != nil {
				t.Fatal(err)
			}
			if got := texts(t, l.primary(), tc.at); !slices.Equal(got, []string{"v"}) {
				t.Errorf("at %s there is %q", tc.at, got)
			}
			if err := s.CleanUp(t.Context(), l.provider(), name, "v"); err != nil {
				t.Fatal(err)
			}
			if got := texts(t, l.primary(), tc.at); len(got) > 0 {
				t.Errorf("at %s is left %q", tc.at, got)
			}
			if told := strings.Contains(log.String(), "hidden="); told != (tc.hidden != "") || !strings.Contains(log.String(), tc.hidden) {
				t.Errorf("the log says %q", log.String())
			}
		})
	}
}
