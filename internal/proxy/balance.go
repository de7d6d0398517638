package proxy

import (
	"math/bits"
	"net/netip"
	"time"

	"github.com/ruche-project/ruche"
)

// choice is one endpoint that requests of a route may go to.
type choice struct {
	endpoint *endpointState
	weight   int64       // 1 or more
	check    *checkState // nil when it is not checked
}

// pickKey is what of a request matters for the choice of its endpoint.
type pickKey struct {
	// client is the address that the policy client-hash goes by.
	client netip.Addr
	// cookie is the value of the route's sticky cookie in the request (see cookieName and cookieValue); empty if there is none. It must not
	// change while the picker is in use.
	cookie []byte
	// again tells that the request asked for an endpoint before, with another picker: then its first endpoint is taken out of the retry
	// budget like the following ones, unless that endpoint has not failed since it last answered or became ready. So requests that wait
	// knock at a dead endpoint within the budget, and all go through as soon as one of them was answered.
	again bool
}

// picker chooses endpoints for one request, each at most once. It is a value; it allocates nothing for routes of up to 256 endpoints of
// which up to 8 are tried.
type picker struct {
	route *routeState
	key   pickKey
	turn  uint32 // the round robin's position for this request, once it was asked for
	tries int
	// passed is how many of the tries were passed over: nothing was sent, so they are none for the budget.
	passed int
	first  [8]int32 // what was tried, by its place among the route's choices
	more   []int32
	// turned tells that turn is set, spent that the budget forbade another try.
	turned, spent bool
}

func (r *routeState) picker(k pickKey) picker { return picker{route: r, key: k} }

// next returns the endpoint to try now. It is nil when all that may be tried were, or when the route's retry budget is spent.
//
// Endpoints that are well come first. Those that failed a moment ago are the last choice. Those whose active check fails
// are tried only when it fails for all of the route: then it tells more about the check than about the endpoints.
func (p *picker) next(now time.Time) *endpointState {
	if p.tries >= len(p.route.ready) {
		return nil
	}
	i := p.choose(now.UnixNano())
	if i < 0 {
		return nil
	}
	e, budget := p.route.ready[i].endpoint, &p.route.life.budget
	switch {
	case p.tries > 0 && p.tries == p.passed: // that was asked for the one that was passed over
	case p.tries == 0 && !p.key.again:
		budget.request(now)
	case p.tries == 0 && e.failingSince.Load() == 0:
	case !budget.retry(now):
		p.spent = true
		return nil
	}
	p.note(i)
	return e
}

// passOver tells that nothing is sent to the endpoint that next gave.
func (p *picker) passOver() { p.passed++ }

// outOfBudget reports whether next returned nil because the route's retry budget is spent, with endpoints left to try.
func (p *picker) outOfBudget() bool { return p.spent }

func (p *picker) note(i int) {
	if p.tries < len(p.first) {
		p.first[p.tries] = int32(i)
	} else {
		p.more = append(p.more, int32(i))
	}
	p.tries++
}

// another reports whether there is an endpoint that was not tried and can be reached, as far as is known.
func (p *picker) another(now time.Time) bool {
	for i := range p.route.ready {
		if c := p.route.ready[i].class(now.UnixNano()); (c == well || c == doubtful) && !p.hasTried(i) {
			return true
		}
	}
	return false
}

func (p *picker) hasTried(i int) bool {
	for t := range p.tries {
		if p.tried(t) == i {
			return true
		}
	}
	return false
}

// choose returns the place of the endpoint to try, or -1.
func (p *picker) choose(now int64) int {
	ready := p.route.ready
	if len(ready) == 1 {
		return 0
	}
	named := p.byCookie()
	if named >= 0 && ready[named].class(now) == well && ready[named].endpoint.comeBack(now) {
		return named
	}
	var room [int(classes) * inlineWords]uint64
	sets := room[:]
	words := (len(ready) + 63) / 64
	if words > inlineWords {
		sets = make([]uint64, int(classes)*words)
	}
	for {
		s, wary := p.candidates(sets, words, now)
		if s.count() == 0 {
			return -1
		}
		i := named
		if i < 0 || !s.has(i) {
			i = p.byPolicy(s)
		}
		// One that was ejected comes back with a single request; when another request was faster, look again.
		if !wary || ready[i].endpoint.comeBack(now) {
			return i
		}
		clear(sets)
	}
}

