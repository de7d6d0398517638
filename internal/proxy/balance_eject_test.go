package proxy

import (
	"slices"
	"testing"
	"time"

	"github.com/ruche-project/ruche"
)

func TestEjectionsGrow(t *testing.T) {
	e := &endpointState{}
	now := epoch()
	var got []int
	for range 6 {
		e.failed(errTest, now, true)
		e.failed(errTest, now.Add(time.Millisecond), true) // a request at the same time: no reason to double
		until := e.ejectedUntil(now)
		got = append(got, int(until.Sub(now).Seconds()))
		now = until
	}
	if want := []int{5, 10, 20, 40, 60, 60}; !slices.Equal(got, want) {
		t.Errorf("ejected for %v seconds, want %v", got, want)
	}
	e.answered()
	if e.cooling(now) || e.failingFor(now) != 0 {
		t.Error("an answer does not take it back")
	}
	e.failed(errTest, now, true)
	if d := e.ejectedUntil(now).Sub(now); d != ejectFirst {
		t.Errorf("after an answer the next ejection takes %s, want %s", d, ejectFirst)
	}
}

func TestWhatEjects(t *testing.T) {
	const unreachable, broken, fine = "unreachable", "broken", "fine"
	declared := &ruche.Eject{Failures: 2, Time: 15 * time.Second}
	for _, tc := range []struct {
		name  string
		eject *ruche.Eject
		done  []any // strings, and the status codes of answers
		want  time.Duration
	}{
		{"a connection that does not come about", nil, []any{unreachable}, 5 * time.Second},
		{"two broken exchanges", nil, []any{broken, broken}, 0},
		{"three broken exchanges", nil, []any{broken, broken, broken}, 5 * time.Second},
		{"three, but not in a row", nil, []any{broken, broken, fine, broken}, 0},
		{"gateway failures, not declared", nil, []any{502, 503, 504, 502, 503}, 0},
		{"gateway failures, declared", declared, []any{502, 504}, 15 * time.Second},
		{"a gateway failure and a broken exchange", declared, []any{503, broken}, 15 * time.Second},
		{"gateway failures with an answer in between", declared, []any{502, 200, 502}, 0},
		{"other failures", declared, []any{500, 500, 404}, 0},
		{"unreachable with a rule", declared, []any{unreachable}, 15 * time.Second},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, r := snap(balanced(2, func(r *ruche.Route) { r.Eject = tc.eject }), nil)
			e := r.all[0]
			for _, d := range tc.done {
				switch d := d.(type) {
				case int:
					e.answeredWith(d, epoch())
				case string:
					if d == fine {
						e.answered()
					} else {
						e.failed(errTest, epoch(), d == unreachable)
					}
				}
			}
			got := time.Duration(0)
			if until := e.ejectedUntil(epoch()); !until.IsZero() {
				got = until.Sub(epoch())
			}
			if got != tc.want {
				t.Errorf("ejected for %s, want %s", got, tc.want)
			}
		})
	}
}

func TestTheStrictestRuleCounts(t *testing.T) {
	strict, lax := &ruche.Eject{Failures: 1}, &ruche.Eject{Failures: 9}
	for _, tc := range []struct{ a, b, want *ruche.Eject }{{nil, nil, nil}, {nil, lax, lax}, {lax, nil, lax}, {lax, strict, strict}, {strict, lax, strict}} {
		if got := stricter(tc.a, tc.b); got != tc.want {
			t.Errorf("of %v and %v: %v", tc.a, tc.b, got)
		}
	}
}

// out makes endpoints fail: by connection (lost), by exchanges (doubtful), by the check (unwell).
func out(r *routeState, lost, doubtful, unwell string) {
	for _, l := range lost {
		r.all[l-'a'].failed(errTest, epoch(), true)
	}
	for _, l := range doubtful {
		for range ejectAfter {
			r.all[l-'a'].failed(errTest, epoch(), false)
		}
	}
	for _, l := range unwell {
		r.checks[l-'a'].down.Store(true)
	}
}

func TestWhoIsAskedWhenSomeFail(t *testing.T) {
	for _, tc := range []struct {
		name                   string
		lost, doubtful, unwell string
		want                   string // the order of a request's tries
	}{
		{"none", "", "", "", "bcda"},
		{"a lost one is the last choice", "b", "", "", "cdab"},
		{"so are three", "bcd", "", "", "acdb"},
		{"all are lost", "abcd", "", "", "bcda"},
		{"half may be ejected", "", "bc", "", "dacb"},
		{"more than half may not", "", "bcd", "", "bcda"},
		{"half of those that can be reached", "ab", "c", "", "dbca"},
		{"all of those that can be reached", "ab", "cd", "", "dcba"},
		{"an unwell one is not asked", "", "", "b", "cda"},
		{"not even when the others are lost", "acd", "", "b", "cda"},
		{"unless all are unwell", "", "", "abcd", "bcda"},
		{"unwell goes before lost", "b", "", "b", "cda"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, r := snap(balanced(4, func(r *ruche.Route) { r.Check = &ruche.Check{Path: "/up"} }), nil)
			out(r, tc.lost, tc.doubtful, tc.unwell)
			if got := order(r, pickKey{}, epoch()); got != tc.want {
				t.Errorf("%s, want %s", got, tc.want)
			}
		})
	}
}

