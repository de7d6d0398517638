package dockerfront

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"time"
)

// streams are the requests that run, so that they can be ended: a stream may last for days, and its client must be good all that time.
type streams struct {
	mu      sync.Mutex
	running map[*stream]struct{}
	none    chan struct{} // closed when there is none any more; nil while nobody waits
}

// stream is a request that runs.
type stream struct {
	who client
	// looks tells that it changes nothing, so that its client can begin it again.
	looks bool
	end   context.CancelCauseFunc
}

// connKey is where a request's context has its connection.
type connKey struct{}

var (
	errNoLongerGood = errors.New("the client's certificate is no longer good")
	errStopping     = errors.New("the front stops")
)

// begin notes a request, and gives it with a context by which it is ended. done is to be called when it is over.
func (s *streams) begin(r *http.Request, who client) (_ *http.Request, done func()) {
	ctx, end := context.WithCancelCause(r.Context())
	// Also of a client that takes nothing, and for which a write would wait.
	keep := context.AfterFunc(ctx, func() {
		if conn, ok := ctx.Value(connKey{}).(net.Conn); ok {
			_ = conn.Close()
		}
	})
	one := &stream{who: who, looks: mayRead(r), end: end}
	s.mu.Lock()
	s.running[one] = struct{}{}
	s.mu.Unlock()
	return r.WithContext(ctx), func() {
		keep()
		end(nil)
		s.mu.Lock()
		defer s.mu.Unlock()
		if delete(s.running, one); len(s.running) == 0 && s.none != nil {
			close(s.none)
			s.none = nil
		}
	}
}

// cut ends those that a function names, for a reason.
func (s *streams) cut(why error, which func(*stream) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for one := range s.running {
		if which(one) {
			one.end(why)
		}
	}
}

// over gives what is closed when none runs.
func (s *streams) over() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	over := make(chan struct{})
	if len(s.running) == 0 {
		close(over)
		return over
	}
	if s.none == nil {
		s.none = over
	}
	return s.none
}

// drain waits until what runs is over, for a time at most. What only looks is ended soon: it has no end of its own, and can be begun again.
func (s *streams) drain(limit time.Duration) {
	looking := time.AfterFunc(min(ending, limit), func() { s.cut(errStopping, func(one *stream) bool { return one.looks }) })
	defer looking.Stop()
	t := time.NewTimer(limit)
	defer t.Stop()
	select {
	case <-s.over():
	case <-t.C:
		s.cut(errStopping, func(*stream) bool { return true })
		<-s.over()
	}
}
