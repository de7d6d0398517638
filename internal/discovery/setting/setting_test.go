package setting_test

import (
	"strings"
	"testing"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/discovery/setting"
)

func TestValues(t *testing.T) {
	sameSite := func(s string) *setting.Problem {
		_, p := setting.SameSite(s)
		return p
	}
	header := func(s string) *setting.Problem {
		name, value, _ := strings.Cut(s, ": ")
		return setting.Header(name, value)
	}
	for _, tc := range []struct {
		name      string
		check     func(string) *setting.Problem
		good, bad []string
	}{
		{"cookie name", setting.CookieName, []string{"srv", "A-b_1", "_1d52e"}, []string{"", "a b", "a;b", "a=b", "ä", "a\r\n", strings.Repeat("x", 65)}},
		{"cookie path", setting.CookiePath, []string{"/", "/a/b"}, []string{"", "a", "/a;b", "/a b", "/\n", "/" + strings.Repeat("x", 1000)}},
		{"cookie domain", setting.CookieDomain, []string{"a.example", ".a.example"}, []string{"", ".", "a;b", "a b", "*.a"}},
		{"same site", sameSite, []string{"", "lax", "Strict", "NONE"}, []string{"x", "lax;"}},
		{"check path", setting.CheckPath, []string{"/", "/up?x=1&y=%20"}, []string{"", "up", "//h/x", "http://h/", "/a b", "/a#b", "/ü", "/\r\nX: y"}},
		{"check host", setting.CheckHost, []string{"a.example", "a:80", "10.0.0.1", "[::1]", "[::1]:80"}, []string{"", "a b", "a:", "a:b", "a/b", "::1", "[x]", "a\r\n"}},
		{"header", header, []string{"X-Key: v", "x: a b\tc", "x: "}, []string{"", ": v", "X Key: v", "X: a\r\nb"}},
		{"method", setting.Method, []string{"GET", "HEAD", "OPTIONS"}, []string{"", "get", "GET ", "CONNECT", "A\n"}},
		{"root", setting.Root, []string{"/", "/var/www/my site"}, []string{"", "www", "/a\nb"}},
	} {
		for _, v := range tc.good {
			if p := tc.check(v); p != nil {
				t.Errorf("%s %q: %s", tc.name, v, p.Message)
			}
		}
		for _, v := range tc.bad {
			if p := tc.check(v); p == nil || p.Message == "" {
				t.Errorf("%s %q is taken", tc.name, v)
			}
		}
	}
}

func TestNumbers(t *testing.T) {
	for n, good := range map[int]bool{-1: false, 0: true, 1: true, setting.MaxWeight: true, setting.MaxWeight + 1: false} {
		if p := setting.Weight(n); (p == nil) != good {
			t.Errorf("weight %d: %v", n, p)
		}
	}
	for n, good := range map[int]bool{-1: false, 0: false, 1: true, setting.MaxThreshold: true, setting.MaxThreshold + 1: false} {
		if p := setting.Threshold("failures", n); (p == nil) != good {
			t.Errorf("threshold %d: %v", n, p)
		}
	}
	for n, good := range map[int]bool{0: false, 100: false, 200: true, 599: true, 600: false} {
		if p := setting.Status(n); (p == nil) != good {
			t.Errorf("status %d: %v", n, p)
		}
	}
}

func TestSticky(t *testing.T) {
	for s, good := range map[ruche.Sticky]bool{{}: true, {SameSite: "none"}: false, {SameSite: "none", Secure: true}: true, {SameSite: "lax"}: true} {
		if p := setting.Sticky(&s); (p == nil) != good {
			t.Errorf("%+v: %v", s, p)
		}
	}
}

func TestDuration(t *testing.T) {
	for _, tc := range []struct {
		text string
		bare bool
		want time.Duration // 0: refused
	}{
		{"10s", false, 10 * time.Second}, {"500ms", false, 500 * time.Millisecond}, {"1m30s", true, 90 * time.Second},
		{"10", true, 10 * time.Second}, {"10", false, 0}, {"", true, 0}, {"-1s", true, 0}, {"ten", true, 0}, {"2h", true, 0}, {"1ms", true, 0}, {"99999999999999999999", true, 0},
	} {
		d, p := setting.Duration(tc.text, tc.bare, 100*time.Millisecond, time.Hour)
		if d != tc.want || (p == nil) != (tc.want != 0) {
			t.Errorf("%q, bare %v: %s, %v; want %s", tc.text, tc.bare, d, p, tc.want)
		}
	}
}
