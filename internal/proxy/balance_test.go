package proxy

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/proxy/table"
)

// balanced is a route of a file with n endpoints, of which one after the other is called a, b, c and so on.
func balanced(n int, change func(*ruche.Route)) ruche.Route {
	r := ruche.Route{Name: "a.test/", Vocabulary: ruche.VocabularyFile, Source: "f.yaml:1", Match: ruche.Match{Host: "a.test", Path: "/"}}
	for i := range n {
		r.Endpoints = append(r.Endpoints, fmt.Sprintf("http://10.0.%d.%d:80", i/200, i%200+1))
	}
	if change != nil {
		change(&r)
	}
	return r
}

// snap compiles one route and returns it as requests see it.
func snap(r ruche.Route, before *snapshot) (*snapshot, *routeState) {
	w := ruche.Workload{ID: "file/f.yaml", Kind: ruche.KindFile, Name: "f.yaml"}
	s := newSnapshot(table.Compile(nil, map[string]*ruche.Declaration{w.ID: {Workload: w, Routes: []ruche.Route{r}}}, nil), before)
	return s, s.routes[0]
}

func policy(p ruche.Policy, weights ...int) func(*ruche.Route) {
	return func(r *ruche.Route) { r.Policy, r.Weights = p, weights }
}

// letter names an endpoint by its place in the route.
func letter(r *routeState, e *endpointState) string {
	if e == nil {
		return "-"
	}
	return string(rune('a' + slices.Index(r.all, e)))
}

// picks has n requests choose their endpoint.
func picks(r *routeState, n int, now time.Time) string {
	var b strings.Builder
	for range n {
		p := r.picker(pickKey{})
		b.WriteString(letter(r, p.next(now)))
	}
	return b.String()
}

// order lists all that one request may try.
func order(r *routeState, k pickKey, now time.Time) string {
	var b strings.Builder
	p := r.picker(k)
	for e := p.next(now); e != nil; e = p.next(now) {
		b.WriteString(letter(r, e))
	}
	return b.String()
}

func epoch() time.Time { return time.Unix(1_800_000_000, 0) }

var errTest = errors.New("test")

func TestTurns(t *testing.T) {
	for _, tc := range []struct {
		name    string
		n       int
		weights []int
		lost    string
		want    string
	}{
		{"one", 1, nil, "", "aaa"},
		{"three", 3, nil, "", "bcabca"},
		{"equal weights", 3, []int{7, 7, 7}, "", "bcabca"},
		{"the share of a lost one is spread evenly", 4, nil, "c", "bdabdabda"},
		{"smooth", 3, []int{5, 1, 1}, "", "aabacaaaabacaa"},
		{"three to one", 2, []int{3, 1}, "", "aabaaaba"},
		{"what is missing weighs 1", 3, []int{2}, "", "abcaabca"},
		{"weight 0 gets nothing", 3, []int{1, 0, 1}, "", "cacaca"},
		{"weighted without a lost one", 3, []int{4, 2, 1}, "a", "bcbbcb"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, r := snap(balanced(tc.n, policy("", tc.weights...)), nil)
			for _, l := range tc.lost {
				r.all[l-'a'].failed(errTest, epoch(), true)
			}
			if got := picks(r, len(tc.want), epoch()); got != tc.want {
				t.Errorf("%s, want %s", got, tc.want)
			}
		})
	}
}

func TestEveryEndpointIsTriedOnce(t *testing.T) {
	for _, p := range []ruche.Policy{ruche.PolicyRoundRobin, ruche.PolicyLeastConnections, ruche.PolicyTwoChoices, ruche.PolicyClientHash} {
		for _, n := range []int{0, 1, 2, 9, 64, 65, 300} {
			for _, weights := range [][]int{nil, {5}} {
				_, r := snap(balanced(n, policy(p, weights...)), nil)
				for range 5 * n { // so that the budget allows for it
					r.life.budget.request(epoch())
				}
				seen := map[*endpointState]bool{}
				pick := r.picker(pickKey{client: netip.MustParseAddr("192.0.2.1")})
				for e := pick.next(epoch()); e != nil; e = pick.next(epoch()) {
					if seen[e] {
						t.Fatalf("%s, %d endpoints: %s is tried twice", p, n, e.url)
					}
					seen[e] = true
				}
				if len(seen) != n || pick.outOfBudget() {
					t.Errorf("%s, weights %v: %d of %d endpoints are tried", p, weights, len(seen), n)
				}
			}
		}
	}
}

