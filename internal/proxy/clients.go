package proxy

// clientList are the connections of a worker, those that had a request last at the end.
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

// closeIdle closes connections that wait for a request, the longest first, at most so many.
func (l *clientList) closeIdle(most int) (closed int) {
	for c := l.first; c != nil && closed < most; {
		after := c.after
		if c.idle {
			c.close()
			closed++
		}
		c = after
	}
	return closed
}
