package proxy

import (
	"errors"
	"io"
	"net/netip"
	"sort"
	"time"

	"github.com/ruche-project/ruche/internal/h2"
	"github.com/ruche-project/ruche/internal/loop"
)

const (
	// maxOpenStreams is how many requests a connection of HTTP/2 may have at a time.
	maxOpenStreams = 250
	// maxRunning is how many there may be together with those that the client has given up and that have not come to their ends here.
	maxRunning = 2 * maxOpenStreams
	// receiveWindow is how much content of a request may wait here until its endpoint takes it, in bytes; connReceiveWindow is that of all requests of a connection.
	receiveWindow, connReceiveWindow = 256 << 10, 1 << 20
	// maxOut is how much may wait to be sent when a stream adds to it, in bytes: what is added shall fit into the buffer.
	maxOut = largeBuffer - 2<<10
	// maxData is how much content goes into a frame, which then makes a TLS record.
	maxData = h2.MaxFrame - h2.FrameHeaderLen
	// readTurn is how much of a connection is read before others have their turn, in bytes.
	readTurn = 256 << 10
	// keptResets is of how many streams that were reset here it is known that frames may still come.
	keptResets = 32
)

// h2Conn is a client's HTTP/2 connection. While nothing is read from it or sent there is no fiber for it and no buffer; each stream has its own fiber.
type h2Conn struct {
	seat
	worker *worker
	entry  *entry
	conn   *loop.Conn
	secure *secureStream
	remote netip.AddrPort // the client's, as a PROXY header tells it
	ticket ticket
	tls    tlsFacts

	// What is read:
	buf        []byte
	from, to   int // what of buf was not looked at yet
	serving    bool
	frames     h2.Reader
	heads      *h2.Decoder
	block      *h2Stream // whose head or trailer is being read; nil where nobody wants it
	blockFlags h2.Flags
	blockError error     // what is wrong with the stream of the block apart from what it says
	headSince  time.Time // since when something is awaited that has begun
	heard      time.Time // when something came last
	quietSince time.Time // since when there has been no request
	served     bool      // there was one
	pinged     bool      // the client was asked whether it is there
	breath     loop.Sleeper
	room       loop.Sleeper // of the reader

	streams []*h2Stream // by their numbers
	running int         // fibers of streams, also of those that the client has given up
	last    uint32      // the highest number of a stream
	resets  [keptResets]uint32
	reset   int       // the next place in resets
	strain  int       // what the client has done that costs more than it is worth, see tire
	eased   time.Time // when strain was reduced by the time that had passed
	window  h2.Window // how much content may be sent
	initial h2.Window // that of new streams
	receive h2.Window // how much content may come
	credit  int       // what was taken of it and not given back yet
	retable bool      // the next head has to begin with the size of our table
	told    bool      // the client knows that the connection ends
	ending  bool      // nothing more is read; what is to be sent is the last
	closed  bool

	// What is sent:
	out      []byte
	flushing bool        // a fiber sends it
	stuck    bool        // and waits for the client
	flushes  int         // how often it has begun to
	senders  []*h2Stream // that wait for their turn, in line
	turns    int         // how many have it and have not sent yet
	sending  pace
	flusher  func() // flush, made once
}

// newH2Conn begins a connection that has done its handshake.
func newH2Conn(c *h1Client) *h2Conn {
	n := &h2Conn{
		worker: c.worker, entry: c.entry, conn: c.conn, secure: c.secure, remote: c.remote, ticket: c.ticket, tls: c.tls,
		heads: h2.NewDecoder(headLimits()), window: h2.DefaultWindow, initial: h2.DefaultWindow, receive: connReceiveWindow, quietSince: c.worker.loop.Now(),
	}
	n.flusher = n.flush
	n.owner = n
	n.worker.streaming.add(&n.seat)
	n.conn.SetTimeouts(0, n.entry.timeouts.Body)
	n.out = h2.AppendSettings(n.worker.buffer(smallBuffer)[:0],
		h2.SettingValue{Setting: h2.MaxConcurrentStreams, Value: maxOpenStreams},
		h2.SettingValue{Setting: h2.InitialWindowSize, Value: receiveWindow},
		h2.SettingValue{Setting: h2.MaxHeaderListSize, Value: maxHeaderBytes})
	n.out = h2.AppendWindowUpdate(n.out, 0, connReceiveWindow-h2.DefaultWindow)
	n.dirty()
	return n
}

