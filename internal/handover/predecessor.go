package handover

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"sync"
	"syscall"
	"time"
)

var (
	// ErrNobody tells that no process listens for one that would take its place.
	ErrNobody = errors.New("no process runs here that could hand over")
	// ErrRefused tells that the running process goes on and does not hand over.
	ErrRefused = errors.New("the running process refuses to hand over")
	// ErrAborted tells that the running process waits no longer, and wants everything back.
	ErrAborted = errors.New("the running process has taken back what it handed over")
	// ErrGone tells that the process at the other end has ended.
	ErrGone = errors.New("the other process has ended")
)

// Process says who takes part.
type Process struct {
	// PID is 0 when the process cannot be seen from here, as in another container.
	PID int
	// Version is the program's.
	Version string
}

func (p Process) String() string {
	switch {
	case p.PID == 0 && p.Version == "":
		return "the running process" // which has said nothing yet
	case p.PID == 0:
		return fmt.Sprintf("the process in another container (version %s)", p.Version)
	}
	return fmt.Sprintf("process %d (version %s)", p.PID, p.Version)
}

// Predecessor is a running process, as the one sees it that takes its place.
type Predecessor struct {
	Process
	conn    *conn
	sockets *Sockets
	ended   chan struct{} // closed when outcome is set
	outcome error
	close   sync.Once
}

// Ask asks the process that listens in dir to hand over, and returns when it has sent its sockets: from then on what belongs to one process at a time is the
// caller's. It takes as long as the other one needs for that, at most until ctx ends. Errors wrap ErrNobody or ErrRefused where that is the reason. The caller must call Close.
func Ask(ctx context.Context, dir, version string) (*Predecessor, error) {
	c, err := dial(dir)
	if err != nil {
		return nil, err
	}
	p := &Predecessor{conn: c, sockets: NewSockets(), ended: make(chan struct{})}
	stop := context.AfterFunc(ctx, func() { _ = c.unix.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := p.ask(ctx, version); err != nil {
		p.sockets.Close()
		_ = c.unix.Close()
		if errors.Is(err, io.EOF) {
			err = ErrGone
		}
		return nil, fmt.Errorf("cannot take over from %s: %w", p.Process, err)
	}
	go p.await()
	return p, nil
}

func dial(dir string) (*conn, error) {
	var c *net.UnixConn
	err := within(dir, func(address *net.UnixAddr) (err error) {
		c, err = net.DialUnix(network, nil, address)
		return err
	})
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED): // the latter: one that was killed has left it
		return nil, ErrNobody
	case err != nil:
		return nil, fmt.Errorf("cannot ask the running process to hand over: %w", err)
	}
	asking := &conn{unix: c}
	if err := asking.tellSenders(); err != nil {
		_ = c.Close()
		return nil, fmt.Errorf("cannot ask the running process who it is: %w", err)
	}
	return asking, nil
}

// patience is how long the running process may take to stop its writers and close its store.
const patience = time.Minute

func (p *Predecessor) ask(ctx context.Context, version string) error {
	if err := p.conn.send(message{Kind: kindHello, Protocol: Protocol, Version: version, Network: nameSpace()}); err != nil {
		return err
	}
	for more := true; more; {
		m, descriptors, err := p.conn.receive(time.Now().Add(patience))
		switch {
		case err != nil && ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil:
			return err
		}
		p.PID, p.Version = p.conn.sender, m.Version
		switch m.Kind {
		case kindRefuse:
			return fmt.Errorf("%w: %s", ErrRefused, m.Reason)
		case kindSockets:
			more = m.More
			p.sockets.inherit(m.Sockets, descriptors)
		default:
			return fmt.Errorf("it answers %q, which is out of place", m.Kind)
		}
	}
	return nil
}

// await reads what the other side says last.
func (p *Predecessor) await() {
	defer close(p.ended)
	m, _, err := p.conn.receive(time.Time{})
	switch {
	case errors.Is(err, io.EOF):
		p.outcome = ErrGone
	case err != nil:
		p.outcome = err
	case m.Kind == kindAbort:
		p.outcome = fmt.Errorf("%w: %s", ErrAborted, m.Reason)
	case m.Kind != kindDone:
		p.outcome = fmt.Errorf("it answers %q, which is out of place", m.Kind)
	}
}

// Sockets are the sockets that were handed over, and those that are opened beside them.
func (p *Predecessor) Sockets() *Sockets { return p.sockets }

// Aborted is closed when the other side wants everything back: the caller must end. It stays open for ever otherwise.
func (p *Predecessor) Aborted() <-chan struct{} {
	aborted := make(chan struct{})
	go func() {
		<-p.ended
		if errors.Is(p.outcome, ErrAborted) {
			close(aborted)
		}
	}()
	return aborted
}

// Ready tells the other side that the caller serves, and returns nil when it has let go. ErrGone tells that it has ended instead, which leaves everything to the
// caller too; after any other error the caller must end.
func (p *Predecessor) Ready(ctx context.Context) error {
	// When this fails, the other side has said why, or is gone.
	_ = p.conn.send(message{Kind: kindReady})
	timeout, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	select {
	case <-p.ended:
		return p.outcome
	case <-timeout.Done():
		return fmt.Errorf("no answer from %s: %w", p.Process, context.Cause(timeout))
	}
}

// Close ends the conversation. Before Ready has returned it tells the other side that the caller has failed, so everything must have been given back by then.
func (p *Predecessor) Close() {
	p.close.Do(func() { _ = p.conn.unix.Close() })
}
