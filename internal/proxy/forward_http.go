package proxy

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// forwarder speaks HTTP/1.1 to endpoints.
type forwarder struct {
	transport *http.Transport
	timeouts  Timeouts
	maxBody   int64
	buffers   bufferPool
	upgrades  *upgrades
}

func newForwarder(t Timeouts, maxBody int64) *forwarder {
	d := &dialer{net: net.Dialer{Timeout: t.Dial}, timeout: t.Dial, write: t.Body}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	return &forwarder{
		transport: &http.Transport{
			DialContext:           d.plain,
			DialTLSContext:        d.secure,
			DisableCompression:    true,
			MaxIdleConnsPerHost:   256,
			ResponseHeaderTimeout: t.ResponseHeader,
			// Below the 5 s after which common servers close idle connections: a request that meets
			// the close half-way cannot always be repeated.
			IdleConnTimeout:        4 * time.Second,
			MaxResponseHeaderBytes: 256 << 10,
			Protocols:              protocols,
		},
		timeouts: t,
		maxBody:  maxBody,
		upgrades: newUpgrades(),
	}
}

// close gives back the idle connections.
func (f *forwarder) close() { f.transport.CloseIdleConnections() }

// dialError tells that no connection came about, so that no byte of the request was sent.
type dialError struct{ cause error }

func (e *dialError) Error() string { return e.cause.Error() }
func (e *dialError) Unwrap() error { return e.cause }

type dialer struct {
	net     net.Dialer
	timeout time.Duration
	write   time.Duration
}

func (d *dialer) plain(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := d.net.DialContext(ctx, network, address)
	if err != nil {
		return nil, &dialError{err}
	}
	return &endpointConn{Conn: c, clock: clock{timeout: d.write, set: c.SetWriteDeadline}}, nil
}

// secure connects by TLS without verification and without server name, as nginx does for VIRTUAL_PROTO=https.
func (d *dialer) secure(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := d.plain(ctx, network, address)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, d.timeout)
	defer cancel()
	secure := tls.Client(c, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
	if err := secure.HandshakeContext(ctx); err != nil {
		_ = c.Close()
		return nil, &dialError{err}
	}
	return secure, nil
}

// endpointConn bounds how long an endpoint may refuse to take what is sent to it.
type endpointConn struct {
	net.Conn
	clock clock
}

func (c *endpointConn) Write(b []byte) (int, error) {
	c.clock.wind()
	return c.Conn.Write(b)
}

// CloseWrite ends one direction of an upgraded connection.
func (c *endpointConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return c.Close()
}

// request is what the endpoint gets.
func (f *forwarder) request(ctx context.Context, x *exchange, e *endpointState, body *requestBody) *http.Request {
	r := &http.Request{
		Method: x.r.Method,
		URL:    requestURL(e, x.r.Host, x.target.forwarded(x.route.route)),
		Proto:  "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: x.outboundHeader(),
		Host:   x.r.Host,
	}
	if body.present() {
		attempt := body.attempt()
		cleanTrailer(x.r.Trailer)
		r.Body, r.ContentLength, r.Trailer = attempt, x.r.ContentLength, x.r.Trailer
		r.GetBody = attempt.again
	}
	return r.WithContext(ctx)
}

// requestURL makes a URL whose request target is byte for byte pathQuery.
func requestURL(e *endpointState, host, pathQuery string) *url.URL {
	raw, query, hasQuery := strings.Cut(pathQuery, "?")
	u := &url.URL{Scheme: e.scheme, Host: e.address, Opaque: raw, RawQuery: query, ForceQuery: hasQuery}
	if !strings.HasPrefix(raw, "//") {
		return u
	}
	// net/url takes an opaque part with two slashes for an authority, so such a path has to be given as a path ...
	u.Opaque, u.RawPath = "", raw
	u.Path, _ = url.PathUnescape(raw)
	if u.EscapedPath() != raw {
		// ... and one with bytes that net/url would escape needs the absolute form, which every server
		// has to take (RFC 9112 section 3.2.2).
		u.Opaque, u.RawPath, u.Path = "//"+host+raw, "", ""
	}
	return u
}
