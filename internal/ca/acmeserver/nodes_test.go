package acmeserver

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/ca"
	"github.com/ruche-project/ruche/internal/cluster"
)

// What a certificate costs the state.
func TestFewWritesAndBytes(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	c := r.opened()
	r.serveHTTP01(c.answers())
	c.obtain(nil, "first.dept.example") // the account is noted to be used
	before := r.writes.Load()
	order := c.order(nil, "www.dept.example")
	pending, err := json.Marshal(r.orders()[lastPart(order.head.Get("Location"))])
	if err != nil {
		t.Fatal(err)
	}
	c.prove(order)
	c.post(order.str("finalize"), map[string]any{"csr": csrFor(t, newECKey(t), "www.dept.example")})
	if n := r.writes.Load() - before; n > 6 {
		t.Errorf("a certificate takes %d writes, the authority's log included", n)
	}
	issued, err := json.Marshal(r.orders()[lastPart(order.head.Get("Location"))])
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("an order has %d bytes, with a certificate %d", len(pending), len(issued))
	if len(pending) > 512 || len(issued) > 4096 {
		t.Errorf("an order has %d bytes, with a certificate %d", len(pending), len(issued))
	}
}

func lastPart(url string) string { return url[strings.LastIndexByte(url, '/')+1:] }

// A node dies while it looks for an answer: another one goes on.
func TestNodeDiesWhileProving(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	c := r.opened()
	answers := c.answers()
	var asked atomic.Int32
	r.serveHTTP01(func(token string) (string, bool) {
		if asked.Add(1) == 1 {
			r.stops[0]()
		}
		return answers(token)
	})
	r.behind(r.nodes[0])
	order := c.order(nil, "a.dept.example")
	url := order.strs("authorizations")[0]
	challenge := c.post(url, nil).body["challenges"].([]any)[0].(map[string]any)
	c.post(challenge["url"].(string), map[string]any{})
	wait(t, "the node has been asked", func() bool { return asked.Load() > 0 })
	r.stops[0]() // returns when the node has ended
	r.behind(r.nodes[1:]...)
	if a := c.post(url, nil); a.str("status") != "pending" {
		t.Fatalf("the authorization: %s", a.text)
	}
	r.skew.Store(int64(2 * time.Minute))
	c.until(order.head.Get("Location"), "ready")
}

// failing is an authority that cannot sign for a while.
type failing struct {
	Authority
	left atomic.Int32
}

func (f *failing) Issue(ctx context.Context, r ca.Request) (ca.Issued, error) {
	if f.left.Add(-1) >= 0 {
		return ca.Issued{}, errors.New("the state has no quorum")
	}
	return f.Authority.Issue(ctx, r)
}

// The authority cannot sign when it is asked to: the order is finished later, by any node.
func TestSigningIsFinishedLater(t *testing.T) {
	t.Parallel()
	var authority *failing
	r := newRig(t, func(c *Config) {
		authority = &failing{Authority: c.Authority}
		c.Authority = authority
	})
	c := r.opened()
	r.serveHTTP01(c.answers())
	order := c.order(nil, "a.dept.example")
	c.prove(order)
	authority.left.Store(1)
	a := c.post(order.str("finalize"), map[string]any{"csr": csrFor(t, newECKey(t), "a.dept.example")})
	if a.str("status") != "processing" || a.head.Get("Retry-After") == "" {
		t.Fatalf("%d %s", a.status, a.text)
	}
	r.behind(r.nodes[1:]...)
	r.skew.Store(int64(2 * time.Minute))
	done := c.until(order.head.Get("Location"), "valid")
	r.verify(c.post(done.str("certificate"), nil).text, "a.dept.example")
}

