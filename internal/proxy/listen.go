package proxy

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/loop"
	"github.com/ruche-project/ruche/internal/match"
	"github.com/ruche-project/ruche/internal/proxy/table"
)

func off(address string) bool { return address == "" || address == "off" }

func checkAddress(address string) error {
	if off(address) {
		return nil
	}
	if _, _, err := net.SplitHostPort(address); err != nil {
		return fmt.Errorf("cannot listen on %q: %w (write for example :80, or off)", address, err)
	}
	return nil
}

// entry is a listener, and what serves its connections.
type entry struct {
	proxy    *Proxy
	name     string // of the entry point
	stream   bool   // it is not about HTTP; then what follows open is nil
	secure   bool
	port     string
	timeouts *Timeouts
	listener *net.TCPListener
	open     *loop.Open
	tls      *tls.Config
}

// listen opens the listeners and starts to serve. On an error nothing stays open.
func (p *Proxy) listen() ([]*entry, error) {
	var entries []*entry
	for _, l := range []struct {
		address string
		secure  bool
		where   *net.Listener
	}{
		{p.cfg.HTTPAddr, false, &p.plain},
		{p.cfg.HTTPSAddr, true, &p.secure},
	} {
		if off(l.address) {
			continue
		}
		listener, err := p.cfg.Listen(scheme(l.secure), l.address)
		if err != nil {
			for _, e := range entries {
				_ = e.listener.Close()
			}
			return nil, listenError(l.address, err)
		}
		*l.where = listener
		entries = append(entries, p.entry(listener, l.secure))
	}
	for _, l := range p.cfg.EntryPoints {
		if l.UDP {
			continue
		}
		listener, err := p.cfg.Listen("tcp:"+l.Name, l.Address)
		if err != nil {
			for _, e := range entries {
				_ = e.listener.Close()
			}
			return nil, listenError(l.Address, err)
		}
		entries = append(entries, &entry{proxy: p, name: l.Name, stream: true, timeouts: &p.cfg.Timeouts, listener: listener})
	}
	err := p.listenUDPEntries()
	if err == nil {
		err = p.listenHTTP3(entries)
	}
	if err != nil {
		p.closeUDPEntries()
		for _, e := range entries {
			_ = e.listener.Close()
		}
		return nil, err
	}
	return entries, p.serveEntries(entries)
}

// opens reports whether there is an entry point of this name for the protocol.
func (p *Proxy) opens(protocol ruche.Protocol, name string) bool {
	if name == ruche.EntryPointHTTPS && protocol == ruche.ProtocolTCP {
		return !p.httpsOff()
	}
	for _, e := range p.cfg.EntryPoints {
		if e.Name == name && e.UDP == (protocol == ruche.ProtocolUDP) {
			return true
		}
	}
	return false
}

// scheme is what the entry speaks, for people.
func (e *entry) scheme() string {
	if e.stream {
		return string(ruche.ProtocolTCP)
	}
	return scheme(e.secure)
}

// serveEntries starts the loops and gives them the listeners.
func (p *Proxy) serveEntries(entries []*entry) (err error) {
	p.loops, err = loop.New(loop.Config{Loops: p.cfg.Loops, Panicked: p.panicked})
	if err != nil {
		return fmt.Errorf("cannot serve: %w", err)
	}
	p.swapping.Lock() // a new table is told to the workers
	for _, l := range p.loops.Loops() {
		p.workers = append(p.workers, newWorker(p, l))
	}
	p.swapping.Unlock()
	for _, e := range entries {
		accepted := e.acceptedStream
		if !e.stream {
			accepted = e.accepted
		}
		if e.open, err = p.loops.Serve(e.listener, loop.Acceptor{Accepted: accepted, Starved: p.starved}); err != nil {
			p.loops.Close()
			return fmt.Errorf("cannot serve %s: %w", e.listener.Addr(), err)
		}
	}
	if err = p.serveUDPEntries(); err != nil {
		p.loops.Close()
		return err
	}
	return nil
}

func (p *Proxy) panicked(value any, stack []byte) {
	p.cfg.Logger.Error("a request made the proxy panic; its connection was closed, the others go on", "panic", value, "stack", string(stack))
}

// starved makes room for new connections by closing some that nothing is served on.
func (p *Proxy) starved(err error) {
	p.cfg.Logger.Warn("cannot take a connection; the longest idle ones are closed", "error", err)
	for _, w := range p.workers {
		w.loop.Post(func() { w.makeRoom() })
	}
}

// accepted serves a new connection. It runs on a fiber.
func (e *entry) accepted(conn *loop.Conn) {
	w := e.proxy.workers[conn.Loop().Index()]
	v := visitor{worker: w, conn: conn, remote: conn.Remote()}
	var c *h1Client
	defer func() {
		if cause := recover(); cause != nil {
			if c == nil {
				v.leave()
			} else {
				c.close()
			}
			panic(cause)
		}
	}()
	if !e.admit(&v) {
		v.leave()
		return
	}
	if e.secure && e.divert(&v) {
		return
	}
	c = &h1Client{worker: w, entry: e, conn: conn, stream: conn, remote: v.remote, ticket: v.ticket, buf: v.buf, to: v.n}
	c.owner = c
	if e.secure && !e.handshake(c) {
		return
	}
	c.Ready()
}

