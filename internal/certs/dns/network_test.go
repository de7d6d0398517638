package dns_test

import (
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/certs/guard"
)

// TestDeclaredProvidersAreNotReachedHere has a workload name providers on the loopback interface of the node that orders: they get no connection, those of the settings do.
func TestDeclaredProvidersAreNotReachedHere(t *testing.T) {
	zone := newFakeZone(t, apiZone, "_acme-challenge.shop.example.test. CNAME d420c923.acme.example.test.")
	reached := new(atomic.Int64)
	api := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusTeapot) }))
	api.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			reached.Add(1)
		}
	}
	api.Config.SetKeepAlivesEnabled(false)
	api.Start()
	t.Cleanup(api.Close)
	nameServer, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nameServer.Close() })
	go hangUp(nameServer, reached)
	hooks := []string{api.URL, strings.Replace(api.URL, "127.0.0.1", "localhost", 1)}
	if host := ownAddress(t); host != "" { // a server that may be reached, and leads here
		hooks = append(hooks, redirecting(t, host, api.URL))
	}
	providers := []ruche.DNSProvider{{Name: "rfc2136", Settings: map[string]string{"server": nameServer.Addr().String()}}}
	for _, server := range hooks {
		providers = append(providers, ruche.DNSProvider{Name: "acme-dns", Settings: map[string]string{"server": server, "username": "u", "password": "p", "subdomain": "d420c923"}})
	}
	s, at, value := zone.solver(t), "_acme-challenge.shop.example.test", strings.Repeat("a", 43)
	for _, p := range providers {
		before := reached.Load()
		if err := s.Present(t.Context(), p, at, value); err == nil || reached.Load() == before {
			t.Errorf("%s of the settings at %s: %v, want it to be reached, and to refuse", p.Name, p.Settings["server"], err)
		}
		before = reached.Load()
		p.Declared = true
		var refused *guard.Refused
		err := s.Present(t.Context(), p, at, value)
		if !errors.As(err, &refused) || !strings.Contains(err.Error(), "configure an issuer") {
			t.Errorf("%s of a workload at %s: %v, want it refused with a hint", p.Name, p.Settings["server"], err)
		}
		if reached.Load() != before {
			t.Errorf("%s of a workload at %s was reached", p.Name, p.Settings["server"])
		}
	}
	rfc2136 := providers[0]
	rfc2136.Declared = true
	if err := s.CleanUp(t.Context(), rfc2136, at, value); err == nil || !strings.Contains(err.Error(), "is not reached for workloads") {
		t.Errorf("removing a record: %v", err)
	}
}

// hangUp counts the connections that it accepts, and ends them, until the listener is closed.
func hangUp(l net.Listener, n *atomic.Int64) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		n.Add(1)
		_ = conn.Close()
	}
}

// ownAddress is an address of this machine that is not its loopback interface's, nor one of its link; empty where it has none.
func ownAddress(t *testing.T) string {
	t.Helper()
	all, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range all {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && guard.Check(net.JoinHostPort(n.IP.String(), "1")) == nil {
			return n.IP.String()
		}
	}
	return ""
}

// redirecting serves on a host, sends who asks to another server, and gives its URL.
func redirecting(t *testing.T, host, to string) string {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, to+r.URL.Path, http.StatusTemporaryRedirect)
	}))
	_ = server.Listener.Close()
	server.Listener = l
	server.Start()
	t.Cleanup(server.Close)
	return server.URL
}
