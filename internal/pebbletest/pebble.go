// Package pebbletest is a CA for tests: Let's Encrypt's Pebble in this process, strict, that rejects good nonces and reuses authorizations as the real one does.
// A test may look at what it was asked, and cut connections before a request reaches it or before its answer gets out.
package pebbletest

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/letsencrypt/pebble/v2/ca"
	"github.com/letsencrypt/pebble/v2/db"
	"github.com/letsencrypt/pebble/v2/va"
	"github.com/letsencrypt/pebble/v2/wfe"
	"github.com/miekg/dns"
)

// Options say how the CA is. The zero value is a good one but for the ports, without which nothing but DNS can be validated.
type Options struct {
	// HTTPPort and TLSPort are where it validates http-01 and tls-alpn-01, on 127.0.0.1 for every name.
	HTTPPort, TLSPort int
	// NonceReject is how many of a hundred good nonces are rejected; 0 stands for 10, and a negative number for none.
	NonceReject int
	// AuthzReuse is of how many of a hundred identifiers a valid authorization is used again; 0 stands for 50, and a negative number for none.
	AuthzReuse int
	// Profiles are the lifetimes of the certificates by profile; nil stands for one, "default", of 90 days. An order that asks for none gets any.
	Profiles map[string]time.Duration
	// AlternateRoots is how many chains it offers beside the first.
	AlternateRoots int
	// EAB has the MAC keys (base64url) of external accounts by key ID. If there are any, accounts need one.
	EAB map[string]string
	// RetryAfter is how many seconds it wants clients to wait between questions; 0: as they like.
	RetryAfter int
	// Blocked are domains that it refuses, with all names below.
	Blocked []string
	// AlwaysValid lets every challenge pass without looking.
	AlwaysValid bool
}

// CA is a running Pebble. It is safe for concurrent use.
type CA struct {
	// DNS is what it asks for names.
	DNS *DNS

	server     *httptest.Server
	handler    http.Handler
	management http.Handler
	roots      []*x509.Certificate
	down       atomic.Bool
	store      *db.MemoryStore
	serving    sync.Mutex // held while Pebble handles a request
	mu         sync.Mutex
	hook       Hook
	answer     func(Call) *Answer
	calls      []Call
}

// Start runs a CA until the test ends.
func Start(t testing.TB, o Options) *CA {
	t.Helper()
	store, logger := db.NewMemoryStore(), slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)
	c := &CA{DNS: startDNS(t), store: store}
	logger.SetOutput(io.Discard) // then nothing is formatted either
	for id, key := range o.EAB {
		must(t, store.AddExternalAccountKeyByID(id, key))
	}
	for _, name := range o.Blocked {
		must(t, store.AddBlockedDomain(name))
	}
	authority := ca.New(logger, store, "", "ecdsa", o.AlternateRoots, 1, profiles(o.Profiles))
	for i := range authority.GetNumberOfRootCerts() {
		c.roots = append(c.roots, authority.GetRootCert(i).Cert)
	}
	var front wfe.WebFrontEndImpl
	configured(t, o, func() {
		validation := va.New(logger, o.HTTPPort, o.TLSPort, true, c.DNS.Addr(), store)
		bePatient(validation)
		front = wfe.New(logger, store, validation, authority, []string{Domain}, true, len(o.EAB) > 0, o.RetryAfter, o.RetryAfter)
	})
	c.handler, c.management = c.watch(front.Handler()), front.ManagementHandler()
	c.server = httptest.NewUnstartedServer(c.handler)
	c.server.Config.ErrorLog = logger
	c.server.StartTLS()
	t.Cleanup(c.server.Close)
	return c
}

// patience is how long is waited in this process for something that comes.
const patience = time.Minute

// Domain is how CAA and standing DNS records call the CA.
const Domain = "pebble.letsencrypt.org"

// configuring is held while the environment is set.
var configuring sync.Mutex //nolint:gochecknoglobals // the environment belongs to the process

// configured calls fn with the environment by which Pebble is configured.
func configured(t testing.TB, o Options, fn func()) {
	t.Helper()
	configuring.Lock()
	defer configuring.Unlock()
	for name, value := range map[string]string{
		"PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": strconv.Itoa(percent(o.NonceReject, 10)), "PEBBLE_AUTHZREUSE": strconv.Itoa(percent(o.AuthzReuse, 50)),
		"PEBBLE_VA_ALWAYS_VALID": strconv.FormatBool(o.AlwaysValid),
	} {
		must(t, os.Setenv(name, value))
	}
	fn()
}

