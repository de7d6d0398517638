package acmeserver

import (
	"encoding/json"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

func FuzzJWS(f *testing.F) {
	key := newECKey(f)
	f.Add(signJWS(f, key, map[string]any{"alg": es256, "nonce": "n", "url": "u", "jwk": json.RawMessage(jwkOf(f, key.Public()))}, map[string]any{}))
	f.Add(signJWS(f, key, map[string]any{"alg": es256, "kid": "k"}, nil))
	f.Add([]byte(`{"protected":"e30","payload":"","signature":""}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		j, p := parseJWS(body)
		if p != nil {
			return
		}
		if (j.key == nil) == (j.kid == "") && j.key != nil {
			t.Errorf("both key and kid: %q", body)
		}
		if j.key == nil {
			return
		}
		again, err := parseJWK(j.key.canonical)
		if err != nil || !again.equal(j.key) {
			t.Errorf("the canonical form %s is another key: %v", j.key.canonical, err)
		}
		_ = j.verify(j.key)
	})
}

func FuzzCSR(f *testing.F) {
	for _, names := range [][]string{{"a.example"}, {"*.a.example", "127.0.0.1"}, {}} {
		der, _ := decode(csrFor(f, newECKey(f), names...))
		f.Add(der)
	}
	f.Fuzz(func(t *testing.T, der []byte) {
		c, err := parseCSR(der)
		if err != nil {
			return
		}
		if len(c.names) == 0 || !slices.IsSorted(c.names) || checkKey(c.public) != nil {
			t.Errorf("%+v", c)
		}
		for _, name := range c.names {
			if again, p := identifierOf(name).parse(); p != nil || again != name {
				t.Errorf("%q becomes %q, %v", name, again, p)
			}
		}
	})
}

func FuzzOrder(f *testing.F) {
	f.Add([]byte(`{"identifiers":[{"type":"dns","value":"*.A.example"},{"type":"ip","value":"::1"}],"profile":"x","replaces":"AAAA.AQ","notAfter":"2026-01-01T00:00:00Z"}`))
	f.Add([]byte(`{"identifiers":null}`))
	f.Fuzz(func(t *testing.T, payload []byte) {
		var w wish
		if json.Unmarshal(payload, &w) != nil {
			return
		}
		names, p := parseNames(w.Identifiers)
		if p == nil {
			for _, name := range names {
				if again, p := identifierOf(name).parse(); p != nil || again != name {
					t.Errorf("%q becomes %q, %v", name, again, p)
				}
				if len(challengesFor(name)) == 0 || !allowed([]string{"*"}, name) || !allowed([]string{name}, name) {
					t.Errorf("%q cannot be had", name)
				}
			}
		}
		if serial, ok := parseRenewalID(w.Replaces); ok && len(serial) < 32 {
			t.Errorf("the serial %q", serial)
		}
	})
}

func FuzzPattern(f *testing.F) {
	f.Add("*.dept.example", "a.dept.example")
	f.Add("10.0.0.0/8", "10.1.2.3")
	f.Fuzz(func(t *testing.T, pattern, name string) {
		if CheckPattern(pattern) != nil {
			return
		}
		if parsed, p := identifierOf(name).parse(); p == nil && allowed([]string{pattern}, parsed) && pattern != "*" && isIP(parsed) != (strings.Contains(pattern, "/") || isIP(pattern)) {
			t.Errorf("%q allows %q", pattern, name)
		}
	})
}

func TestAllowed(t *testing.T) {
	for _, tc := range []struct {
		pattern, name string
		want          bool
	}{
		{"a.example", "a.example", true}, {"a.example", "b.a.example", false}, {"a.example", "*.a.example", false},
		{"*.a.example", "b.a.example", true}, {"*.a.example", "c.b.a.example", true}, {"*.a.example", "*.a.example", true}, {"*.a.example", "*.b.a.example", true},
		{"*.a.example", "a.example", false}, {"*.a.example", "ba.example", false}, {"*.b.a.example", "*.a.example", false},
		{"10.0.0.0/8", "10.1.2.3", true}, {"10.0.0.0/8", "11.1.2.3", false}, {"2001:db8::/32", "2001:db8::1", true}, {"10.1.2.3", "10.1.2.3", true},
		{"*", "a.example", true}, {"*", "10.1.2.3", true}, {"*.2.3", "10.1.2.3", false},
	} {
		if got := allowed([]string{"x.example", tc.pattern}, tc.name); got != tc.want {
			t.Errorf("%s allows %s: %v", tc.pattern, tc.name, got)
		}
	}
}

// What was taken is not taken again, also when more were taken than are remembered.
func TestNonces(t *testing.T) {
	now := time.Unix(1e9, 0)
	n := newNonces([]byte("secret"), func() time.Time { return now })
	other := newNonces([]byte("secret"), n.now)
	first := n.make()
	if !n.take(first) || n.take(first) || !other.take(first) {
		t.Error("a nonce is good once at each node")
	}
	if stranger := newNonces([]byte("other"), n.now); stranger.take(n.make()) {
		t.Error("the nonce of another installation is taken")
	}
	for range nonceRing {
		now = now.Add(time.Microsecond)
		if !n.take(n.make()) {
			t.Fatal("a new nonce is not taken")
		}
	}
	if n.take(first) || len(n.used) != nonceRing || len(n.ring) != nonceRing {
		t.Errorf("after many others it is taken again, %d are remembered", len(n.used))
	}
	late := n.make()
	now = now.Add(nonceLife)
	if n.take(late) {
		t.Error("an old nonce is taken")
	}
	now = now.Add(-nonceLife - nonceSkew - time.Second)
	if n.take(late) {
		t.Error("a nonce from the future is taken")
	}
}

func TestThrottle(t *testing.T) {
	now := time.Unix(1e9, 0)
	th := newThrottle(2, time.Minute, func() time.Time { return now })
	a, b := netip.MustParsePrefix("192.0.2.1/32"), netip.MustParsePrefix("2001:db8::/64")
	for _, key := range []netip.Prefix{a, a, b} {
		if th.take(key) != 0 {
			t.Error("refused too soon")
		}
	}
	if wait := th.take(a); wait != 30*time.Second {
		t.Errorf("the next in %s", wait)
	}
	now = now.Add(30 * time.Second)
	if th.take(a) != 0 || th.take(a) == 0 {
		t.Error("after half a minute one more is let in")
	}
	for i := range maxAddresses + 10 {
		th.take(netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 32))
	}
	if len(th.byKey) != maxAddresses || th.order.Len() != maxAddresses {
		t.Errorf("%d addresses are remembered", len(th.byKey))
	}
	for remote, want := range map[string]string{"192.0.2.7:1": "192.0.2.7/32", "[::ffff:192.0.2.7]:1": "192.0.2.7/32", "[2001:db8::1]:1": "2001:db8::/64", "[fe80::1%eth0]:1": "fe80::/64"} {
		if got := clientOf(&http.Request{RemoteAddr: remote}); got.String() != want {
			t.Errorf("%s: %s", remote, got)
		}
	}
}
