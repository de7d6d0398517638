package h1

import (
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
)

func TestClass(t *testing.T) {
	if len(class) != 256 {
		t.Fatalf("the table has %d bytes", len(class))
	}
	const alphanumeric = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
	for _, tc := range []struct {
		name, bytes string
		bit         byte
	}{
		{"a token", "!#$%&'*+-.^_`|~" + alphanumeric, isToken},
		{"a host", "-._~" + alphanumeric, isHost},
		{"a hexadecimal number", "0123456789abcdefABCDEF", isHex},
		{"an underscore", "_", isUnderscore},
	} {
		for c := range 256 {
			if got, want := class[c]&tc.bit != 0, strings.IndexByte(tc.bytes, byte(c)) >= 0; got != want {
				t.Errorf("%q is part of %s: %v", byte(c), tc.name, got)
			}
		}
	}
}

// TestWords holds what looks at eight bytes at once against what looks at one, for every byte at every place among neighbours that could
// disturb it.
func TestWords(t *testing.T) {
	isText := func(c byte) bool { return c >= 0x20 && c != 0x7f || c == '\t' }
	isSolid := func(c byte) bool { return c > 0x20 && c != '#' }
	r := rand.New(rand.NewPCG(1, 2))
	neighbours := []byte("\x00\x01\x08\t\r\x1f \"#,-./09:@AZ[`az{~\x7f\x80\xa0\xff")
	for c := range 256 {
		for range 200 {
			b := make([]byte, 1+r.IntN(24))
			for i := range b {
				if b[i] = 'a'; r.IntN(3) == 0 {
					b[i] = neighbours[r.IntN(len(neighbours))]
				}
			}
			b[r.IntN(len(b))] = byte(c)
			start := r.IntN(len(b) + 1)
			end := start
			for end < len(b) && isText(b[end]) {
				end++
			}
			if got := text(b, start); got != end {
				t.Fatalf("text(%q, %d) is %d, want %d", b, start, got, end)
			}
			whole := true
			for _, c := range b {
				whole = whole && isSolid(c)
			}
			if got := solid(b); got != whole {
				t.Fatalf("solid(%q) is %v", b, got)
			}
			checkPlainName(t, b, start)
		}
	}
}

// checkPlainName checks that plainName finds the colon, or gives up, which it may do near the end, where there are no eight bytes.
func checkPlainName(t *testing.T, b []byte, start int) {
	t.Helper()
	want := start
	for want < len(b) && class[b[want]]&(isToken|isUnderscore) == isToken {
		want++
	}
	if want == len(b) || b[want] != ':' {
		want = -1
	}
	if got := plainName(b, start); got != want && (got != -1 || want+8 < len(b)) {
		t.Fatalf("plainName(%q, %d) is %d, want %d", b, start, got, want)
	}
}

func TestIdentify(t *testing.T) {
	for id := Other; id < ids; id++ {
		name := id.String()
		if name[0] == '(' {
			continue
		}
		for _, spelling := range []string{name, strings.ToLower(name), strings.ToUpper(name)} {
			if got := Identify([]byte(spelling)); got != id {
				t.Errorf("%s is %v", spelling, got)
			}
			if got := IdentifyString(spelling); got != id {
				t.Errorf("the string %s is %v", spelling, got)
			}
		}
		for i := range len(name) {
			for _, c := range []byte("x-1q") {
				near := []byte(name)
				if near[i]|0x20 == c|0x20 {
					continue
				}
				near[i] = c
				if got := Identify(near); got != Other && !strings.EqualFold(got.String(), string(near)) && got != XForwardedOther {
					t.Errorf("%s is %v", near, got)
				}
			}
		}
		if got := Identify([]byte(name + "x")); got != Other && got != XForwardedOther {
			t.Errorf("%sx is %v", name, got)
		}
		if masked := strings.ReplaceAll(name, "-", "_"); masked != name {
			want := Other
			if id < Disguised {
				want = Disguised
			}
			if got := IdentifyString(masked); got != want {
				t.Errorf("%s is %v", masked, got)
			}
		}
	}
	for name, want := range map[string]ID{
		"": Other, "x": Other, "X-Forwarded-": XForwardedOther, "X-Forwarded-Path": XForwardedOther, "X-Forwarded": Other,
		"X_Forwarded_Path": Disguised, "X-Forwarded-A_b": Disguised, "X-Forwarded_" + strings.Repeat("a", 50): Disguised,
		"Strict_Transport_Security": Other, "Proxy_Authenticate_" + strings.Repeat("a", 50): Other, "_": Other,
	} {
		if got := IdentifyString(name); got != want {
			t.Errorf("%q is %v, want %v", name, got, want)
		}
	}
	if ids > 64 {
		t.Error("the sets of names have no more than 64 bits")
	}
	if ids.String() != "(unknown)" {
		t.Error("what is no ID has a name")
	}
}