func TestTheOnlyEndpointIsAlwaysAsked(t *testing.T) {
	_, r := snap(balanced(1, func(r *ruche.Route) { r.Check = &ruche.Check{Path: "/up"} }), nil)
	out(r, "a", "a", "a")
	if got := order(r, pickKey{}, epoch()); got != "a" {
		t.Errorf("%s, want a", got)
	}
}

func TestAnEjectedEndpointComesBackWithOneRequest(t *testing.T) {
	_, r := snap(balanced(2, nil), nil)
	a := r.all[0]
	a.failed(errTest, epoch(), true)
	later := epoch().Add(ejectFirst)
	if got := picks(r, 3, later.Add(-1)); got != "bbb" {
		t.Errorf("while it is ejected: %s, want b alone", got)
	}
	if got := picks(r, 6, later); got != "babbbb" && got != "abbbbb" {
		t.Errorf("afterwards: %s, want a once", got)
	}
	if got := picks(r, 4, later.Add(comeBackEvery)); got != "babb" && got != "abbb" {
		t.Errorf("when it has not answered for a while: %s, want a once", got)
	}
	a.failed(errTest, later, true)
	if d := a.ejectedUntil(later).Sub(later); d != 2*ejectFirst {
		t.Errorf("the attempt failed, and it is ejected for %s", d)
	}
	a.answered()
	if got := picks(r, 4, later); got != "abab" && got != "baba" {
		t.Errorf("it has answered, and gets %s", got)
	}
}

func TestACheckThatReachesAnEndpointTakesItBack(t *testing.T) {
	_, r := snap(balanced(4, nil), nil)
	out(r, "a", "b", "")
	r.all[0].reached()
	r.all[1].reached()
	if r.all[0].cooling(epoch()) || !r.all[1].cooling(epoch()) {
		t.Error("want the lost one back, and not the one whose exchanges fail")
	}
}

func TestRetryBudget(t *testing.T) {
	for _, tc := range []struct {
		name     string
		requests []int // in each second
		at       int   // the second in which retries are asked for
		want     int
	}{
		{"the floor", nil, 0, 10},
		{"few requests", []int{20}, 0, 10},
		{"a fifth of the requests", []int{200}, 0, 40},
		{"of the last ten seconds", []int{200, 0, 0, 100, 0, 0, 0, 0, 0, 0}, 9, 60},
		{"older ones do not count", []int{200, 100, 0, 0, 0, 0, 0, 0, 0, 0, 0}, 10, 20},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var b budget
			for s, n := range tc.requests {
				for range n {
					b.request(epoch().Add(time.Duration(s) * time.Second))
				}
			}
			now := epoch().Add(time.Duration(tc.at) * time.Second)
			got := 0
			for range 500 {
				if b.retry(now) {
					got++
				}
			}
			if got != tc.want {
				t.Errorf("%d retries, want %d", got, tc.want)
			}
		})
	}
}

// A site of which every exchange fails gets a fifth more of its load, not a multiple.
func TestADyingSiteIsNotRetriedToDeath(t *testing.T) {
	_, r := snap(balanced(4, nil), nil)
	requests, tries, refused := 0, 0, 0
	for i := range 20_000 { // 1000 a second for 20 seconds
		now := epoch().Add(time.Duration(i) * time.Millisecond)
		requests++
		p := r.picker(pickKey{})
		for e := p.next(now); e != nil; e = p.next(now) {
			tries++
			e.failed(errTest, now, false)
		}
		if p.outOfBudget() {
			refused++
		}
	}
	if tries > requests*123/100 || tries < requests*118/100 {
		t.Errorf("%d tries for %d requests, want about 20 %% more", tries, requests)
	}
	if refused < requests/2 {
		t.Errorf("%d requests learned that the budget is spent", refused)
	}
}

func TestRequestsThatComeAgain(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(*endpointState)
		want   int // of 50 go through
	}{
		{"the endpoint is dead", func(*endpointState) {}, budgetFloor},
		{"it has answered one of them", (*endpointState).answered, 50},
		{"it has been started anew", func(e *endpointState) { e.turn(false); e.turn(true) }, 50},
	} {
		_, r := snap(balanced(1, nil), nil)
		r.all[0].failed(errTest, epoch(), true)
		tc.change(r.all[0])
		n := 0
		for range 50 {
			p := r.picker(pickKey{again: true})
			if p.next(epoch()) != nil {
				n++
			}
		}
		if n != tc.want {
			t.Errorf("%s: %d went through, want %d", tc.name, n, tc.want)
		}
	}
}

// An endpoint that is passed over was sent nothing: the next one is the request's first, also when the budget is spent.
func TestWhatIsPassedOverCostsNoRetry(t *testing.T) {
	_, r := snap(balanced(4, nil), nil)
	for r.life.budget.retry(epoch()) {
	}
	p := r.picker(pickKey{})
	for i := range 4 {
		if p.next(epoch()) == nil {
			t.Fatalf("after %d endpoints that were passed over there is none", i)
		}
		p.passOver()
	}
	p = r.picker(pickKey{})
	if p.next(epoch()) == nil || p.next(epoch()) != nil || !p.outOfBudget() {
		t.Error("an endpoint that was sent the request costs no retry")
	}
}
