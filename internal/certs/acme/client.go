package acme

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"

	acmez "github.com/mholt/acmez/v3/acme"
)

// caClient is what speaks to one CA.
type caClient struct {
	*acmez.Client
	wire *wire
}

// client gives the client of a CA that answers. It is made once, so that connections and nonces are used again.
func (e *Engine) client(ctx context.Context, terms Terms) (*acmez.Client, error) {
	c, err := e.clientOf(terms)
	if err != nil {
		return nil, err
	}
	if err := c.wire.fetch(ctx); err != nil {
		return nil, err
	}
	return c.Client, nil
}

func (e *Engine) clientOf(terms Terms) (caClient, error) {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\n%t\n%s", terms.Directory, terms.Declared, terms.Bundle))
	e.mu.Lock()
	defer e.mu.Unlock()
	if c, ok := e.clients[sum]; ok {
		return c, nil
	}
	next, err := e.transport(terms)
	if err != nil {
		return caClient{}, err
	}
	w := &wire{next: next, engine: e, url: terms.Directory}
	c := caClient{wire: w, Client: &acmez.Client{
		Directory: terms.Directory, UserAgent: "ruche", PollInterval: e.poll, PollTimeout: pollTimeout,
		HTTPClient: &http.Client{Transport: w, Timeout: requestTimeout},
	}}
	e.clients[sum] = c
	return c, nil
}

// fetch fetches the directory, once. The library would do so while it holds a lock that all its clients have in common: one CA that says nothing would keep all others from being asked.
func (w *wire) fetch(ctx context.Context) error {
	if w.directory.Load() != nil {
		return nil
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, w.url, nil)
	if err != nil {
		return err
	}
	request.Header.Set("User-Agent", "ruche")
	c := &call{spoken: true}
	answer, err := (&http.Client{Transport: w.next, Timeout: requestTimeout}).Do(request)
	if err != nil {
		return explain(err, c)
	}
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxBody))
	if err != nil {
		return explain(err, c)
	}
	var d acmez.Directory
	if answer.StatusCode != http.StatusOK || json.Unmarshal(body, &d) != nil || d.NewNonce == "" || d.NewOrder == "" {
		return explain(fmt.Errorf("%s does not answer as the directory of a CA does (status %d)", w.url, answer.StatusCode), c)
	}
	w.directory.Store(&body)
	return nil
}

// kept answers the library's own question for the directory.
func (w *wire) kept(r *http.Request) *http.Response {
	body := w.directory.Load()
	if body == nil || r.Method != http.MethodGet || r.URL.String() != w.url {
		return nil
	}
	return made(r, *body)
}

// made makes an answer that nobody was asked for.
func made(r *http.Request, body []byte) *http.Response {
	return &http.Response{
		Status: "200 OK", StatusCode: http.StatusOK, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: r,
		Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(bytes.NewReader(body)), ContentLength: int64(len(body)),
	}
}
