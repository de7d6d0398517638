package proxy

import (
	"context"
	"net"
	"time"
)

// listenTCP opens a socket.
func listenTCP(_, address string) (*net.TCPListener, error) {
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", address)
	if err != nil {
		return nil, err
	}
	return l.(*net.TCPListener), nil
}

// listenUDPAddress does the same for UDP.
func listenUDPAddress(_, address string) (*net.UDPConn, error) {
	a, err := net.ResolveUDPAddr("udp", address)
	if err != nil {
		return nil, err
	}
	return net.ListenUDP("udp", a)
}

// Succeeded tells that another process takes connections from the same sockets now. When the context of Run ends afterwards, clients do not notice: their next
// request is answered, with the word that the connection ends, and upgraded connections have all of Timeouts.Drain.
func (p *Proxy) Succeeded() { p.heir.Store(true) }

// parting is how long clients have to come with the request to which they are told that the connection ends. A connection on which nothing comes for that long
// is closed, and hardly just when its client sends something.
const parting = 5 * time.Second

// part ends the time in which connections may wait for a request. While nobody else serves that is now: the sooner clients come back the better.
func (p *Proxy) part(ctx context.Context, entries []*entry) {
	defer p.parted.Store(true)
	if !p.heir.Load() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, min(parting, p.cfg.Timeouts.Drain/2))
	defer cancel()
	look := time.NewTicker(5 * time.Millisecond)
	defer look.Stop()
	for p.clientsLeft(entries) {
		select {
		case <-look.C:
		case <-ctx.Done():
			return
		}
	}
}

// clientsLeft reports whether a connection is open that may still have a request.
func (p *Proxy) clientsLeft(entries []*entry) bool {
	for _, e := range entries {
		if e.open.Connected() > p.upgrades.of(e) {
			return true
		}
	}
	return false
}