// A request that begins at an endpoint that breaks it off must not make the next one begin there too.
func TestRetriesDoNotMoveTheTurn(t *testing.T) {
	_, r := snap(balanced(2, nil), nil)
	var got []string
	for range 4 {
		got = append(got, order(r, pickKey{}, epoch()))
	}
	if want := []string{"ba", "ab", "ba", "ab"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestSharesSurviveSwaps(t *testing.T) {
	declared := balanced(2, policy("", 3, 1))
	s, r := snap(declared, nil)
	var got strings.Builder
	for range 8 {
		got.WriteString(picks(r, 1, epoch()))
		s, r = snap(declared, s)
	}
	if got.String() != "aabaaaba" {
		t.Errorf("%s, want as if there were no swaps", got.String())
	}
}

func TestLeastConnections(t *testing.T) {
	for _, tc := range []struct {
		name    string
		weights []int
		running []int64
		want    string
	}{
		{"the least", nil, []int64{2, 1, 3}, "bbb"},
		{"equal ones take turns", nil, []int64{2, 1, 1, 1}, "cdbcdb"},
		{"for the weight", []int{1, 3, 1}, []int64{1, 2, 2}, "bb"},
		{"equal for the weight", []int{1, 2}, []int64{1, 2}, "bab"},
		{"idle ones by weight", []int{3, 1}, []int64{0, 0}, "aabaaaba"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, r := snap(balanced(len(tc.running), policy(ruche.PolicyLeastConnections, tc.weights...)), nil)
			for i, n := range tc.running {
				r.all[i].inFlight.Store(n)
			}
			if got := picks(r, len(tc.want), epoch()); got != tc.want {
				t.Errorf("%s, want %s", got, tc.want)
			}
		})
	}
}

func TestTwoChoices(t *testing.T) {
	count := func(weights []int, running ...int64) map[rune]int {
		_, r := snap(balanced(len(running), policy(ruche.PolicyTwoChoices, weights...)), nil)
		for i, n := range running {
			r.all[i].inFlight.Store(n)
		}
		n := map[rune]int{}
		for _, l := range picks(r, 3000, epoch()) {
			n[l]++
		}
		return n
	}
	if n := count(nil, 5, 0, 9); n['c'] != 0 || n['a'] == 0 || n['b'] < n['a'] {
		t.Errorf("%v: the busiest of three is never the better of two, the idlest always", n)
	}
	if n := count(nil, 1, 1, 1); n['a'] < 800 || n['b'] < 800 || n['c'] < 800 {
		t.Errorf("%v: equally busy endpoints get about the same", n)
	}
	if n := count([]int{1, 4}, 2, 7); n['b'] != 3000 {
		t.Errorf("%v: 7 of weight 4 are less than 2 of weight 1", n)
	}
	if n := count([]int{3, 1}, 0, 0); n['a'] < 2000 || n['a'] > 2500 {
		t.Errorf("%v: idle endpoints get about what they weigh", n)
	}
}

func clients(n int) []netip.Addr {
	var list []netip.Addr
	for i := range n {
		list = append(list, netip.AddrFrom4([4]byte{198, 51, byte(i >> 8), byte(i)}))
	}
	return list
}

func homes(r *routeState, list []netip.Addr) []string {
	home := make([]string, len(list))
	for i, c := range list {
		p := r.picker(pickKey{client: c})
		home[i] = letter(r, p.next(epoch()))
	}
	return home
}

func TestClientHash(t *testing.T) {
	for _, tc := range []struct {
		name    string
		weights []int
		share   []int // of 4000 clients
	}{
		{"even", nil, []int{1000, 1000, 1000, 1000}},
		{"by weight", []int{4, 2, 1, 1}, []int{2000, 1000, 500, 500}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, r := snap(balanced(4, policy(ruche.PolicyClientHash, tc.weights...)), nil)
			list := clients(4000)
			before := homes(r, list)
			n := map[string]int{}
			for _, h := range before {
				n[h]++
			}
			for i, want := range tc.share {
				if got := n[string(rune('a'+i))]; got < want*85/100 || got > want*115/100 {
					t.Errorf("endpoint %c has %d clients, want about %d", 'a'+i, got, want)
				}
			}
			r.all[1].failed(errTest, epoch(), true)
			moved := homes(r, list)
			to := map[string]int{}
			for i := range list {
				if before[i] != "b" && moved[i] != before[i] {
					t.Fatalf("client %s of %s moved to %s because b is lost", list[i], before[i], moved[i])
				}
				if before[i] == "b" {
					to[moved[i]]++
				}
			}
			if len(to) != 3 {
				t.Errorf("the clients of b went to %v, want all the others", to)
			}
			r.all[1].answered()
			if !slices.Equal(homes(r, list), before) {
				t.Error("b has other clients than before it was lost")
			}
			// An endpoint that is added takes its clients from all, and moves no others.
			_, five := snap(balanced(5, policy(ruche.PolicyClientHash, tc.weights...)), s)
			for i, h := range homes(five, list) {
				if h != before[i] && h != "e" {
					t.Fatalf("client %s moved from %s to %s because e is new", list[i], before[i], h)
				}
			}
		})
	}
}

