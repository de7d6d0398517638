// Package proxy is the data plane: listeners, the route table and its swap, forwarding, access log and
// counts. Requests see one immutable snapshot; everything that changes meanwhile is a new snapshot.
package proxy

import (
	"cmp"
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/health"
)

// Config is what a proxy needs. Zero values take the defaults that are named.
type Config struct {
	// HTTPAddr and HTTPSAddr are where to listen; "" and "off" open nothing.
	HTTPAddr, HTTPSAddr string
	// HTTP3 has HTTP/3 served too, on the UDP port of HTTPSAddr.
	HTTP3 bool
	// Successor tells that another process has served so far. It may have the UDP port for a while yet, which is shared then.
	Successor bool
	// EntryPoints are the listeners of routes that are not about HTTP. Two must not have the same name.
	EntryPoints []EntryPoint
	// Listen listens on a TCP address for what name says: "http", "https", or "tcp:" and the name of an entry point. The default opens a socket; another one may know one that is open already.
	Listen func(name, address string) (*net.TCPListener, error)
	// ListenUDP is the same for UDP addresses; names are "udp:" and the name of an entry point.
	ListenUDP func(name, address string) (*net.UDPConn, error)
	Timeouts  Timeouts
	// Loops is how many loops serve HTTP/1.1; 0 means one per processor that the process may use.
	Loops int
	// MinTLS is the oldest version of TLS that clients may speak, such as tls.VersionTLS13; default TLS 1.2.
	MinTLS uint16
	// MaxBodyBytes bounds the bodies of requests; 0 means no bound.
	MaxBodyBytes int64
	// UnknownHostStatus answers requests for hosts that no route takes; default 503.
	UnknownHostStatus int
	// TrustedProxies are the peers whose X-Forwarded-* and X-Request-Id headers are believed.
	TrustedProxies []netip.Prefix
	// ProxyProtocol are the peers that begin each connection with a PROXY header, version 1 or 2. From them nothing else is taken.
	ProxyProtocol []netip.Prefix
	// MaxConnections bounds the connections of all clients together; 0 means 45 % of the files that the process may open.
	MaxConnections int
	// MaxConnectionsPerAddress bounds those of one client: an IPv4 address, or an IPv6 network of 64 bits. The default is 1024; a negative
	// number means no bound. Trusted proxies, what tells its clients' addresses by PROXY headers, gateways of the Swarm's routing mesh, and this host's own clients have none.
	MaxConnectionsPerAddress int
	// AccessLog takes one JSON object a line; nil turns it off.
	AccessLog io.Writer

	Declarations Bucket[ruche.Declaration]
	Endpoints    Bucket[ruche.Endpoint]
	// Ingress tells by what the gateways of the Swarm's routing mesh are known; nil: by nothing.
	Ingress      Bucket[ruche.Ingress]
	Certificates Certificates
	// Challenges may be nil: then none is answered.
	Challenges Challenges
	Logger     *slog.Logger
	Health     *health.Registry
}

// Bucket is a part of the state that can be followed.
type Bucket[T any] interface {
	// Watch calls fn with the whole content, and then with each change in order, until ctx ends; then it returns nil.
	Watch(ctx context.Context, fn func(ruche.Update[T])) error
}

// EntryPoint is a listener that routes name. "http" and "https" are no names for it.
type EntryPoint struct {
	Name    string
	Address string // host:port; the host may be missing
	// UDP tells that it takes datagrams. Idle is how long a session may have nothing to say before it ends; the default is 3 s.
	UDP  bool
	Idle time.Duration
}

// Certificates chooses certificates, and knows what the files beside them close. It is asked at every TLS handshake and for every
// request, from many goroutines at once, and must be cheap.
type Certificates interface {
	// Certificate returns nil when there is none; the status says why.
	Certificate(q ruche.CertificateQuery) (*tls.Certificate, ruche.CertificateStatus)
	// Status tells about the one that somebody vouches for; none is made for the question.
	Status(q ruche.CertificateQuery) ruche.CertificateStatus
	// Trusted reports whether there is such a one.
	Trusted(q ruche.CertificateQuery) bool
	// Restriction says why requests for a host pattern, as it was declared, must not be served: files protect it in a way that is
	// not supported. It is empty when they may be served.
	Restriction(host string) string
	Peers
}

