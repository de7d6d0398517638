package acme_test

import (
	"crypto/x509"
	"encoding/pem"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/ruche-project/ruche/internal/certs/acme"
)

func TestRetryAfter(t *testing.T) {
	now := time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"": 0, "120": 2 * time.Minute, "-5": 0, "x": 0, "99999999999999999999": 0, "999999999": 30 * day,
		"Fri, 01 Jan 2027 01:00:00 GMT": time.Hour, "Thu, 31 Dec 2026 23:00:00 GMT": 0, "Fri, 01 Jan 2100 01:00:00 GMT": 30 * day,
	} {
		if got := acme.RetryAfter(value, now); got != want {
			t.Errorf("%q: %s, want %s", value, got, want)
		}
	}
}

func FuzzRetryAfter(f *testing.F) {
	f.Add("120")
	f.Add("Fri, 01 Jan 2027 01:00:00 GMT")
	f.Fuzz(func(t *testing.T, value string) {
		if got := acme.RetryAfter(value, time.Now()); got < 0 || got > 30*day {
			t.Errorf("%q: %s", value, got)
		}
	})
}

func TestNextPage(t *testing.T) {
	for _, tc := range []struct {
		links []string
		want  string
	}{
		{nil, ""},
		{[]string{`<https://ca.example/dir>;rel="index"`, `<https://ca.example/2>;rel="next"`}, "https://ca.example/2"},
		{[]string{`<https://ca.example/dir>; rel="index", <https://ca.example/2>; rel=next`}, "https://ca.example/2"},
		{[]string{`https://ca.example/2;rel="next"`}, ""},
	} {
		if got := acme.NextPage(http.Header{"Link": tc.links}); got != tc.want {
			t.Errorf("%q: %q, want %q", tc.links, got, tc.want)
		}
	}
}

func FuzzNextPage(f *testing.F) {
	f.Add(`<https://ca.example/2>;rel="next"`)
	f.Fuzz(func(t *testing.T, link string) {
		if got := acme.NextPage(http.Header{"Link": {link}}); got != "" && !strings.Contains(link, "<"+got+">") {
			t.Errorf("%q: %q", link, got)
		}
	})
}

func FuzzParseChain(f *testing.F) {
	f.Add([]byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"))
	f.Add([]byte("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		chain, err := acme.ParseChain(text)
		if err == nil && len(chain) == 0 {
			t.Error("an empty chain is no error")
		}
		for _, der := range chain {
			if err == nil {
				if _, err := x509.ParseCertificate(der); err != nil {
					t.Errorf("%s: %v", pem.EncodeToMemory(&pem.Block{Bytes: der}), err)
				}
			}
		}
	})
}

func FuzzNames(f *testing.F) {
	f.Add("Shop.Example.,*.shop.example,192.0.2.1,[2001:db8::1]")
	f.Fuzz(func(t *testing.T, list string) {
		names := acme.Normalize(strings.Split(list, ","))
		again := acme.Normalize(names)
		if acme.CheckNames(names) == "" && strings.Join(names, ",") != strings.Join(again, ",") {
			t.Errorf("%q is not normal: %q", names, again)
		}
	})
}
