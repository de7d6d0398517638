package pebbletest_test

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"strings"
	"testing"

	"github.com/ruche-project/ruche/internal/pebbletest"
)

func client(t *testing.T, ca *pebbletest.CA) *http.Client {
	t.Helper()
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(ca.Bundle()) {
		t.Fatal("the bundle has no certificate")
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

func TestTheHookCutsConnections(t *testing.T) {
	ca := pebbletest.Start(t, pebbletest.Options{})
	c := client(t, ca)
	get := func() error {
		resp, err := c.Get(ca.Directory())
		if err == nil {
			_ = resp.Body.Close()
		}
		return err
	}
	for _, tc := range []struct {
		name  string
		hook  pebbletest.Hook
		fails bool
		calls int // that reach the CA
	}{
		{"no hook", nil, false, 1},
		{"one that lets all pass", func(pebbletest.Call) bool { return true }, false, 1},
		{"before the request", func(c pebbletest.Call) bool { return c.Status != 0 }, true, 0},
		{"before the answer", func(c pebbletest.Call) bool { return c.Status == 0 }, true, 1},
	} {
		before := len(ca.Calls(pebbletest.Directory))
		ca.SetHook(tc.hook)
		// A client may ask again by itself when a connection that it used before is cut; a new one is not.
		c.CloseIdleConnections()
		if err := get(); (err != nil) != tc.fails {
			t.Errorf("%s: the error is %v, want one: %v", tc.name, err, tc.fails)
		}
		if got := len(ca.Calls(pebbletest.Directory)) - before; got != tc.calls {
			t.Errorf("%s: the CA was asked %d times, want %d", tc.name, got, tc.calls)
		}
	}
	ca.SetHook(nil)
	ca.SetDown(true)
	if get() == nil {
		t.Error("a CA that is down answers")
	}
	ca.SetDown(false)
	if err := get(); err != nil {
		t.Errorf("a CA that is up again: %v", err)
	}
}

func TestWithoutNetwork(t *testing.T) {
	ca := pebbletest.Start(t, pebbletest.Options{})
	c := &http.Client{Transport: ca.RoundTripper()}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, ca.Directory(), nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("User-Agent", "test")
	resp, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK || len(ca.Calls(pebbletest.Directory)) != 1 {
		t.Errorf("the answer is %s after %d calls, want 200 after one", resp.Status, len(ca.Calls(pebbletest.Directory)))
	}
	if other := pebbletest.Start(t, pebbletest.Options{}); r.URL.RawQuery == "" || strings.HasSuffix(other.Directory(), r.URL.RawQuery) {
		t.Errorf("two directories may have the same URL: %s, %s", ca.Directory(), other.Directory())
	}
	if len(ca.Roots()) != 1 {
		t.Errorf("there are %d roots, want one", len(ca.Roots()))
	}
}
