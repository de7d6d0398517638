package proxy

import (
	"context"
	"errors"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/ruche-project/ruche"
)

// streams are the HTTP/2 connections to endpoints. Each carries many exchanges, so all grounds share them. It is used on goroutines alone, and holds
// what it has of an endpoint only as long as a connection to it is open.
type streams struct {
	transport *http.Transport
	secures   *secures
	timeout   time.Duration // for a connection to come about
	within    time.Duration // of that, for the endpoint's system to take it

	mu      sync.Mutex
	conns   map[*endpointState][]*muxed
	dialing map[*endpointState]*dialed
	closed  bool

	// running ends when the connections are closed, which stop does.
	running context.Context
	stop    context.CancelFunc
}

// muxed is a connection with streams, and what is under it.
type muxed struct {
	*http.ClientConn
	tcp net.Conn
}

// dialed is a connection that is being made, for all that wait for it. One stream of it is reserved for who asked first.
type dialed struct {
	done chan struct{}
	conn *muxed
	err  error
}

const (
	// idleStreamsTime is how long a connection without a stream is kept. Endpoints say when they end one (GOAWAY), so it may be long.
	idleStreamsTime = 60 * time.Second
	// deadAfter is how long a connection with streams may be silent before it is asked for a sign of life.
	deadAfter = 30 * time.Second
)

func newStreams(t *Timeouts, to *secures) *streams {
	s := &streams{secures: to, timeout: t.Dial, within: t.Connect, conns: make(map[*endpointState][]*muxed), dialing: make(map[*endpointState]*dialed)}
	s.running, s.stop = context.WithCancel(context.Background())
	protocols := new(http.Protocols)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true)
	s.transport = &http.Transport{
		DialContext:            s.dialPlain,
		DialTLSContext:         s.dialTLS,
		Protocols:              protocols,
		DisableCompression:     true,
		IdleConnTimeout:        idleStreamsTime,
		MaxResponseHeaderBytes: int64(answerLimits().HeadBytes),
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: deadAfter, PingTimeout: t.Dial, WriteByteTimeout: t.Body},
	}
	return s
}

// take reserves a stream on a connection to the endpoint, and makes one if there is none with room. used tells that it has had others.
func (s *streams) take(ctx context.Context, e *endpointState) (c *muxed, used bool, err error) {
	for {
		s.mu.Lock()
		for _, c := range s.conns[e] {
			if c.Reserve() == nil {
				s.mu.Unlock()
				return c, true, nil
			}
		}
		if d := s.dialing[e]; d != nil {
			s.mu.Unlock()
			select {
			case <-d.done:
			case <-ctx.Done():
				return nil, false, net.ErrClosed
			}
			if d.err != nil {
				return nil, false, d.err
			}
			continue
		}
		d := &dialed{done: make(chan struct{})}
		s.dialing[e] = d
		s.mu.Unlock()
		go s.connect(e, d) // for the others, too: it goes on when this one gives up
		select {
		case <-d.done:
			return d.conn, false, d.err
		case <-ctx.Done():
			go d.leave()
			return nil, false, net.ErrClosed
		}
	}
}

// leave gives back the stream that is reserved on a connection, once that has come about.
func (d *dialed) leave() {
	if <-d.done; d.err == nil {
		d.conn.Release()
	}
}

// connect makes a connection, and leaves it for all.
func (s *streams) connect(e *endpointState, d *dialed) {
	c, err := s.dial(s.running, e, nil)
	if err == nil {
		err = c.Reserve() // before others have a chance to
	}
	d.conn, d.err = c, err
	s.mu.Lock()
	delete(s.dialing, e)
	if d.err == nil && s.closed {
		d.err = net.ErrClosed
		go func() { _ = c.Close() }()
	}
	if d.err == nil {
		s.conns[e] = append(s.conns[e], c)
	}
	s.mu.Unlock()
	close(d.done)
	if d.err == nil {
		c.SetStateHook(func(*http.ClientConn) {
			if c.Err() != nil {
				go s.forget(e, c) // it may be called by Reserve
			}
		})
	}
}

func (s *streams) forget(e *endpointState, c *muxed) {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := slices.DeleteFunc(s.conns[e], func(other *muxed) bool { return other == c })
	if s.conns[e] = list; len(list) == 0 {
		delete(s.conns, e)
	}
}

// close closes all connections.
func (s *streams) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.stop()
	for _, list := range s.conns {
		for _, c := range list {
			_ = c.Close()
		}
	}
}

// dial makes a connection that begins with the preamble.
func (s *streams) dial(ctx context.Context, e *endpointState, preamble []byte) (*muxed, error) {
	d := &dialing{endpoint: e, preamble: preamble}
	ctx, cancel := context.WithTimeout(context.WithValue(ctx, dialingKey{}, d), s.timeout)
	defer cancel()
	scheme := ruche.SchemeHTTP
	if e.scheme == ruche.SchemeGRPCS {
		scheme = ruche.SchemeHTTPS
	}
	c, err := s.transport.NewClientConn(ctx, scheme, e.address)
	if err != nil {
		return nil, err
	}
	return &muxed{ClientConn: c, tcp: d.tcp}, nil
}

// dialing is what net/http does not pass on between who wants a connection and who makes it; a context has it.
type dialing struct {
	endpoint *endpointState
	preamble []byte
	tcp      net.Conn
}

type dialingKey struct{}

func (s *streams) dialPlain(ctx context.Context, _, address string) (net.Conn, error) {
	d, _ := ctx.Value(dialingKey{}).(*dialing)
	c, err := dialWithin(ctx, address, s.within)
	if err != nil {
		return nil, err
	}
	d.tcp = c
	return c, begin(ctx, c, d.preamble)
}

// dialTLS connects by TLS to what must speak HTTP/2.
func (s *streams) dialTLS(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := s.dialPlain(ctx, network, address)
	if err != nil {
		return nil, err
	}
	d, _ := ctx.Value(dialingKey{}).(*dialing)
	secure, err := s.secures.encrypt(ctx, c, d.endpoint.tls, d.endpoint.address, protocolHTTP2)
	if err == nil && secure.ConnectionState().NegotiatedProtocol != protocolHTTP2 {
		_ = c.Close()
		err = errors.New("the endpoint does not speak HTTP/2 by TLS")
	}
	if err != nil {
		return nil, err
	}
	return secure, nil
}