// candidates sorts what was not tried by class, and returns those to choose among; room is for that and holds zeros. wary tells that one of
// them may have been ejected, and that there are enough good ones to be careful with it.
func (p *picker) candidates(room []uint64, words int, now int64) (s set, wary bool) {
	ready := p.route.ready
	if s = room[:words]; untroubled(ready) {
		s.fill(len(ready))
		p.removeTried(s)
		return s, false
	}
	var by [classes]set
	for c := range by {
		by[c] = room[c*words : (c+1)*words]
	}
	var all [classes]int
	for i := range ready {
		c := ready[i].class(now)
		all[c]++
		by[c].add(i)
	}
	for c := range by {
		p.removeTried(by[c])
	}
	// Failures may come from the requests, and what is left must bear the load: at most half of the endpoints may be out for them.
	crowded := all[doubtful] > all[well]
	if crowded {
		by[well].addAll(by[doubtful])
	}
	switch {
	case by[well].count() > 0:
		return by[well], !crowded
	case all[well]+all[doubtful]+all[lost] == 0:
		return by[unwell], false
	}
	by[doubtful].addAll(by[lost])
	return by[doubtful], false
}

// untroubled reports whether all endpoints are well, as they mostly are.
func untroubled(ready []choice) bool {
	for i := range ready {
		c := &ready[i]
		if c.endpoint.ejection.Load() != nil || c.check != nil && c.check.down.Load() {
			return false
		}
	}
	return true
}

func (p *picker) removeTried(s set) {
	for t := range p.tries {
		s.remove(p.tried(t))
	}
}

func (p *picker) tried(t int) int {
	if t < len(p.first) {
		return int(p.first[t])
	}
	return int(p.more[t-len(p.first)])
}

// class says how much an endpoint is to be trusted with a request.
type class int

const (
	well     class = iota
	doubtful       // ejected because of how it answers
	lost           // ejected because no connection came about
	unwell         // its active check fails
	classes
)

func (c *choice) class(now int64) class {
	if c.check != nil && c.check.down.Load() {
		return unwell
	}
	e := c.endpoint.ejection.Load()
	switch {
	case e == nil || e.over(now):
		return well
	case e.lost:
		return lost
	}
	return doubtful
}

// byCookie returns the endpoint that the client's cookie names, or -1 when it names none or that one was tried.
func (p *picker) byCookie() int {
	if p.route.sticky == nil || p.tries > 0 || len(p.key.cookie) != tokenLen {
		return -1
	}
	for i := range p.route.ready {
		if p.route.ready[i].endpoint.token == string(p.key.cookie) {
			return i
		}
	}
	return -1
}

func (p *picker) byPolicy(s set) int {
	switch p.route.policy {
	case ruche.PolicyLeastConnections:
		return p.leastBusy(s)
	case ruche.PolicyTwoChoices:
		return p.twoChoices(s)
	case ruche.PolicyClientHash:
		if p.key.client.IsValid() {
			return p.byClient(s)
		}
	}
	return p.inTurn(s)
}

// inlineWords is how many words of a set find room on the stack.
const inlineWords = 4

// set is a set of places among a route's choices.
type set []uint64

func (s set) add(i int)      { s[i/64] |= 1 << (i % 64) }
func (s set) remove(i int)   { s[i/64] &^= 1 << (i % 64) }
func (s set) has(i int) bool { return s[i/64]&(1<<(i%64)) != 0 }

// fill makes the places below n the members of an empty set.
func (s set) fill(n int) {
	for w := range s {
		s[w] = 1<<min(n-64*w, 64) - 1
	}
}

func (s set) addAll(o set) {
	for w := range s {
		s[w] |= o[w]
	}
}

func (s set) count() int {
	n := 0
	for _, w := range s {
		n += bits.OnesCount64(w)
	}
	return n
}

// members yields the members in order.
func (s set) members(yield func(int) bool) {
	for w, rest := range s {
		for ; rest != 0; rest &= rest - 1 {
			if !yield(w*64 + bits.TrailingZeros64(rest)) {
				return
			}
		}
	}
}

// nth returns member k, counted from 0; the set must have more than k.
func (s set) nth(k int) int {
	for w, rest := range s {
		n := bits.OnesCount64(rest)
		if k >= n {
			k -= n
			continue
		}
		if rest&(rest+1) == 0 {
			return w*64 + k // there are no gaps
		}
		for range k {
			rest &= rest - 1
		}
		return w*64 + bits.TrailingZeros64(rest)
	}
	return -1
}
