package proxy

import (
	"sync/atomic"
	"time"
)

const (
	// budgetWindow is how many seconds back requests are counted for the retry budget.
	budgetWindow = 10
	// budgetShare is how many requests pay for one retry: 20 % of them may be repeated.
	budgetShare = 5
	// budgetFloor is how many retries each second has, however few requests there are.
	budgetFloor = 10
)

// budget bounds the retries of a route, so that a site that is failing does not get a multiple of its load on top: one retry for every five
// requests of the last ten seconds, and ten in every second all the same. (Finagle and Linkerd have the same three numbers.) It takes
// no lock; requests at the same instant may go a little over it.
type budget struct{ seconds [budgetWindow]budgetSecond }

// budgetSecond counts one second.
type budgetSecond struct {
	second            atomic.Int64 // of the Unix epoch
	requests, retries atomic.Int64
}

// request counts a request.
func (b *budget) request(now time.Time) { b.at(now.Unix()).requests.Add(1) }

// retry takes one retry out of the budget, and reports false when there is none.
func (b *budget) retry(now time.Time) bool {
	second := now.Unix()
	s := b.at(second)
	if s.retries.Add(1) <= budgetFloor {
		return true
	}
	var requests, retries int64
	for i := range b.seconds {
		if o := &b.seconds[i]; o.second.Load() > second-budgetWindow {
			requests += o.requests.Load()
			retries += o.retries.Load()
		}
	}
	if retries*budgetShare <= requests {
		return true
	}
	s.retries.Add(-1)
	return false
}

// at returns the counts of a second, which begin at zero with it.
func (b *budget) at(second int64) *budgetSecond {
	s := &b.seconds[second%budgetWindow]
	if old := s.second.Load(); old != second && s.second.CompareAndSwap(old, second) {
		s.requests.Store(0)
		s.retries.Store(0)
	}
	return s
}
