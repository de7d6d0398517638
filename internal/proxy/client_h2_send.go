package proxy

import (
	"os"
	"slices"
	"time"

	"github.com/ruche-project/ruche/internal/h2"
)

// What streams send goes to one buffer, which a fiber sends at the end of the loop's turn: answers of many streams share a TLS record and a system call. While
// the client does not take it streams wait in line, each for the room of one frame.

// begin returns what is to be sent, for something to be appended.
func (c *h2Conn) begin() []byte {
	if c.out == nil {
		c.out = c.worker.buffer(mediumBuffer)[:0]
	}
	return c.out
}

// beginLong is begin for something that is longer than a buffer may have room for.
func (c *h2Conn) beginLong(n int) []byte {
	out := c.begin()
	if need := len(out) + n; need > cap(out) && need <= largeBuffer {
		c.out = append(c.worker.buffer(largeBuffer)[:0], out...)
		c.worker.giveBack(out)
	}
	return c.out
}

// append takes what begin has returned with something appended, and has it sent. Nobody may wait between the two.
func (c *h2Conn) append(out []byte) {
	c.out = out
	c.dirty()
}

// dirty has sent what is to be sent.
func (c *h2Conn) dirty() {
	if !c.flushing && !c.closed {
		c.flushing = true
		c.worker.loop.Go(c.flusher)
	}
}

// flush sends what there is, and closes a connection that ends. It runs on a fiber of its own.
func (c *h2Conn) flush() {
	defer c.afterPanic()
	for len(c.out) > 0 && !c.closed {
		out := c.out
		c.out = nil
		c.flushes++
		c.stuck = true
		began := c.worker.loop.Now()
		_, err := c.secure.Write(out)
		slow := c.sending.tooSlow(c.worker.loop.Now().Sub(began), len(out), c.entry.timeouts.Body)
		c.stuck = false
		c.worker.giveBack(out)
		if err != nil || slow {
			c.close()
			return
		}
		c.wakeSenders()
		c.room.Wake()
	}
	c.flushing = false
	if c.ending && !c.closed {
		c.flushing = true // nothing more is sent
		linger(c.worker, c.conn, c.secure)
		c.close()
	}
}

// roomy reports whether streams may add to what is to be sent.
func (c *h2Conn) roomy() bool { return !c.stuck && len(c.out) < maxOut }

// wakeSenders lets the first streams in line send, as many as there is room for frames.
func (c *h2Conn) wakeSenders() {
	if len(c.senders) == 0 || !c.roomy() {
		return
	}
	room := maxOut - len(c.out) - c.turns*h2.MaxFrame
	rest := c.senders[:0]
	for _, s := range c.senders {
		if room > 0 && (s.needsHead || c.window > 0) {
			room -= h2.MaxFrame
			s.turn = true
			c.turns++
			s.sleeper.Wake()
			continue
		}
		rest = append(rest, s)
	}
	clear(c.senders[len(rest):])
	c.senders = rest
}

// takeTurn reports whether it is the stream's turn, and ends that.
func (s *h2Stream) takeTurn() bool {
	if !s.turn {
		return len(s.conn.senders)+s.conn.turns == 0
	}
	s.turn = false
	s.conn.turns--
	return true
}

// queue puts a stream in line, first if it has been there; unqueue takes it out.
func (c *h2Conn) queue(s *h2Stream, first bool) {
	if first {
		c.senders = slices.Insert(c.senders, 0, s)
		return
	}
	c.senders = append(c.senders, s)
}

func (c *h2Conn) unqueue(s *h2Stream) {
	for i := range c.senders {
		if c.senders[i] == s {
			c.senders = append(c.senders[:i], c.senders[i+1:]...)
			return
		}
	}
}

// awaitRoom waits until the stream may send a head.
func (s *h2Stream) awaitRoom() error {
	s.needsHead = true
	_, err := s.await(1)
	s.needsHead = false
	return err
}

// await waits until the stream may send something, and returns how much of want that may be.
func (s *h2Stream) await(want int) (int, error) {
	c := s.conn
	waited := time.Duration(0)
	for {
		n := want
		if !s.needsHead {
			n = min(n, maxData, largeBuffer-h2.FrameHeaderLen-len(c.out), int(s.window), int(c.window))
		}
		had := s.turn
		turn := s.takeTurn()
		switch {
		case s.err != nil:
			return 0, s.err
		case n > 0 && turn && c.roomy():
			if s.sending.tooSlow(waited, n, c.entry.timeouts.Body) {
				return 0, os.ErrDeadlineExceeded
			}
			return n, nil
		}
		late, took := s.sleep(had)
		if waited += took; late {
			return 0, os.ErrDeadlineExceeded
		}
	}
}

// sleep waits for the stream's turn, or for its own window if that is shut. It reports whether that has taken too long, and how long it took.
func (s *h2Stream) sleep(first bool) (late bool, took time.Duration) {
	c := s.conn
	s.shut = !s.needsHead && s.window <= 0
	if !s.shut {
		c.queue(s, first)
		c.wakeSenders() // it may be that only others have to wait: heads need no window
		if s.turn {
			return false, 0
		}
	}
	began := c.worker.loop.Now()
	late = c.worker.loop.Sleep(&s.sleeper, c.entry.timeouts.Body)
	if !s.shut && !s.turn {
		c.unqueue(s)
	}
	s.shut = false
	return late && !s.turn && s.err == nil, c.worker.loop.Now().Sub(began)
}

// wakeSender has the stream look at its window again.
func (s *h2Stream) wakeSender() {
	if s.shut && s.window > 0 {
		s.sleeper.Wake()
	}
}