// Ready implements loop.Idler: there is something to read.
func (c *h2Conn) Ready() {
	defer c.afterPanic()
	c.move(&c.worker.streaming)
	c.serving, c.pinged, c.heard = true, false, c.worker.loop.Now()
	err := c.read()
	c.serving = false
	switch {
	case c.closed, c.ending:
		c.letGo()
	case err != nil:
		c.broken(err)
	default:
		c.rest()
	}
}

// broken ends the connection because of an error in reading it.
func (c *h2Conn) broken(err error) {
	var wrong h2.Error
	if errors.As(err, &wrong) {
		c.fail(wrong)
		return
	}
	c.close()
}

// afterPanic is deferred: nobody knows what state a connection is in whose code has panicked.
func (c *h2Conn) afterPanic() {
	if v := recover(); v != nil {
		c.close()
		panic(v)
	}
}

// Expired implements loop.Idler.
func (c *h2Conn) Expired() {
	switch {
	case c.closed:
	case c.worker.loop.Stopping():
		c.close()
	case c.timeLeft() > 0: // for something else than when it began to wait
		c.rest()
	case !c.headSince.IsZero():
		c.fail(h2.Error{Code: h2.NoError, Reason: "a frame or a head that did not come in time", Rule: "RFC 9113 5.4.1"})
	case c.running == 0:
		c.leave()
	case c.pinged:
		c.close()
	default: // the client may be gone without a word
		c.pinged = true
		c.append(h2.AppendPing(c.begin(), 0, [8]byte{}))
		c.rest()
	}
}

// timeLeft is for how long nothing more need come.
func (c *h2Conn) timeLeft() time.Duration {
	t, now := c.entry.timeouts, c.worker.loop.Now()
	switch {
	case !c.headSince.IsZero():
		return t.ReadHeader - now.Sub(c.headSince)
	case c.running > 0 && c.pinged:
		return t.Body + t.ReadHeader - now.Sub(c.heard)
	case c.running > 0:
		return t.Body - now.Sub(c.heard)
	case !c.served:
		return t.ReadHeader - now.Sub(c.quietSince)
	}
	return t.Idle - now.Sub(c.quietSince)
}

// rest leaves the connection to its loop until more comes.
func (c *h2Conn) rest() {
	if c.from == c.to {
		c.letGo()
	}
	if !c.frames.Partial(c.to - c.from) {
		c.headSince = time.Time{}
	} else if c.headSince.IsZero() {
		c.headSince = c.worker.loop.Now()
	}
	if c.running == 0 && (c.told || c.worker.proxy.parted.Load()) {
		c.leave()
		return
	}
	switch {
	case c.running > 0:
		c.move(&c.worker.streaming)
	case c.headSince.IsZero():
		c.move(&c.worker.clients)
	case c.list != &c.worker.heads:
		c.move(&c.worker.heads)
	}
	c.conn.Idle(c.timeLeft(), c)
}

// move puts the connection into another of the worker's lists.
func (c *h2Conn) move(to *clientList) {
	c.wake()
	to.add(&c.seat)
}

// read reads what there is. It returns without an error when there is nothing more.
func (c *h2Conn) read() error {
	for total := 0; !c.closed && !c.ending; {
		c.makeRoom()
		c.conn.SetNoWait(true)
		n, err := c.secure.Read(c.buf[c.to:])
		c.conn.SetNoWait(false)
		c.to += n
		switch {
		case n > 0:
		case errors.Is(err, loop.ErrWouldWait):
			return nil
		case err == nil:
			return io.ErrNoProgress
		default:
			return err
		}
		if err := c.look(); err != nil {
			return err
		}
		if err := c.awaitFlush(); err != nil {
			return err
		}
		if total += n; total > readTurn { // what TLS has read ahead no event would tell of, so the fiber stays
			total = 0
			c.worker.loop.Sleep(&c.breath, 0)
		}
	}
	return nil
}

// makeRoom makes room in the buffer. What was not looked at yet stays: less than one frame and the preface.
func (c *h2Conn) makeRoom() {
	switch {
	case c.buf == nil:
		c.buf, c.from, c.to = c.worker.buffer(mediumBuffer), 0, 0
	case c.from == c.to:
		c.from, c.to = 0, 0
	case c.from > 0:
		c.to = copy(c.buf, c.buf[c.from:c.to])
		c.from = 0
	case c.to == len(c.buf):
		bigger := c.worker.buffer(largeBuffer)
		copy(bigger, c.buf)
		c.worker.giveBack(c.buf)
		c.buf = bigger
	}
}

