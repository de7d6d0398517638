package loop

// timer is an entry of timers. when is 0 while it is none.
type timer struct {
	when  int64 // see clock
	index int
	owner expirer
}

// expirer is told when its timer has fired; the timer is out of the heap by then.
type expirer interface{ expired(now int64) }

// timers is a heap: the parent of i is (i-1)/4.
type timers []*timer

// set makes t fire at when, or not at all when that is 0.
func (h *timers) set(t *timer, when int64) {
	switch {
	case t.when == when:
	case when == 0:
		h.remove(t)
	case t.when == 0:
		t.when, t.index = when, len(*h)
		*h = append(*h, t)
		h.up(t.index)
	case when < t.when:
		t.when = when
		h.up(t.index)
	default:
		t.when = when
		h.down(t.index)
	}
}

func (h *timers) remove(t *timer) {
	old := *h
	last, i := len(old)-1, t.index
	h.swap(i, last)
	old[last] = nil
	*h = old[:last]
	if i < last {
		h.up(i)
		h.down(i)
	}
	t.when = 0
}

func (h *timers) swap(i, j int) {
	s := *h
	s[i], s[j] = s[j], s[i]
	s[i].index, s[j].index = i, j
}

func (h *timers) up(i int) {
	for i > 0 {
		parent := (i - 1) / 4
		if (*h)[parent].when <= (*h)[i].when {
			return
		}
		h.swap(i, parent)
		i = parent
	}
}

func (h *timers) down(i int) {
	for {
		least := i
		for child := 4*i + 1; child <= 4*i+4 && child < len(*h); child++ {
			if (*h)[child].when < (*h)[least].when {
				least = child
			}
		}
		if least == i {
			return
		}
		h.swap(i, least)
		i = least
	}
}

// timeout is how long epoll may wait, in milliseconds; -1 means for ever.
func (h timers) timeout(now int64) int {
	if len(h) == 0 {
		return -1
	}
	left := h[0].when - now
	if left <= 0 {
		return 0
	}
	const millisecond = 1e6
	return int(min(left/millisecond+1, 3_600_000))
}

// wakeAll fires all of them, when the loop stops: nobody sleeps again, and alarms do nothing.
func (h *timers) wakeAll(l *Loop) {
	for len(*h) > 0 {
		t := (*h)[0]
		h.remove(t)
		t.owner.expired(l.now)
	}
}

// fire tells those whose time has come.
func (l *Loop) fire() {
	for len(l.timers) > 0 && l.timers[0].when <= l.now {
		t := l.timers[0]
		l.timers.remove(t)
		t.owner.expired(l.now)
	}
}
