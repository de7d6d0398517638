package proxy

import (
	"errors"
	"io"
	"math"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/ruche-project/ruche/internal/h1"
	"github.com/ruche-project/ruche/internal/loop"
)

// upgrades are the connections that speak another protocol now, or never spoke HTTP, so that a stop can end them.
type upgrades struct {
	mu      sync.Mutex
	running map[*joined]struct{}
	stopped bool
	done    sync.WaitGroup
}

// joined is a client's connection and an endpoint's, between which bytes are carried both ways.
type joined struct {
	entry    *entry
	worker   *worker
	client   side
	endpoint side
	last     time.Time // when something was carried
	limit    time.Duration
}

// side is one of the two.
type side struct {
	conn       *loop.Conn
	stream     io.ReadWriter // conn, or TLS on it
	early      []byte        // what was read of it ahead
	closeWrite func() error
}

func newUpgrades() *upgrades { return &upgrades{running: map[*joined]struct{}{}} }

// add reports false when connections are being ended.
func (u *upgrades) add(j *joined) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.stopped {
		return false
	}
	u.running[j] = struct{}{}
	u.done.Add(1)
	return true
}

func (u *upgrades) remove(j *joined) {
	u.mu.Lock()
	delete(u.running, j)
	u.mu.Unlock()
	u.done.Done()
}

// of is how many came in at the listener.
func (u *upgrades) of(e *entry) (n int64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for j := range u.running {
		if j.entry == e {
			n++
		}
	}
	return n
}

// wait returns a channel that is closed when no connection is left. No more may be added by then.
func (u *upgrades) wait() <-chan struct{} {
	left := make(chan struct{})
	go func() {
		u.done.Wait()
		close(left)
	}()
	return left
}

// end closes all connections.
func (u *upgrades) end() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.stopped = true
	for j := range u.running {
		j.worker.loop.Post(j.close)
	}
}

func (j *joined) close() {
	_ = j.client.conn.Close()
	_ = j.endpoint.conn.Close()
}

// upgrade joins the client's connection to the endpoint's until one of them ends.
func (p *Proxy) upgrade(x *exchange, e *endpointState, via link) {
	c, ok := x.client.(*h1Client)
	l, can := via.(*h1Link)
	protocol := upgradeType(x.inbound.Upgrade)
	if !ok || !can || x.upgrade == "" || !strings.EqualFold(protocol, x.upgrade) || !x.body.whollySent() {
		x.res.err = x.blame(e, errUpgradeFailed)
		return
	}
	x.body.stop(l) // which may be about to write the end of the content
	j := &joined{
		entry: c.entry, worker: c.worker,
		client:   side{c.conn, c.stream, c.source()[c.from:c.to], c.conn.CloseWrite},
		endpoint: side{l.conn.(*loop.Conn), l.stream, l.buf[l.from:l.to], l.conn.CloseWrite},
	}
	if c.secure != nil {
		j.client.closeWrite = c.secure.CloseWrite
	}
	if !p.upgrades.add(j) {
		x.res.err = errStopping
		return
	}
	defer p.upgrades.remove(j)
	x.unwatch()
	x.setAnswered()
	out := h1.AppendStatusLine(c.worker.buffer(smallBuffer)[:0], x.inbound.Status, x.inbound.Reason)
	for i := range x.answered {
		out = h1.AppendField(out, x.answered[i].Name, x.answered[i].Value)
	}
	out = h1.AppendField(out, "Connection", "Upgrade")
	out = append(h1.AppendField(out, "Upgrade", protocol), h1.CRLF...)
	c.upgraded, x.res.status, x.res.sentHead = true, x.inbound.Status, true
	_, err := c.stream.Write(out)
	c.worker.giveBack(out)
	if err != nil {
		x.clientGone()
		return
	}
	if l.from == l.to { // so that it is not held for hours
		l.ground.giveBack(l.buf)
		l.buf = nil
	}
	var received int64
	received, x.res.sent = j.run()
	x.received.Add(received)
}

