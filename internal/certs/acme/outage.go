package acme

import "time"

// outage is a CA that does not answer. While it stands, one order after the other finds out whether it is over, so that a thousand do not.
type outage struct {
	since    time.Time
	issuer   string
	failures int
	next     time.Time
	trying   bool
	reason   string
}

const (
	outagePause = 30 * time.Second // after the first failure; doubled with each one
	outageMost  = 15 * time.Minute
	outageTells = 2 // failures after which it is told, and a fallback counts
)

// mayAsk reports whether a directory may be asked now, and if not, when. The caller has to tell the result by told.
func (t *term) mayAsk(directory string, now time.Time) (ok bool, at time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	o := t.down[directory]
	switch {
	case o == nil:
		return true, now
	case now.Before(o.next):
		return false, o.next
	case o.trying:
		return false, now.Add(outagePause) // the one that tries says before
	}
	o.trying = true
	return true, now
}

// unused takes back that mayAsk was asked.
func (t *term) unused(directory string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if o := t.down[directory]; o != nil {
		o.trying = false
	}
}

// told notes whether a CA answered; f is nil when it did as it should. It gives the time of the next try when it did not.
func (t *term) told(terms Terms, f *failure, now time.Time) (next time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	o := t.down[terms.Directory]
	if f != nil && f.ours {
		if o != nil {
			o.trying = false
		}
		return time.Time{}
	}
	if f == nil || !f.unreachable {
		delete(t.down, terms.Directory)
		return time.Time{}
	}
	if o == nil {
		o = &outage{since: now, issuer: terms.Name}
		t.down[terms.Directory] = o
	}
	o.trying, o.reason = false, f.Error()
	if now.Before(o.next) {
		return o.next // another order has found out just now
	}
	o.failures++
	wait := min(outagePause<<min(o.failures-1, 10), outageMost)
	o.next = now.Add(max(wait, f.wait))
	return o.next
}

// isDown reports whether a CA has not answered for several tries, and it is not yet time for the next one.
func (t *term) isDown(directory string, now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	o := t.down[directory]
	return o != nil && o.failures >= outageTells && now.Before(o.next)
}
