package handover

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"
)

// Successor is a process that wants to take the caller's place.
type Successor struct {
	Process
	conn    *conn
	version string
}

// Meet reads who is at the other end of a connection to the socket of Listen. One that cannot take the caller's place is refused: the error says why. The
// caller must call Close.
func Meet(c *net.UnixConn, version string) (*Successor, error) {
	s := &Successor{conn: &conn{unix: c}, version: version}
	s.PID = s.conn.peer()
	m, _, err := s.conn.receive(time.Now().Add(answerTime))
	if err == nil && m.Kind != kindHello {
		err = fmt.Errorf("it begins with %q", m.Kind)
	}
	if err != nil {
		s.Close()
		return nil, fmt.Errorf("cannot understand a process that wants to take over: %w", orGone(err))
	}
	s.Version = m.Version
	if reason := unfit(m, version, nameSpace()); reason != "" {
		s.Refuse(reason)
		s.Close()
		return nil, fmt.Errorf("cannot hand over to %s: %s", s.Process, reason)
	}
	return s, nil
}

// unfit says why a process cannot take the place of this one, whose version and network name space these are.
func unfit(hello message, version, network string) string {
	switch {
	case hello.Protocol != Protocol:
		return fmt.Sprintf("this one (version %s) hands over by protocol %d, and version %s asks by protocol %d; stop this one and start the other, or upgrade by way of a release that speaks both",
			version, Protocol, hello.Version, hello.Protocol)
	case hello.Network != "" && network != "" && hello.Network != network:
		return "it runs in another network, and its sockets would end with this one's: stop this one and start the other, or run both in the host's network"
	}
	return ""
}

// nameSpace names the network name space of this process; it is empty when that cannot be told.
func nameSpace() string {
	name, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		return ""
	}
	return name
}

func orGone(err error) error {
	if errors.Is(err, io.EOF) {
		return ErrGone
	}
	return err
}

// Refuse tells the other side that nothing is handed over, and why.
func (s *Successor) Refuse(reason string) {
	_ = s.conn.send(message{Kind: kindRefuse, Protocol: Protocol, Version: s.version, Reason: short(reason)}) // if it cannot be told, it is gone
}

// Give hands the sockets over; the caller keeps its own and goes on accepting. What belongs to one process at a time must have been given up before.
func (s *Successor) Give(sockets *Sockets) error {
	list, descriptors, err := sockets.duplicate()
	defer func() { closeAll(descriptors) }()
	rest := descriptors
	for first := true; err == nil && (first || len(list) > 0); first = false {
		n := min(len(list), maxSockets)
		err = s.conn.send(message{Kind: kindSockets, Protocol: Protocol, Version: s.version, Sockets: list[:n], More: n < len(list)}, rest[:n]...)
		list, rest = list[n:], rest[n:]
	}
	if err != nil {
		return fmt.Errorf("cannot hand sockets over to %s: %w", s.Process, err)
	}
	return nil
}

// Await waits until the other side serves, at most for limit. After an error nothing has been handed over, and when the other side still runs it has been told that;
// it has not when ctx has ended, because the caller ends then: the other side finds itself alone, and goes on.
func (s *Successor) Await(ctx context.Context, limit time.Duration) error {
	stop := context.AfterFunc(ctx, func() { _ = s.conn.unix.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	m, _, err := s.conn.receive(time.Now().Add(limit))
	var timeout net.Error
	switch {
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	case errors.As(err, &timeout) && timeout.Timeout():
		err = fmt.Errorf("it was not ready after %v", limit)
	case err == nil && m.Kind != kindReady:
		err = fmt.Errorf("it says %q, which is out of place", m.Kind)
	case err == nil:
		err = s.conn.send(message{Kind: kindDone})
	}
	if ctx.Err() != nil { // the caller ends; whoever has everything now goes on alone
		return fmt.Errorf("%s is not ready yet: %w", s.Process, err)
	}
	if err != nil {
		err = orGone(err)
		_ = s.conn.send(message{Kind: kindAbort, Reason: short(err.Error())}) // if it cannot be told, it is gone
		return fmt.Errorf("%s did not take over: %w", s.Process, err)
	}
	return nil
}

// Close ends the conversation.
func (s *Successor) Close() { _ = s.conn.unix.Close() }

// short makes a text fit into a message.
func short(text string) string { return text[:min(len(text), maxText)] }