// run carries bytes both ways until both directions have ended, or nothing was said for too long. It returns how many bytes came from the client and
// went to it.
func (j *joined) run() (received, sent int64) {
	timeouts := j.entry.timeouts
	j.last, j.limit = time.Now(), timeouts.Upgraded
	j.client.conn.SetTimeouts(timeouts.Upgraded, timeouts.Body)
	j.endpoint.conn.SetTimeouts(timeouts.Upgraded, timeouts.Body)
	j.endpoint.conn.KeepAlive(askUpgradedAfter)
	var up task
	j.worker.spawn(&up, func() {
		received = j.carry(&j.endpoint, &j.client)
		j.half(&j.endpoint)
	})
	sent = j.carry(&j.client, &j.endpoint)
	j.half(&j.client)
	j.worker.await(&up)
	return received, sent
}

// half ends one direction. The other one may go on for as long as something is said within a shorter time.
func (j *joined) half(to *side) {
	body := j.entry.timeouts.Body
	j.limit = body
	j.client.conn.SetTimeouts(body, body)
	j.endpoint.conn.SetTimeouts(body, body)
	if to.closeWrite() != nil {
		j.close()
	}
}

// carry copies from one side to the other until it ends, and returns how many bytes.
func (j *joined) carry(to, from *side) (n int64) {
	if len(from.early) > 0 {
		if _, err := to.stream.Write(from.early); err != nil {
			return 0
		}
		n = int64(len(from.early))
	}
	for short := true; ; { // most messages are
		k, taken, err := j.pass(to, from, short)
		if k > 0 {
			if !taken {
				return n
			}
			n += int64(k)
			short = k < shortPiece
			continue
		}
		// One direction may be silent for as long as the other is not.
		if errors.Is(err, os.ErrDeadlineExceeded) && time.Since(j.last) < j.limit {
			continue
		}
		var broken *os.SyscallError // nothing more gets to a peer that has reset the connection
		if errors.Is(err, os.ErrDeadlineExceeded) || errors.As(err, &broken) {
			j.close()
		}
		if err != nil {
			return n
		}
	}
}

// pass carries what there is to read, and reports how long it is and whether the other side took it. What is not short goes through a pipe where that is possible.
func (j *joined) pass(to, from *side, short bool) (n int, taken bool, err error) {
	dst, plain := to.stream.(*loop.Conn)
	if src, both := from.stream.(*loop.Conn); plain && both && !short {
		pipe, err := src.Fill(math.MaxInt64)
		switch {
		case err == nil:
			defer pipe.GiveBack()
			j.last = time.Now()
			n := pipe.Held()
			_, err := dst.Pour(pipe)
			return n, err == nil, nil
		case !errors.Is(err, loop.ErrNoPipe):
			return 0, false, err
		}
	}
	buffer, n, err := j.read(from)
	if n > 0 {
		j.last = time.Now()
		_, werr := to.stream.Write(buffer[:n])
		taken, err = werr == nil, nil
	}
	if buffer != nil {
		j.worker.giveBack(buffer)
	}
	return n, taken, err
}

// read waits without a buffer, and then reads into one.
func (j *joined) read(from *side) ([]byte, int, error) {
	conn := from.conn
	_, plain := from.stream.(*loop.Conn)
	if plain {
		if err := conn.WaitReadable(); err != nil {
			return nil, 0, err
		}
	}
	buffer := j.worker.buffer(mediumBuffer)
	if plain {
		n, err := conn.Read(buffer)
		return buffer, n, err
	}
	conn.SetNoWait(true)
	n, err := from.stream.Read(buffer)
	conn.SetNoWait(false)
	if n == 0 && errors.Is(err, loop.ErrWouldWait) {
		j.worker.giveBack(buffer)
		return nil, 0, conn.WaitReadable()
	}
	return buffer, n, err
}
