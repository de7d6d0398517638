package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"

	"github.com/ruche-project/ruche"
)

// ErrNotRunning is returned when nobody listens at the admin address.
var ErrNotRunning = errors.New("no Ruche answers there")

// ErrRejected is what errors are when Ruche refused the question: their text says why, and their method Hint what to do next, if that is known.
var ErrRejected = errors.New("rejected")

// rejection is an answer that says why there is no other.
type rejection struct{ answer problem }

func (r rejection) Error() string { return r.answer.Error }
func (r rejection) Hint() string  { return r.answer.Hint }
func (r rejection) Unwrap() error { return ErrRejected }

// Client asks a running Ruche at its admin address.
type Client struct {
	addr string
	http *http.Client
}

// NewClient returns a client for the admin address addr ("127.0.0.1:8900"; an empty or unspecified host
// means this machine).
func NewClient(addr string) *Client {
	if host, port, err := net.SplitHostPort(addr); err == nil {
		if ip := net.ParseIP(host); host == "" || (ip != nil && ip.IsUnspecified()) {
			addr = net.JoinHostPort("127.0.0.1", port)
		}
	}
	return &Client{addr: addr, http: &http.Client{
		Timeout:   30 * time.Second,
		Transport: &http.Transport{Proxy: nil, DisableKeepAlives: true},
	}}
}

// Routes lists what is published.
func (c *Client) Routes(ctx context.Context) (ruche.RouteList, error) {
	var list ruche.RouteList
	err := c.get(ctx, "/api/v1/routes", &list)
	return list, err
}

// Explain asks what happens to a request for rawURL.
func (c *Client) Explain(ctx context.Context, rawURL string) (ruche.Explanation, error) {
	var explanation ruche.Explanation
	err := c.get(ctx, "/api/v1/explain?url="+url.QueryEscape(rawURL), &explanation)
	return explanation, err
}

// State asks how the replicated state is.
func (c *Client) State(ctx context.Context) (ruche.StateStatus, error) {
	var status ruche.StateStatus
	err := c.get(ctx, "/api/v1/state", &status)
	return status, err
}

// Nodes asks a control node which nodes there are.
func (c *Client) Nodes(ctx context.Context) (ruche.NodeList, error) {
	var list ruche.NodeList
	err := c.get(ctx, "/api/v1/nodes", &list)
	return list, err
}

// Doctor asks a control node what is wrong or weak in the installation.
func (c *Client) Doctor(ctx context.Context) (ruche.Checkup, error) {
	var checkup ruche.Checkup
	err := c.get(ctx, "/api/v1/doctor", &checkup)
	return checkup, err
}

// MakeToken asks for a join token.
func (c *Client) MakeToken(ctx context.Context, r ruche.TokenRequest) (string, error) {
	var t token
	err := c.ask(ctx, http.MethodPost, "/api/v1/tokens", r, &t)
	return t.Token, err
}

// Tokens asks a control node which join tokens there are.
func (c *Client) Tokens(ctx context.Context) (ruche.TokenList, error) {
	var list ruche.TokenList
	err := c.get(ctx, "/api/v1/tokens", &list)
	return list, err
}

// RemoveToken ends a join token.
func (c *Client) RemoveToken(ctx context.Context, id string) error {
	return c.ask(ctx, http.MethodDelete, "/api/v1/tokens/"+url.PathEscape(id), nil, &struct{}{})
}

// RemoveNode has a node forgotten.
func (c *Client) RemoveNode(ctx context.Context, name string) error {
	return c.ask(ctx, http.MethodDelete, "/api/v1/nodes/"+url.PathEscape(name), nil, &struct{}{})
}

// Backup has a backup of the replicated state written to w. When it fails, w may have some of it.
func (c *Client) Backup(ctx context.Context, w io.Writer) error {
	resp, err := c.do(ctx, &http.Client{Transport: c.http.Transport}, http.MethodPost, "/api/v1/state/backup", nil) // which may take longer than an answer
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if _, err := io.Copy(w, resp.Body); err != nil {
		return fmt.Errorf("cannot read the backup from %s: %w; the log of Ruche may say why", c.addr, err)
	}
	return nil
}

// Ready returns nil when the node is ready, else an error that says what it waits for.
func (c *Client) Ready(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+c.addr+"/readyz", nil)
	if err != nil {
		return fmt.Errorf("cannot ask %s: %w", c.addr, err)
	}
	resp, err := c.http.Do(req)
	if errors.Is(err, syscall.ECONNREFUSED) {
		err = ErrNotRunning
	}
	if err != nil {
		return fmt.Errorf("cannot ask %s: %w", c.addr, err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode == http.StatusOK {
		return nil
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxReady))
	if err != nil {
		return fmt.Errorf("cannot read the answer of %s: %w", c.addr, err)
	}
	return errors.New(strings.TrimSpace(string(text)))
}

// maxReady bounds what is read of why a node is not ready.
const maxReady = 4 << 10

// maxBody bounds what a client reads: some thousand routes take a few megabytes.
const maxBody = 256 << 20

func (c *Client) get(ctx context.Context, path string, into any) error {
	return c.ask(ctx, http.MethodGet, path, nil, into)
}

// ask sends what is in, if that is not nil, and reads the answer.
func (c *Client) ask(ctx context.Context, method, path string, in, into any) error {
	var body io.Reader
	if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("cannot ask %s: %w", c.addr, err)
		}
		body = bytes.NewReader(data)
	}
	resp, err := c.do(ctx, c.http, method, path, body)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	if err != nil {
		return fmt.Errorf("cannot read the answer of %s: %w", c.addr, err)
	}
	if err := json.Unmarshal(answer, into); err != nil {
		return fmt.Errorf("cannot read the answer of %s: %w: is that Ruche's admin address?", c.addr, err)
	}
	return nil
}

// do sends a request and returns an answer with the status 200, whose body must be closed.
func (c *Client) do(ctx context.Context, client *http.Client, method, path string, body io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://"+c.addr+path, body)
	if err != nil {
		return nil, fmt.Errorf("cannot ask %s: %w", c.addr, err)
	}
	resp, err := client.Do(req)
	if errors.Is(err, syscall.ECONNREFUSED) {
		return nil, fmt.Errorf("cannot ask %s: %w", c.addr, ErrNotRunning)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot ask %s: %w", c.addr, err)
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	defer func() { _ = resp.Body.Close() }()
	var p problem
	if json.NewDecoder(io.LimitReader(resp.Body, maxBody)).Decode(&p) != nil || p.Error == "" {
		return nil, fmt.Errorf("cannot ask %s: it answered %s: is that Ruche's admin address?", c.addr, resp.Status)
	}
	return nil, rejection{p}
}