// Peers verifies who is at the other end of a connection.
type Peers interface {
	// ClientCheck returns nil where nobody asks clients for certificates. declared, which may be nil, is the route's; named and pattern are host patterns that
	// files may be named after. The error says why the route must not be served.
	ClientCheck(declared *ruche.ClientAuth, named, pattern string) (*ruche.PeerCheck, error)
	// EndpointCheck returns how an endpoint is verified, and which certificate it is shown; both may be nil. The error says why it cannot be spoken to.
	EndpointCheck(e ruche.EndpointTLS) (check *ruche.PeerCheck, own *tls.Certificate, err error)
}

// Challenges are what CAs ask for that check whether a name is ours. They are asked from many goroutines at once.
type Challenges interface {
	// KeyAuthorization is the content for a token of HTTP-01 (RFC 8555 section 8.3) at a host; empty when nobody waits for it.
	KeyAuthorization(host, token string) string
	// ChallengeCertificate is the certificate of TLS-ALPN-01 (RFC 8737) for a server name; nil when nobody waits for it.
	ChallengeCertificate(serverName string) (*tls.Certificate, error)
}

// Timeouts bound every wait. A zero field takes its default.
type Timeouts struct {
	ReadHeader     time.Duration // a client sends the head of a request, or does the TLS handshake: 10 s
	Idle           time.Duration // between two requests of a connection: 180 s
	Dial           time.Duration // connecting to an endpoint, with its TLS handshake: 5 s
	Connect        time.Duration // of that, until the endpoint's system takes the connection: 1.5 s, in which it is asked twice
	ResponseHeader time.Duration // from the end of a request to the head of the endpoint's answer: 60 s
	Hold           time.Duration // a request waits for an endpoint while its route's are being replaced; negative: not at all: 5 s
	Body           time.Duration // between two reads or writes of a body, on either side: 60 s
	Upgraded       time.Duration // an upgraded connection (WebSocket) with nothing said on it: 1 h
	Drain          time.Duration // running requests have this long to end after a stop: 30 s; upgraded connections, within it, until 2 s after the last request
}

func (t Timeouts) withDefaults() Timeouts {
	for _, d := range []struct {
		field *time.Duration
		value time.Duration
	}{
		{&t.ReadHeader, 10 * time.Second},
		{&t.Idle, 180 * time.Second},
		{&t.Dial, 5 * time.Second},
		{&t.Connect, 1500 * time.Millisecond},
		{&t.ResponseHeader, 60 * time.Second},
		{&t.Hold, 5 * time.Second},
		{&t.Body, 60 * time.Second},
		{&t.Upgraded, time.Hour},
		{&t.Drain, 30 * time.Second},
	} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	return t
}

const (
	// maxHeaderBytes is what the head of a request may have: twice nginx's default buffers.
	maxHeaderBytes = 64 << 10
	// maxHeaderFields bounds how many header fields a request may have.
	maxHeaderFields = 128
	// knockFirst is how long a request waits before it tries endpoints again that could not be reached; then twice as long each time,
	// up to knockLast.
	knockFirst = 5 * time.Millisecond
	knockLast  = 100 * time.Millisecond
	// maxHeld is how many requests wait for an endpoint at a time; each has its connection and some 16 KiB. Others are answered at once.
	maxHeld = 4096
	// retryAfter is what a known host without endpoint tells clients, in seconds.
	retryAfter = "5"
)

func (c Config) withDefaults() Config {
	c.Timeouts = c.Timeouts.withDefaults()
	if c.Listen == nil {
		c.Listen = listenTCP
	}
	if c.ListenUDP == nil {
		c.ListenUDP = listenUDPAddress
	}
	c.EntryPoints = slices.Clone(c.EntryPoints)
	for i := range c.EntryPoints {
		c.EntryPoints[i].Idle = cmp.Or(c.EntryPoints[i].Idle, udpIdle)
	}
	c.MinTLS = max(c.MinTLS, tls.VersionTLS12)
	if c.UnknownHostStatus == 0 {
		c.UnknownHostStatus = http.StatusServiceUnavailable
	}
	if c.MaxConnections == 0 {
		c.MaxConnections = connectionsByFiles()
	}
	if c.MaxConnectionsPerAddress == 0 {
		c.MaxConnectionsPerAddress = defaultPerAddress
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Health == nil {
		c.Health = &health.Registry{}
	}
	return c
}