// letGo gives back what reading has borrowed.
func (c *h2Conn) letGo() {
	if c.buf != nil {
		c.worker.giveBack(c.buf)
		c.buf, c.from, c.to = nil, 0, 0
	}
}

// stream finds a stream that has not come to its end.
func (c *h2Conn) stream(id uint32) *h2Stream {
	i := sort.Search(len(c.streams), func(i int) bool { return c.streams[i].id >= id })
	if i < len(c.streams) && c.streams[i].id == id {
		return c.streams[i]
	}
	return nil
}

// fresh reports whether nobody has used the number of a stream yet, or nobody ever will.
func (c *h2Conn) fresh(id uint32) bool { return id > c.last || id%2 == 0 }

// fail ends the connection because of what the client has done.
func (c *h2Conn) fail(wrong h2.Error) {
	p := c.worker.proxy
	if wrong.Code == h2.EnhanceYourCalm {
		p.limiter.abusive.n.Add(1)
	}
	p.cfg.Logger.Debug("an HTTP/2 connection is closed: its client has sent "+wrong.Reason, "peer", c.remote.String(), "rule", wrong.Rule, "code", wrong.Code.String())
	c.end(wrong.Code, wrong.Reason)
}

// leave ends a connection that has no streams.
func (c *h2Conn) leave() { c.end(h2.NoError, "") }

// end tells the client which streams were looked at, and closes the connection when it has got that.
func (c *h2Conn) end(code h2.Code, reason string) {
	if c.ending || c.closed {
		return
	}
	c.ending = true
	c.wake()
	c.conn.Take()
	c.append(h2.AppendGoAway(c.begin(), c.last, code, reason))
	c.giveUp()
	if !c.serving {
		c.letGo()
	}
}

// dismiss implements resident. Streams that are on their way are served.
func (c *h2Conn) dismiss() {
	c.wake()
	switch {
	case c.running > 0:
		c.goAway()
	case !c.headSince.IsZero():
		c.close()
	default:
		c.leave()
	}
}

// goAway asks the client to begin nothing more here (RFC 9113 section 6.8).
func (c *h2Conn) goAway() {
	if !c.told && !c.ending && !c.closed {
		c.told = true
		c.append(h2.AppendGoAway(c.begin(), h2.MaxWindow, h2.NoError, ""))
	}
}

// giveUp tells the streams that their client is gone.
func (c *h2Conn) giveUp() {
	for _, s := range c.streams {
		s.fail(errClientGone)
	}
	c.room.Wake()
}

// close ends the connection at once.
func (c *h2Conn) close() {
	if c.closed {
		return
	}
	c.closed = true
	c.wake()
	c.ticket.giveBack()
	_ = c.conn.Close()
	c.giveUp()
	if !c.serving {
		c.letGo()
	}
	if c.out != nil {
		c.worker.giveBack(c.out)
		c.out = nil
	}
}

// ended is called when the fiber of a stream has ended.
func (c *h2Conn) ended(s *h2Stream) {
	for i := range c.streams {
		if c.streams[i] == s {
			c.streams = append(c.streams[:i], c.streams[i+1:]...)
			c.streams[:len(c.streams)+1][len(c.streams)] = nil
			break
		}
	}
	if c.block == s { // whose trailer has not come as a whole
		c.block = nil
		c.heads.Drop()
	}
	c.wakeSenders()
	if c.running--; c.running > 0 || c.closed || c.ending {
		return
	}
	if cap(c.streams) > keptPlaces {
		c.streams, c.senders = nil, nil
	}
	c.quietSince = c.worker.loop.Now()
	if !c.serving {
		c.rest()
	}
}

// keptPlaces is for how many streams a connection without any has places.
const keptPlaces = 16

// maxStrain is how much of what costs more than it is worth a client may do at once, and easePerSecond how much of it is forgotten in a second.
const maxStrain, easePerSecond = 1000, 100

// tire notes something that a client hardly needs to do often. Whoever does it again and again wants to keep us busy (RFC 9113 section 10.5).
func (c *h2Conn) tire() error {
	now := c.worker.loop.Now()
	if passed := now.Sub(c.eased); passed > time.Second {
		c.ease(int(min(passed, time.Hour)/time.Second) * easePerSecond)
		c.eased = now
	}
	if c.strain++; c.strain > maxStrain {
		return h2.Error{Code: h2.EnhanceYourCalm, Reason: "too much that is no request", Rule: "RFC 9113 10.5"}
	}
	return nil
}

// ease makes good for some of it.
func (c *h2Conn) ease(n int) { c.strain = max(0, c.strain-n) }
