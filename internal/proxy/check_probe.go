package proxy

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/proxy/table"
)

// probe asks an endpoint whether it is well. It keeps no connection.
type probe struct {
	declared *ruche.Check
	mode     ruche.CheckMode
	address  string
	url      string
	client   *http.Client // nil for a mere connection
	tls      *ruche.EndpointTLS
	preamble []byte // what begins a connection: a PROXY header, or nothing
	// own tells that the address is the one that requests go to.
	own bool
}

func newProbe(c *ruche.Check, e *table.Endpoint, proxyProtocol int) probe {
	scheme := cmp.Or(c.Scheme, e.Scheme)
	p := probe{declared: c, mode: modeOf(c, scheme), address: e.Address, tls: e.TLS, own: c.Port == 0}
	if c.Port != 0 {
		host, _, _ := net.SplitHostPort(e.Address) // the table made it of a host and a port
		p.address = net.JoinHostPort(host, strconv.Itoa(int(c.Port)))
	} else {
		p.preamble = proxyPreamble(proxyProtocol)
	}
	if p.mode == ruche.CheckConnect {
		return p
	}
	p.client = &http.Client{Transport: p.transport(scheme), CheckRedirect: p.redirect}
	p.url = "http://" + p.address + c.Path
	if scheme == ruche.SchemeHTTPS || scheme == ruche.SchemeGRPCS {
		p.url = "https://" + p.address + c.Path
	}
	return p
}

// securesKey is that of a context's value: what makes the TLS of probes.
type securesKey struct{}

// modeOf tells what is asked for: a protocol that cannot be asked for a path is only connected to, as is one for which no path is given.
func modeOf(c *ruche.Check, scheme string) ruche.CheckMode {
	switch {
	case c.Mode == ruche.CheckGRPC || c.Mode == ruche.CheckConnect:
		return c.Mode
	case c.Path == "" || scheme == ruche.SchemeFastCGI || scheme == ruche.SchemeUWSGI:
		return ruche.CheckConnect
	}
	return ruche.CheckHTTP
}

// transport speaks the endpoint's protocol, by TLS with the verification with which requests are forwarded.
func (p *probe) transport(scheme string) *http.Transport {
	protocols, protocol := new(http.Protocols), protocolOf(scheme)
	if p.mode == ruche.CheckGRPC || protocol == protocolHTTP2 {
		protocol = protocolHTTP2
		protocols.SetHTTP2(true)
		protocols.SetUnencryptedHTTP2(true)
	} else {
		protocols.SetHTTP1(true)
	}
	dial := dialWith(p.preamble)
	return &http.Transport{
		DialContext: dial,
		DialTLSContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			c, err := dial(ctx, network, address)
			if err != nil {
				return nil, err
			}
			secures, _ := ctx.Value(securesKey{}).(*secures)
			if secures == nil {
				secures = newSecures(nil)
			}
			return secures.encrypt(ctx, c, p.tls, p.address, protocol)
		},
		Protocols:              protocols,
		DisableKeepAlives:      true,
		DisableCompression:     true,
		MaxResponseHeaderBytes: 64 << 10,
	}
}

// redirect follows redirects within the endpoint alone: a check must not lead Ruche to other places.
func (p *probe) redirect(r *http.Request, via []*http.Request) error {
	const most = 5
	if p.declared.NoRedirects || r.URL.Host != p.address || len(via) > most {
		return http.ErrUseLastResponse
	}
	return nil
}

// run returns nil when the endpoint is well within the timeout, else what it did.
func (p *probe) run(ctx context.Context, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var err error
	switch p.mode {
	case ruche.CheckConnect:
		err = p.connect(ctx)
	case ruche.CheckGRPC:
		err = p.askGRPC(ctx)
	default:
		err = p.askHTTP(ctx)
	}
	if err == nil {
		return nil
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("it did not answer within %s", timeout)
	}
	var wrapped *url.Error // it says the URL again
	if errors.As(err, &wrapped) {
		err = wrapped.Err
	}
	return err
}

func (p *probe) connect(ctx context.Context) error {
	c, err := dialWith(p.preamble)(ctx, "tcp", p.address)
	if err != nil {
		return err
	}
	return c.Close()
}

func (p *probe) askHTTP(ctx context.Context) error {
	r, err := http.NewRequestWithContext(ctx, cmp.Or(p.declared.Method, http.MethodGet), p.url, http.NoBody)
	if err != nil {
		return err
	}
	p.decorate(r)
	resp, err := p.client.Do(r)
	if err != nil {
		return err
	}
	_ = resp.Body.Close()
	want := p.declared.Status
	switch {
	case want != 0 && resp.StatusCode != want:
		return fmt.Errorf("it answered with the status %d, not %d", resp.StatusCode, want)
	case want == 0 && (resp.StatusCode < 200 || resp.StatusCode > 399):
		return fmt.Errorf("it answered with the status %d", resp.StatusCode)
	}
	return nil
}

func (p *probe) decorate(r *http.Request) {
	r.Header.Set("User-Agent", "Ruche health check")
	for name, value := range p.declared.Headers {
		r.Header.Set(name, value)
	}
	r.Host = p.declared.Host
}

// askGRPC calls the standard health service (grpc.health.v1) for the server as a whole.
func (p *probe) askGRPC(ctx context.Context) error {
	u, err := url.Parse(p.url)
	if err != nil {
		return err
	}
	u.Path, u.RawQuery = "/grpc.health.v1.Health/Check", ""
	empty := []byte{0, 0, 0, 0, 0} // a message that is not compressed and has no bytes
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), bytes.NewReader(empty))
	if err != nil {
		return err
	}
	p.decorate(r)
	r.Header.Set("Content-Type", "application/grpc")
	r.Header.Set("TE", "trailers")
	resp, err := p.client.Do(r)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK || !strings.HasPrefix(resp.Header.Get("Content-Type"), "application/grpc") {
		return fmt.Errorf("it answered with the status %d and no gRPC", resp.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, 256))
	if err != nil {
		return err
	}
	status := cmp.Or(resp.Trailer.Get("Grpc-Status"), resp.Header.Get("Grpc-Status"))
	if status != "0" {
		return fmt.Errorf("its health service answered with the gRPC status %q", status)
	}
	// The message has one field: 1, the serving status as a varint, of which 1 is SERVING.
	if !bytes.Equal(body, []byte{0, 0, 0, 0, 2, 0x08, 1}) {
		return errors.New("its health service says that it is not serving")
	}
	return nil
}

// proxyPreamble is a PROXY header that says nothing about a client: the connection is Ruche's own.
func proxyPreamble(version int) []byte {
	switch version {
	case 1:
		return []byte("PROXY UNKNOWN\r\n")
	case 2:
		return []byte("\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00")
	}
	return nil
}

// dialWith connects and says preamble first.
func dialWith(preamble []byte) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		var d net.Dialer
		c, err := d.DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return c, begin(ctx, c, preamble)
	}
}

// begin says the preamble on a new connection. When that fails it closes the connection.
func begin(ctx context.Context, c net.Conn, preamble []byte) error {
	if len(preamble) == 0 {
		return nil
	}
	if deadline, ok := ctx.Deadline(); ok {
		_ = c.SetWriteDeadline(deadline)
	}
	_, err := c.Write(preamble)
	if err != nil {
		_ = c.Close()
	}
	return err
}
