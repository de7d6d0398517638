package proxy

import (
	"context"
	"net"
	"time"
)

// ground is what exchanges run on: the fibers of a loop, or ordinary goroutines. It lends what they need, and is how they wait.
type ground interface {
	// buffer lends a buffer of at least so many bytes, which giveBack takes back.
	buffer(size int) []byte
	giveBack(b []byte)
	exchange() *exchange
	giveExchange(x *exchange)
	// spawn runs f beside the caller; await waits for its end.
	spawn(t *task, f func())
	await(t *task)
	// block runs f, which may wait in ways that only ordinary goroutines know, and returns when it has ended. The context that it gets ends when it has
	// to come to its end.
	block(f func(ctx context.Context))
	// dial connects to host:port. It tells watch how to end the wait, again for each part of it.
	dial(address string, timeout time.Duration, watch func(giveUp func())) (line, error)
	// idleLink takes an unused connection to the endpoint, nil if there is none; keepLink leaves one for others.
	idleLink(e *endpointState) *wire
	keepLink(l *wire)
	// pause waits for the time d, for a table newer than s, or until the client of x is gone.
	pause(x *exchange, s *snapshot, d time.Duration)
}

// line is a connection as its ground offers it.
type line interface {
	net.Conn
	// SetTimeouts bounds each single wait of a Read and of a Write; 0 means no bound.
	SetTimeouts(read, write time.Duration)
	// SetReadTimeout leaves the other bound alone, so that another task may write meanwhile.
	SetReadTimeout(d time.Duration)
	// WaitReadable waits until there is something to read, where that can be told without a buffer.
	WaitReadable() error
	// Lifeless reports whether the peer's system gives no sign of life (see loop.Lifeless).
	Lifeless() bool
	// Quiet reports whether an unused connection may be used again.
	Quiet() bool
	CloseWrite() error
}

// Buffers come in three sizes: for heads, for most messages, and for what is long.
const (
	smallBuffer  = 4 << 10
	mediumBuffer = 16 << 10
	largeBuffer  = 64 << 10
)

// sizeClass returns which of the three sizes fits, or -1.
func sizeClass(size int) int {
	switch {
	case size <= smallBuffer:
		return 0
	case size <= mediumBuffer:
		return 1
	case size <= largeBuffer:
		return 2
	}
	return -1
}

func classSize(class int) int { return smallBuffer << (2 * class) }