func TestSetsOfNames(t *testing.T) {
	for id := Other; id < ids; id++ {
		hop := strings.Contains(" Connection Transfer-Encoding TE Upgrade Trailer Keep-Alive Proxy-Connection Proxy-Authenticate Proxy-Authorization Proxy ", " "+id.String()+" ")
		if HopByHop(id) != hop {
			t.Errorf("%v is hop-by-hop: %v", id, HopByHop(id))
		}
		guarded := strings.Contains(" Forwarded X-Forwarded-For X-Forwarded-Host X-Forwarded-Proto X-Forwarded-Port X-Forwarded-Ssl (X-Forwarded-) X-Real-Ip X-Original-Uri ", " "+id.String()+" ")
		if Guarded(id) != guarded {
			t.Errorf("%v is guarded: %v", id, Guarded(id))
		}
		if (hop || guarded || id == Disguised) && !NotInTrailer(id) {
			t.Errorf("%v may be in a trailer", id)
		}
	}
	if NotInTrailer(Other) {
		t.Error("nothing may be in a trailer")
	}
}

func TestValid(t *testing.T) {
	for name, want := range map[string]bool{"": false, "a": true, "A-b_c1": true, "a b": false, "a:": false, "\u00e4": false} {
		if ValidFieldName([]byte(name)) != want {
			t.Errorf("%q is a name: %v", name, !want)
		}
	}
	for value, want := range map[string]bool{"": true, "a b\tc": true, "\u00e4": true, "a\nb": false, "a\r": false, "\x00": false, "\x7f": false} {
		if ValidFieldValue([]byte(value)) != want {
			t.Errorf("%q is a value: %v", value, !want)
		}
	}
}

func TestIPv6(t *testing.T) {
	for _, a := range []string{
		"", ":", "::", ":::", "::1", "1::", "1:", ":1", "1::2", "1:::2", "1::2::3", "1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", "1:2:3:4:5:6:7::",
		"::2:3:4:5:6:7:8", "1:2:3:4:5:6:7:8::", "::1:2:3:4:5:6:7:8", "1:2:3:4::5:6:7:8", "12345::", "g::", "::ffff:192.0.2.1", "::192.0.2", "::192.0.2.256", "::192.0.2.01",
		"::192.0.2.1.1", "::.0.2.1", "::192..2.1", "1:2:3:4:5:6:192.0.2.1", "1:2:3:4:5:6:7:192.0.2.1", "1:2:3:4:5:192.0.2.1", "192.0.2.1", "::192.0.2.1:1", "::1%eth0",
		"1:2:3:4:5:6:7:8:", "::a.0.2.1", "::192.0.2.", "fe80::ABCD", "1::2:", "::0.0.0.0", "::00.0.0.0", "1:2:3:4:5:6::192.0.2.1", "1:2:3:4:5::192.0.2.1",
	} {
		parsed, err := netip.ParseAddr(a)
		want := err == nil && parsed.Is6() && parsed.Zone() == ""
		if got := validIPv6([]byte(a)); got != want {
			t.Errorf("%q is an IPv6 address: %v", a, got)
		}
	}
}
