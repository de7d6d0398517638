package proxy

// clientList are connections of a worker that wait for the same, those that have waited longest first.
type clientList struct {
	first, last *h1Client
	n           int
}

func (l *clientList) add(c *h1Client) {
	c.list = l
	c.before, c.after = l.last, nil
	if l.last != nil {
		l.last.after = c
	} else {
		l.first = c
	}
	l.last = c
	l.n++
}

func (l *clientList) remove(c *h1Client) {
	if c.before != nil {
		c.before.after = c.after
	} else {
		l.first = c.after
	}
	if c.after != nil {
		c.after.before = c.before
	} else {
		l.last = c.before
	}
	c.before, c.after, c.list = nil, nil, nil
	l.n--
}

// closeFirst closes the connections that have waited longest, at most so many.
func (l *clientList) closeFirst(most int) (closed int) {
	for ; l.first != nil && closed < most; closed++ {
		l.first.close()
	}
	return closed
}

// makeRoom closes connections that nothing is served on, and reports whether there were any. Heads and handshakes that have begun and do not end go first: whoever
// opens connections to fill all places leaves them so, while a good client waits for its next request.
func (w *worker) makeRoom() bool {
	if n := w.heads.closeFirst(madeRoom); n > 0 {
		w.proxy.limiter.full(n)
		return true
	}
	return w.clients.closeFirst(madeRoom) > 0
}

// madeRoom is how many connections a loop closes at once to make room for others.
const madeRoom = 16
