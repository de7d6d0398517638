package proxy

// clientList are the connections of a worker that wait for a request, those that have waited longest first.
type clientList struct {
	first, last *h1Client
	n           int
}

func (l *clientList) add(c *h1Client) {
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
	c.before, c.after = nil, nil
	l.n--
}

// closeIdle closes the connections that have waited longest, at most so many.
func (l *clientList) closeIdle(most int) (closed int) {
	for ; l.first != nil && closed < most; closed++ {
		l.first.close()
	}
	return closed
}
