package lab

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"testing"
	"time"
)

// Client asks one node for any host name: whatever name the URL has, the node's address is dialed.
// It follows no redirect and takes any certificate. Safe for concurrent use.
type Client struct {
	t    testing.TB
	http *http.Client
}

// Answer is a whole answer.
type Answer struct {
	Status int
	Header http.Header
	Body   string
	Proto  string
	TLS    *tls.ConnectionState
}

// Site is what the site's image says of a request.
type Site struct {
	Site     string      `json:"site"`
	Hostname string      `json:"hostname"`
	Method   string      `json:"method"`
	Host     string      `json:"host"`
	Path     string      `json:"path"`
	Headers  http.Header `json:"headers"`
}

// Client makes a client of the node, dialing from the lab's network. Connections are kept alive.
func (n *Node) Client() *Client { return n.client(n.lab.net, n.Address) }

// LocalClient makes a client that dials from the node itself: its loopback, its containers.
func (n *Node) LocalClient() *Client { return n.client(n.net, "") }

func (n *Node) client(from namespace, address string) *Client {
	dial := func(ctx context.Context, network, target string) (net.Conn, error) {
		if address != "" {
			_, port, err := net.SplitHostPort(target)
			if err != nil {
				return nil, fmt.Errorf("cannot read address %q: %w", target, err)
			}
			target = net.JoinHostPort(address, port)
		}
		return from.dial(ctx, network, target)
	}
	return n.clientBy(dial)
}

// clientBy makes a client that gets its connections from dial.
func (n *Node) clientBy(dial func(ctx context.Context, network, target string) (net.Conn, error)) *Client {
	transport := &http.Transport{
		DialContext: dial, MaxIdleConnsPerHost: 256, IdleConnTimeout: 30 * time.Second, ForceAttemptHTTP2: true,
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // names have self-signed certificates
	}
	n.lab.t.Cleanup(transport.CloseIdleConnections)
	return &Client{t: n.lab.t, http: &http.Client{
		Transport: transport, Timeout: 10 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Dial opens a bare connection to a port of the node.
func (n *Node) Dial(ctx context.Context, port string) (net.Conn, error) {
	return n.lab.net.dial(ctx, "tcp", net.JoinHostPort(n.Address, port))
}

// Certificate does a TLS handshake for a name at port 443 of the node, and gives the certificate, which has to be good for the name and lead to one of the roots.
func (n *Node) Certificate(name string, roots *x509.CertPool) (*x509.Certificate, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	raw, err := n.Dial(ctx, "443")
	if err != nil {
		return nil, err
	}
	defer raw.Close() //nolint:errcheck // nothing is lost with it
	conn := tls.Client(raw, &tls.Config{ServerName: name, RootCAs: roots})
	if err := conn.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	return conn.ConnectionState().PeerCertificates[0], nil
}

// AskByUDP sends a datagram to a port of the node, and gives the answer.
func (n *Node) AskByUDP(port, text string) (string, error) {
	conn, err := n.lab.net.dial(context.Background(), "udp", net.JoinHostPort(n.Address, port))
	if err != nil {
		return "", err
	}
	defer conn.Close() //nolint:errcheck // nothing is lost with it
	if err := conn.SetDeadline(time.Now().Add(time.Second)); err != nil {
		return "", err
	}
	if _, err := conn.Write([]byte(text)); err != nil {
		return "", err
	}
	b := make([]byte, 64<<10)
	k, err := conn.Read(b)
	return string(b[:k]), err
}

// FirstServed asks every 2 ms until the URL is answered by the site of that name, and gives the time of that answer.
func (c *Client) FirstServed(rawURL, site string, deadline time.Duration) (time.Time, error) {
	for begin := time.Now(); ; {
		err := c.IsServedBy(rawURL, site)
		now := time.Now()
		if err == nil {
			return now, nil
		}
		if now.Sub(begin) > deadline {
			return now, fmt.Errorf("not within %v: %w", deadline, err)
		}
		pause(2 * time.Millisecond)
	}
}

// Get asks for a URL.
func (c *Client) Get(rawURL string) (Answer, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return Answer{}, fmt.Errorf("cannot ask for %q: %w", rawURL, err)
	}
	return c.Do(&http.Request{Method: http.MethodGet, URL: u})
}

// Do sends a request and reads the whole answer.
func (c *Client) Do(req *http.Request) (Answer, error) {
	resp, err := c.http.Do(req)
	if err != nil {
		return Answer{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return Answer{}, fmt.Errorf("cannot read the answer of %s: %w", req.URL, err)
	}
	return Answer{Status: resp.StatusCode, Header: resp.Header, Body: string(body), Proto: resp.Proto, TLS: resp.TLS}, nil
}

// Site asks for a URL and returns what the site says of it; any status but 200 is an error.
func (c *Client) Site(rawURL string) (Site, error) {
	answer, err := c.Get(rawURL)
	if err != nil {
		return Site{}, err
	}
	if answer.Status != http.StatusOK {
		return Site{}, fmt.Errorf("%s answers %d: %.200s", rawURL, answer.Status, answer.Body)
	}
	var s Site
	if err := json.Unmarshal([]byte(answer.Body), &s); err != nil {
		return Site{}, fmt.Errorf("%s is not answered by a site: %w: %.200s", rawURL, err, answer.Body)
	}
	return s, nil
}

// IsServedBy returns an error until the URL is answered by the site of that name.
func (c *Client) IsServedBy(rawURL, site string) error {
	s, err := c.Site(rawURL)
	if err != nil {
		return err
	}
	if s.Site != site {
		return fmt.Errorf("%s is answered by site %q, want %q", rawURL, s.Site, site)
	}
	return nil
}

// Answers returns an error until the URL is answered with the status.
func (c *Client) Answers(rawURL string, status int) error {
	answer, err := c.Get(rawURL)
	if err != nil {
		return err
	}
	if answer.Status != status {
		return fmt.Errorf("%s answers %d, want %d: %.200s", rawURL, answer.Status, status, answer.Body)
	}
	return nil
}