// The same request at all nodes at once, as of a client that repeats itself: one certificate.
func TestFinalizedAtOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	c := r.opened()
	r.serveHTTP01(c.answers())
	order := c.order(nil, "a.dept.example")
	c.prove(order)
	csr := map[string]any{"csr": csrFor(t, newECKey(t), "a.dept.example")}
	parallel(6, func(int) { c.post(order.str("finalize"), csr) })
	c.until(order.head.Get("Location"), "valid")
	issued, err := cluster.NewBucket[ca.Entry](r.state, ca.BucketIssued).List(t.Context())
	if err != nil || len(issued) != 1 {
		t.Errorf("%d certificates were issued, %v", len(issued), err)
	}
}

// The same new key at all nodes at once: one account.
func TestAccountOpenedAtOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	c := r.raw()
	var mu sync.Mutex
	at := map[string]int{}
	parallel(6, func(int) {
		a := c.post("/new-account", map[string]any{})
		mu.Lock()
		defer mu.Unlock()
		at[a.head.Get("Location")]++
	})
	if len(at) != 1 || at[""] != 0 {
		t.Errorf("the accounts: %v", at)
	}
	all, err := cluster.NewBucket[Account](r.state, BucketAccounts).List(t.Context())
	if err != nil || len(all) != 2 { // with the entry of its key
		t.Errorf("%d entries, %v", len(all), err)
	}
}

func parallel(n int, fn func(i int)) {
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { fn(i) })
	}
	all.Wait()
}

// All that is over is forgotten, and nothing sooner.
func TestForgets(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	orders, accounts := cluster.NewBucket[Order](r.state, BucketOrders), cluster.NewBucket[Account](r.state, BucketAccounts)
	used, idle := r.opened(), r.opened()
	r.serveHTTP01(used.answers())
	used.obtain(nil, "a.dept.example")
	idle.order(nil, "b.dept.example")
	spec := ruche.ACMEKeySpec{Names: []string{"*"}, Expires: r.now().Add(time.Hour)}
	if _, err := r.keys.MakeKey(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	count := func() (o, a, k int) {
		allOrders, err1 := orders.List(t.Context())
		allAccounts, err2 := accounts.List(t.Context())
		keys, err3 := r.keys.ListKeys(t.Context())
		if err := errors.Join(err1, err2, err3); err != nil {
			t.Fatal(err)
		}
		return len(allOrders), len(allAccounts), len(keys.Keys)
	}
	for _, step := range []struct {
		at                     time.Duration
		orders, accounts, keys int
	}{
		{0, 2, 4, 1},
		{pendingLife + failedLife/2, 2, 4, 1},
		{pendingLife + 2*failedLife, 1, 4, 1},
		{keptLife + 30*time.Minute, 0, 4, 0},
		{unusedLife + time.Hour, 0, 2, 0},
		{(45 + 30 + 90 + 1) * 24 * time.Hour, 0, 0, 0},
	} {
		r.skew.Store(int64(step.at))
		for _, n := range r.nodes {
			if err := n.prune(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		wait(t, "what is over is forgotten", func() bool {
			o, a, k := count()
			return o == step.orders && a == step.accounts && k == step.keys
		})
	}
	r.settled()
	for _, n := range r.nodes {
		if sizes := n.orders.sizes(); len(sizes) != 0 {
			t.Errorf("a node still remembers orders: %v", sizes)
		}
	}
}

// Before the state is read nothing is answered.
func TestNotYetReady(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	s, err := New(r.nodes[0].cfg)
	if err != nil {
		t.Fatal(err)
	}
	r.behind(s)
	if a := r.raw().get("/directory"); a.status != http.StatusServiceUnavailable || a.head.Get("Retry-After") == "" {
		t.Errorf("%d %s", a.status, a.text)
	}
	for _, url := range []string{"", "ca.dept.example", "ftp://ca.dept.example", "https://ca.dept.example/acme?x=y"} {
		cfg := r.nodes[0].cfg
		cfg.URL = url
		if _, err := New(cfg); err == nil {
			t.Errorf("New takes the URL %q", url)
		}
	}
}