// admit finds out who the client is, and reports whether it may have one more connection.
func (e *entry) admit(v *visitor) bool {
	p := e.proxy
	var fits bool
	if v.ticket, fits = p.limiter.enter(); !fits && !p.makeRoom(v.worker) {
		p.limiter.full(1)
		return false
	}
	direct := true
	if len(p.cfg.ProxyProtocol) > 0 && p.speaksProxy(v.remote.Addr()) {
		v.buf = v.worker.buffer(maxProxyHeader)
		client, rest, err := readProxyHeader(v.conn, v.buf, e.timeouts.ReadHeader)
		if err != nil {
			p.limiter.broken.n.Add(1)
			p.cfg.Logger.Debug("a connection was closed: the peer has to speak the PROXY protocol", "peer", v.remote.String(), "error", err)
			return false
		}
		told := client != v.remote
		v.remote, v.n = client, copy(v.buf, rest)
		if !told {
			return true // the balancer's own, such as a health check
		}
		direct = false
	}
	if a := v.remote.Addr(); p.trusted(a) || direct && p.ingress.met(a) || v.ticket.counted(a) {
		return true
	}
	p.limiter.crowded(v.remote.Addr())
	return false
}

// makeRoom closes connections that nothing is served on, so that new ones can be taken, and reports whether there were any on this worker.
func (p *Proxy) makeRoom(w *worker) bool {
	if w.makeRoom() {
		return true
	}
	for _, other := range p.workers {
		if other != w {
			other.loop.Post(func() { other.makeRoom() })
		}
	}
	return false
}

// handshake does TLS. It reports false when the connection is none of HTTP/1.1: it has failed, or speaks HTTP/2.
func (e *entry) handshake(c *h1Client) bool {
	guest := &guest{Conn: c.conn, remote: c.remote}
	if c.from < c.to {
		guest.early = append(guest.early, c.buf[c.from:c.to]...)
	}
	c.letGo()
	secure := tls.Server(guest, e.tls)
	stream := newSecureStream(secure, c.conn)
	_ = c.conn.SetDeadline(c.worker.loop.Now().Add(e.timeouts.ReadHeader))
	c.worker.heads.add(&c.seat)
	err := secure.Handshake()
	if err == nil {
		err = c.conn.Drain()
	}
	c.wake()
	if err == nil && c.entry == nil {
		err = net.ErrClosed
	}
	if err != nil {
		e.proxy.cfg.Logger.Debug("TLS handshake failed", "peer", c.remote.String(), "error", err)
		if !answerPlaintext(c, err) {
			_ = c.conn.Drain()
		}
		c.close()
		return false
	}
	_ = c.conn.SetDeadline(time.Time{})
	state := secure.ConnectionState()
	c.secure, c.stream, c.tls = stream, stream, factsOf(&state)
	if state.NegotiatedProtocol == protocolACME { // the handshake was all that a CA wanted (RFC 8737 section 3)
		c.close()
		return false
	}
	if state.NegotiatedProtocol != "h2" {
		return true
	}
	n := newH2Conn(c)
	c.entry, c.ticket = nil, ticket{}
	n.Ready()
	return false
}

func listenError(address string, err error) error {
	_, port, _ := net.SplitHostPort(address)
	hint := ""
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		number, udp := strings.CutSuffix(port, "/udp")
		options := "-ltnp"
		if udp {
			options = "-lunp"
		}
		hint = fmt.Sprintf(" (another program has the port: \"ss %s 'sport = :%s'\" names it; stop it or choose another address)", options, number)
	case errors.Is(err, syscall.EACCES):
		hint = " (ports below 1024 need root or the capability CAP_NET_BIND_SERVICE)"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		hint = " (this host does not have the address: \"ip address\" lists those it has)"
	}
	return fmt.Errorf("cannot listen on %s: %w%s", address, err, hint)
}

func (p *Proxy) entry(l *net.TCPListener, secure bool) *entry {
	return &entry{proxy: p, name: scheme(secure), secure: secure, port: portOf(l.Addr()), timeouts: &p.cfg.Timeouts, listener: l, tls: p.tlsConfig()}
}

// tlsConfig has no certificate of its own: where GetCertificate returns none, the client gets the alert
// unrecognized_name (RFC 6066 section 3), as from nginx.
func (p *Proxy) tlsConfig() *tls.Config {
	c := p.serverTLS()
	c.GetCertificate, c.NextProtos = p.certificateOr(p.certificate), []string{"h2", "http/1.1"}
	c.GetConfigForClient = p.configFor(c)
	p.shareTickets(c)
	return c
}

func (p *Proxy) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if p.cfg.Certificates == nil {
		return nil, nil
	}
	certificate, _ := p.cfg.Certificates.Certificate(query(p.current.Load().table, hello.ServerName))
	return certificate, nil
}

// query says by what the certificate for a server name is chosen.
func query(t *table.Table, serverName string) ruche.CertificateQuery {
	name, ok := match.CanonicalHost(serverName)
	if !ok {
		return ruche.CertificateQuery{}
	}
	q, ok := t.Certificate(name)
	if ok && q.Mode == ruche.TLSOff {
		return ruche.CertificateQuery{} // its routes want no HTTPS under this name, whatever certificate there is for it
	}
	return q
}
