package mesh

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"time"
)

const (
	// attemptTimeout bounds a call to one control node.
	attemptTimeout = 5 * time.Second
	dialTimeout    = 2 * time.Second
	// maxAnswer bounds what a control node may answer a call.
	maxAnswer = 64 << 20
)

// httpClient speaks for one identity.
type httpClient struct {
	id *identity
	*http.Client
}

// client gives what speaks as id; nil stands for a stranger.
func (c *Client) client(id *identity) *http.Client {
	if id == nil {
		return c.newClient(nil)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.http.id != id {
		if c.http.Client != nil {
			c.http.CloseIdleConnections()
		}
		c.http = httpClient{id: id, Client: c.newClient(id)}
	}
	return c.http.Client
}

// hangUp has calls as id begin with new connections. One that leads nowhere any more would take new calls, too, until its pings have failed; calls that run on it go on.
func (c *Client) hangUp(id *identity) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.http.id == id {
		c.http.CloseIdleConnections()
		c.http = httpClient{}
	}
}

// idle closes connections that nothing runs on.
func (c *Client) idle() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.http.Client != nil {
		c.http.CloseIdleConnections()
	}
}

func (c *Client) newClient(id *identity) *http.Client {
	conf := &tls.Config{
		MinVersion: tls.VersionTLS13, Time: c.cfg.Now,
		// Control nodes are known by the authority and their role, and not by an address.
		InsecureSkipVerify: true,
		VerifyConnection:   func(s tls.ConnectionState) error { return c.verifyControl(id, s) },
	}
	if id != nil {
		conf.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return id.tls, nil }
	}
	protocols := new(http.Protocols)
	protocols.SetHTTP2(true)
	return &http.Client{Transport: &http.Transport{
		TLSClientConfig: conf, Protocols: protocols, DialContext: (&net.Dialer{Timeout: dialTimeout}).DialContext,
		TLSHandshakeTimeout: c.timing.handshake, IdleConnTimeout: 90 * time.Second, DisableKeepAlives: id == nil, DisableCompression: true,
		HTTP2: &http.HTTP2Config{SendPingTimeout: c.timing.silence, PingTimeout: c.timing.silence},
	}}
}

var errNotControl = errors.New("it is no control node of this installation")

// verifyControl checks that the other side is a control node: by the root that this node has, else by the one that its token pins.
func (c *Client) verifyControl(id *identity, s tls.ConnectionState) error {
	certs := s.PeerCertificates
	var root *x509.Certificate
	switch {
	case len(certs) == 0:
		return errNotControl
	case id != nil:
		root = id.root
	default:
		if root = certs[len(certs)-1]; keyHash(root.PublicKey) != c.pin {
			return fmt.Errorf("%w: the join token pins another one", errNotControl)
		}
	}
	p, err := verify(certs[0], root, x509.ExtKeyUsageServerAuth, c.cfg.Now())
	if err == nil && !p.has(RoleControl) {
		err = errNotControl
	}
	return err
}

// callAs asks one control node after the other until one answers for good.
func (c *Client) callAs(ctx context.Context, id *identity, path string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	err = errors.New("no address of a control node is known")
	for _, addr := range c.addresses() {
		if err = c.ask(ctx, id, addr, path, body, out); err == nil {
			c.mu.Lock()
			c.last = addr
			c.mu.Unlock()
			return nil
		}
		var r *Refusal
		if ctx.Err() != nil || errors.As(err, &r) && r.Reason != ReasonUnavailable {
			return err
		}
	}
	return err
}

// ask asks one control node.
func (c *Client) ask(ctx context.Context, id *identity, addr, path string, body []byte, out any) error {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+addr+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set(clockHeader, c.cfg.Now().UTC().Format(time.RFC3339Nano)) // here, since the body may be older: another control node was asked first
	resp, err := c.client(id).Do(req)
	if err != nil {
		return fmt.Errorf("cannot ask control node %s: %w", addr, err)
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	switch {
	case err != nil:
		return fmt.Errorf("cannot ask control node %s: %w", addr, err)
	case resp.StatusCode != http.StatusOK:
		return refusalOf(resp.StatusCode, data)
	case out == nil:
		return nil
	}
	if err := json.Unmarshal(data, out); err != nil {
		return fmt.Errorf("cannot read the answer of control node %s: %w", addr, err)
	}
	return nil
}

// refusalOf reads what a control node answered instead.
func refusalOf(status int, data []byte) error {
	var r Refusal
	if json.Unmarshal(data, &r) != nil || r.Reason == "" {
		return refuse(ReasonUnavailable, fmt.Sprintf("the control node answers with status %d", status))
	}
	return &r
}

func shuffled(list []string) []string {
	list = slices.Clone(list)
	rand.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	return list
}
