package proxy

// seat is a client connection's place in a list.
type seat struct {
	owner         resident
	list          *clientList // one of the worker's; nil while it is in none
	after, before *seat
}

// resident is a client's connection, whatever protocol it speaks.
type resident interface {
	// dismiss ends the connection as soon as nothing is served on it any more, which mostly is at once, and takes it out of its list.
	dismiss()
}

// clientList are connections of a worker that are in the same state, those that have been for longest first.
type clientList struct {
	first, last *seat
	n           int
}

func (l *clientList) add(s *seat) {
	s.list = l
	s.before, s.after = l.last, nil
	if l.last != nil {
		l.last.after = s
	} else {
		l.first = s
	}
	l.last = s
	l.n++
}

// wake takes the connection out of its list.
func (s *seat) wake() {
	l := s.list
	if l == nil {
		return
	}
	if s.before != nil {
		s.before.after = s.after
	} else {
		l.first = s.after
	}
	if s.after != nil {
		s.after.before = s.before
	} else {
		l.last = s.before
	}
	s.before, s.after, s.list = nil, nil, nil
	l.n--
}

// closeFirst dismisses the connections that have been there longest, at most so many.
func (l *clientList) closeFirst(most int) (closed int) {
	for ; l.first != nil && closed < most; closed++ {
		l.first.owner.dismiss()
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

// part has all connections end: those that wait for a request now, those of HTTP/2 that have some when these are answered. Others say so with their answers.
func (w *worker) part() {
	w.clients.closeFirst(w.clients.n)
	w.streaming.closeFirst(w.streaming.n)
}