func TestClientHashTakesAddressesAsTheyAre(t *testing.T) {
	_, r := snap(balanced(16, policy(ruche.PolicyClientHash)), nil)
	for _, text := range []string{"192.0.2.7", "198.51.100.1", "203.0.113.200"} {
		plain := netip.MustParseAddr(text)
		if got := homes(r, []netip.Addr{plain, netip.AddrFrom16(plain.As16())}); got[0] != got[1] {
			t.Errorf("%s and its form in IPv6 go to %v", text, got)
		}
	}
	if got := picks(r, 3, epoch()); got != "bcd" {
		t.Errorf("without an address: %s, want turns", got)
	}
}

func TestPickingAllocatesNothing(t *testing.T) {
	for _, b := range pickBenchmarks() {
		_, r := snap(balanced(b.n, b.change), nil)
		k := pickKey{client: netip.MustParseAddr("192.0.2.1"), cookie: []byte(r.all[0].token)}
		now := time.Now()
		if n := testing.AllocsPerRun(100, func() {
			p := r.picker(k)
			e := p.next(now)
			e.inFlight.Add(1)
			e.answered()
			e.inFlight.Add(-1)
		}); n != 0 {
			t.Errorf("%s: %v allocations", b.name, n)
		}
	}
}

type pickBenchmark struct {
	name   string
	n      int
	change func(*ruche.Route)
}

func pickBenchmarks() []pickBenchmark {
	var list []pickBenchmark
	for _, n := range []int{2, 16} {
		for _, p := range []ruche.Policy{ruche.PolicyRoundRobin, ruche.PolicyLeastConnections, ruche.PolicyTwoChoices, ruche.PolicyClientHash} {
			list = append(list,
				pickBenchmark{fmt.Sprintf("%s/%d", p, n), n, policy(p)},
				pickBenchmark{fmt.Sprintf("%s/%d weighted", p, n), n, policy(p, 3)})
		}
		list = append(list, pickBenchmark{fmt.Sprintf("sticky/%d", n), n, func(r *ruche.Route) { r.Sticky = &ruche.Sticky{} }})
	}
	return list
}

func BenchmarkPick(b *testing.B) {
	for _, bb := range pickBenchmarks() {
		_, r := snap(balanced(bb.n, bb.change), nil)
		k := pickKey{client: netip.MustParseAddr("192.0.2.1"), cookie: []byte(r.all[bb.n-1].token)}
		now := time.Now()
		b.Run(bb.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				p := r.picker(k)
				if p.next(now) == nil {
					b.Fatal("no endpoint")
				}
			}
		})
	}
}

// TestPickingInParallel is for the race detector: requests, failures, answers and swaps at the same time.
func TestPickingInParallel(t *testing.T) {
	declared := balanced(5, policy("", 3, 2))
	var mu sync.Mutex
	s, _ := snap(declared, nil)
	var tasks sync.WaitGroup
	for g := range 4 {
		tasks.Go(func() {
			for i := range 500 {
				mu.Lock()
				if i%50 == 0 {
					s, _ = snap(declared, s)
				}
				r := s.routes[0]
				mu.Unlock()
				now := epoch().Add(time.Duration(i) * 50 * time.Millisecond)
				p := r.picker(pickKey{})
				e := p.next(now)
				if e == nil {
					t.Error("no endpoint")
					return
				}
				if (i+g)%3 == 0 {
					e.failed(errTest, now, i%2 == 0)
				} else {
					e.answered()
				}
			}
		})
	}
	tasks.Wait()
}
