package acme

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	acmez "github.com/mholt/acmez/v3/acme"

	"github.com/ruche-project/ruche/internal/certs/guard"
)

// call is what is to be known of one call of the library beyond what it returns. It belongs to the call's context.
type call struct {
	// once forbids to send a POST again after a connection broke: the CA may have done what it asks for.
	once bool
	// keep has the body of the answer kept.
	keep bool
	// noWindow answers a question for a renewal window without asking the CA: the library asks with each certificate that it fetches, which holds that up for half an hour where nobody answers.
	noWindow bool

	mu         sync.Mutex
	broken     error // of the last POST that did not get through
	spoken     bool  // with the network, in vain or not
	retryAfter time.Duration
	next       string
	body       []byte
}

type callKey struct{}

func withCall(ctx context.Context, c *call) context.Context {
	return context.WithValue(ctx, callKey{}, c)
}

// wire is how requests go out: it tells calls what the library does not.
type wire struct {
	next      http.RoundTripper
	engine    *Engine
	url       string                 // of the directory
	directory atomic.Pointer[[]byte] // nil before it was fetched
}

func (w *wire) RoundTrip(r *http.Request) (*http.Response, error) {
	if answer := w.kept(r); answer != nil {
		return answer, nil
	}
	c, ok := r.Context().Value(callKey{}).(*call)
	if !ok {
		return w.send(r)
	}
	if c.noWindow && r.Method == http.MethodGet {
		return made(r, []byte(`{"suggestedWindow":{"start":"2000-01-01T00:00:00Z","end":"2000-01-02T00:00:00Z"}}`)), nil
	}
	post := r.Method == http.MethodPost
	c.mu.Lock()
	defer c.mu.Unlock()
	if post && c.once && c.broken != nil {
		return nil, c.broken
	}
	c.spoken = true
	answer, err := w.send(r)
	if err != nil {
		if post {
			c.broken = err
		}
		return nil, err
	}
	return answer, c.saw(answer)
}

func (w *wire) send(r *http.Request) (*http.Response, error) {
	sent := w.engine.now()
	answer, err := w.next.RoundTrip(r)
	if err == nil {
		w.engine.heard(w.url, sent, answer)
	}
	return answer, err
}

// maxBody bounds what is kept of an answer.
const maxBody = 1 << 20

func (c *call) saw(answer *http.Response) error {
	c.retryAfter, c.next = retryAfter(answer.Header.Get("Retry-After"), time.Now()), nextPage(answer.Header)
	if !c.keep {
		return nil
	}
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxBody))
	_ = answer.Body.Close()
	c.body, answer.Body = body, io.NopCloser(bytes.NewReader(body))
	return err
}

// retryAfter reads the header of that name (RFC 9110 section 10.2.3); 0 when it says nothing of use.
func retryAfter(value string, now time.Time) time.Duration {
	if seconds, err := strconv.Atoi(value); err == nil {
		return time.Duration(min(max(seconds, 0), 30*24*3600)) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil {
		return min(max(at.Sub(now), 0), 30*24*time.Hour)
	}
	return 0
}

// nextPage finds the link to the next page of a list (RFC 8555 section 7.1.2.1).
func nextPage(h http.Header) string {
	pattern := regexp.MustCompile(`<([^>]+)>\s*;\s*rel="?next"?`)
	for _, link := range h.Values("Link") {
		if found := pattern.FindStringSubmatch(link); found != nil {
			return found[1]
		}
	}
	return ""
}

const (
	requestTimeout = time.Minute
	pollTimeout    = 5 * time.Minute
	pollInterval   = 250 * time.Millisecond // of a CA that does not say how often; who waits for a first certificate notices
)

// newTransport trusts the roots that the issuer names, or else those of the system.
func newTransport(terms Terms) (http.RoundTripper, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if len(terms.Bundle) > 0 {
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(terms.Bundle) {
			return nil, fmt.Errorf("cannot use the roots of issuer %s: there is no certificate in PEM (see --acme-ca-bundle)", terms.Name)
		}
	}
	t := &http.Transport{
		Proxy: http.ProxyFromEnvironment, TLSClientConfig: config, ForceAttemptHTTP2: true, MaxIdleConnsPerHost: maxOrders,
		IdleConnTimeout: time.Minute, TLSHandshakeTimeout: 15 * time.Second, ResponseHeaderTimeout: requestTimeout,
	}
	if terms.Declared {
		return declared{guard.Transport(t), terms.Directory}, nil
	}
	return t, nil
}

// declared sends requests to a CA that a workload names.
type declared struct {
	next      http.RoundTripper
	directory string
}

func (d declared) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme != "https" { // a redirect, or what the directory says
		return nil, d.refuse(fmt.Sprintf("leads to %s, which is no https:// URL", r.URL))
	}
	answer, err := d.next.RoundTrip(r)
	if refused := (*guard.Refused)(nil); errors.As(err, &refused) {
		return nil, d.refuse("cannot be used: " + refused.Error())
	}
	return answer, err
}

func (d declared) refuse(why string) error {
	return &failure{text: "the CA " + d.directory + ", which a workload names, " + why, hint: "describe the CA under issuers: in ruche.yaml, if it is one", refused: true, final: true}
}

// listOrders gives the URLs of the account's orders that the CA lists (RFC 8555 section 7.1.2.1), at most as many as most. Many CAs have no such list.
func listOrders(ctx context.Context, client *acmez.Client, account acmez.Account, most int) ([]string, error) {
	found, err := client.GetAccount(ctx, account)
	if err != nil || found.Orders == "" {
		return nil, err
	}
	var all []string
	for page := found.Orders; page != "" && len(all) < most; {
		c := &call{keep: true}
		// The library has no call for it, but this one asks for any URL and takes any JSON.
		if _, err := client.GetOrder(withCall(ctx, c), account, acmez.Order{Location: page}); err != nil {
			return nil, err
		}
		var list struct {
			Orders []string `json:"orders"`
		}
		if json.Unmarshal(c.body, &list) != nil {
			return nil, errors.New("the CA's list of orders cannot be read")
		}
		all, page = append(all, list.Orders...), c.next
	}
	return all, nil
}
