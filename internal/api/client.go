package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"syscall"
	"time"

	"github.com/ruche-project/ruche"
)

// ErrNotRunning is returned when nobody listens at the admin address.
var ErrNotRunning = errors.New("no Ruche answers there")

// ErrRejected is returned when Ruche refused the question; the text says why.
var ErrRejected = errors.New("rejected")

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

// maxBody bounds what a client reads: some thousand routes take a few megabytes.
const maxBody = 256 << 20

func (c *Client) get(ctx context.Context, path string, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+c.addr+path, nil)
	if err != nil {
		return fmt.Errorf("cannot ask %s: %w", c.addr, err)
	}
	resp, err := c.http.Do(req)
	if errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("cannot ask %s: %w", c.addr, ErrNotRunning)
	}
	if err != nil {
		return fmt.Errorf("cannot ask %s: %w", c.addr, err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	if err != nil {
		return fmt.Errorf("cannot read the answer of %s: %w", c.addr, err)
	}
	if resp.StatusCode != http.StatusOK {
		var p problem
		if json.Unmarshal(body, &p) != nil || p.Error == "" {
			return fmt.Errorf("cannot ask %s: it answered %s: is that Ruche's admin address?", c.addr, resp.Status)
		}
		return fmt.Errorf("%w: %s", ErrRejected, p.Error)
	}
	if err := json.Unmarshal(body, into); err != nil {
		return fmt.Errorf("cannot read the answer of %s: %w: is that Ruche's admin address?", c.addr, err)
	}
	return nil
}