// bePatient has Pebble wait for the name server, which is in this process, however busy the machine is. It gives up after two seconds, of which there is no setting.
func bePatient(validation *va.VAImpl) {
	asking := (*dns.Client)(reflect.ValueOf(validation).Elem().FieldByName("dnsClient").UnsafePointer())
	asking.Timeout = patience
}

func percent(asked, usual int) int {
	if asked == 0 {
		return usual
	}
	return max(asked, 0)
}

func profiles(lifetimes map[string]time.Duration) map[string]ca.Profile {
	if len(lifetimes) == 0 {
		lifetimes = map[string]time.Duration{"default": 90 * 24 * time.Hour}
	}
	all := make(map[string]ca.Profile, len(lifetimes))
	for name, d := range lifetimes {
		all[name] = ca.Profile{Description: name, ValidityPeriod: uint64(d / time.Second)}
	}
	return all
}

// Directory is the URL of its directory.
func (c *CA) Directory() string { return c.server.URL + wfe.DirectoryPath }

// Bundle holds, in PEM, the root by which the server of the CA is trusted. Certificates that it issues have another: Roots.
func (c *CA) Bundle() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.server.Certificate().Raw})
}

// Roots are those of the chains that it issues, the first one's first.
func (c *CA) Roots() []*x509.Certificate { return c.roots }

// RoundTripper brings requests to the CA without a network, for tests in a bubble of synctest.
func (c *CA) RoundTripper() http.RoundTripper { return direct{c} }

type direct struct{ ca *CA }

func (d direct) RoundTrip(r *http.Request) (answer *http.Response, err error) {
	defer func() {
		if recover() != nil { // the connection is cut
			answer, err = nil, io.ErrUnexpectedEOF
		}
	}()
	r = r.Clone(r.Context())
	r.TLS, r.RequestURI = &tls.ConnectionState{}, r.URL.RequestURI()
	if r.Host == "" {
		r.Host = r.URL.Host
	}
	if r.Body == nil {
		r.Body = http.NoBody
	}
	w := httptest.NewRecorder()
	d.ca.handler.ServeHTTP(w, r)
	return w.Result(), nil
}

// SetWindow sets what the CA suggests as time to renew a certificate (RFC 9773), and where it says why.
func (c *CA) SetWindow(t testing.TB, der []byte, start, end time.Time, explanation string) {
	t.Helper()
	answer, err := json.Marshal(map[string]any{
		"suggestedWindow": map[string]time.Time{"start": start.UTC(), "end": end.UTC()}, "explanationURL": explanation,
	})
	must(t, err)
	body, err := json.Marshal(map[string]string{
		"Certificate": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), "ARIResponse": string(answer),
	})
	must(t, err)
	if code, text := c.manage(http.MethodPost, "/set-renewal-info/", string(body)); code != http.StatusOK {
		t.Fatalf("cannot set the renewal window: %d %s", code, text)
	}
}

// Revoked tells whether a certificate is revoked, and for what reason (RFC 5280 section 5.3.1).
func (c *CA) Revoked(t testing.TB, cert *x509.Certificate) (revoked bool, reason int) {
	t.Helper()
	code, text := c.manage(http.MethodGet, "/cert-status-by-serial/"+cert.SerialNumber.Text(16), "")
	var status struct {
		Status string
		Reason int
	}
	if code != http.StatusOK {
		t.Fatalf("cannot ask for the status of a certificate: %d %s", code, text)
	}
	must(t, json.Unmarshal([]byte(text), &status))
	return status.Status == "Revoked", status.Reason
}

func (c *CA) manage(method, path, body string) (code int, text string) {
	r := httptest.NewRequest(method, "https://management"+path, strings.NewReader(body))
	r.Header.Set("User-Agent", "pebbletest")
	w := httptest.NewRecorder()
	c.serving.Lock()
	c.serve(c.management, w, r)
	return w.Code, w.Body.String()
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(fmt.Errorf("pebbletest: %w", err))
	}
}
