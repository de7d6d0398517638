package proxy

import (
	"encoding/binary"
	"math"
	"math/bits"
	"math/rand/v2"
	"net/netip"
	"sync"
)

// inTurn is round robin: each of the set in turn where all weigh the same, else as often as its weight says, spread evenly.
func (p *picker) inTurn(s set) int {
	if p.route.even {
		return s.nth(int(p.position() % uint32(s.count())))
	}
	return p.route.shares.next(p.route.ready, s)
}

// position is the round robin's position for this request. Further tries of a request do not move it: else a route of two
// endpoints of which one fails would begin every request at the one that fails.
func (p *picker) position() uint32 {
	if !p.turned {
		p.turn, p.turned = p.route.life.turn.Add(1), true
	}
	return p.turn
}

// shares deals requests out by weight, as nginx's smooth weighted round robin does: everyone is owed its weight each time, the one that is
// owed most is chosen and pays what all were given together.
type shares struct {
	mu   sync.Mutex // held for a pass over the route's endpoints
	owed []int64    // by place among the choices
}

func (sh *shares) next(ready []choice, s set) int {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	best, total := -1, int64(0)
	for i := range s.members {
		total += ready[i].weight
		sh.owed[i] += ready[i].weight
		if best < 0 || sh.owed[i] > sh.owed[best] {
			best = i
		}
	}
	sh.owed[best] -= total
	return best
}

// leastBusy is least connections: the fewest running requests for the weight; those that are equal in it take turns.
func (p *picker) leastBusy(s set) int {
	var room [inlineWords]uint64
	equal := set(room[:])
	if len(s) > inlineWords {
		equal = make(set, len(s))
	}
	equal = equal[:len(s)]
	var least, weight int64
	for i := range s.members {
		c := &p.route.ready[i]
		n := c.endpoint.inFlight.Load()
		switch mine, theirs := n*weight, least*c.weight; {
		case weight == 0 || mine < theirs:
			least, weight = n, c.weight
			clear(equal)
			equal.add(i)
		case mine == theirs:
			equal.add(i)
		}
	}
	return p.inTurn(equal)
}

// twoChoices takes two at random and of them the one with fewer running requests for its weight.
func (p *picker) twoChoices(s set) int {
	n := s.count()
	if n == 1 {
		return s.nth(0)
	}
	first := rand.IntN(n)
	second := rand.IntN(n - 1)
	if second >= first {
		second++
	}
	i, k := s.nth(first), s.nth(second)
	a, b := &p.route.ready[i], &p.route.ready[k]
	busyA, busyB := a.endpoint.inFlight.Load()*b.weight, b.endpoint.inFlight.Load()*a.weight
	switch {
	case busyA < busyB:
		return i
	case busyA > busyB:
		return k
	case p.route.even || rand.Int64N(a.weight+b.weight) < a.weight:
		return i
	}
	return k
}

// byClient is rendezvous hashing: each endpoint draws a number from the client's address and its own identity, and the highest number wins.
// An endpoint that is lost moves its own clients only, to everyone else alike, and gets the same ones back.
func (p *picker) byClient(s set) int {
	client := hashAddr(p.key.client)
	best, highest := -1, 0.0
	if p.route.even {
		most := uint64(0)
		for i := range s.members {
			if h := draw(client, p.route.ready[i].endpoint.seed); best < 0 || h > most {
				best, most = i, h
			}
		}
		return best
	}
	for i := range s.members {
		c := &p.route.ready[i]
		// A number from 0 to 1, never one of the two: of such numbers u the largest -weight/log(u) belongs to each in proportion to its weight.
		// Since -log(u) is at least 1-u, most logarithms need not be taken.
		u := (float64(draw(client, c.endpoint.seed)>>11) + .5) / (1 << 53)
		if weight := float64(c.weight); best < 0 || weight > highest*(1-u) {
			if score := -weight / math.Log(u); best < 0 || score > highest {
				best, highest = i, score
			}
		}
	}
	return best
}

func hashAddr(a netip.Addr) uint64 {
	b := a.Unmap().As16()
	return mix(mix(binary.BigEndian.Uint64(b[:8])) ^ binary.BigEndian.Uint64(b[8:]))
}

// draw makes one random number of two, as wyhash does: the halves of their product, folded.
func draw(client, endpoint uint64) uint64 {
	high, low := bits.Mul64(client, endpoint)
	return high ^ low
}

// mix spreads every bit of x over all bits (the finalizer of splitmix64).
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
