package acmeserver

import (
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/cluster"
)

// bound opens an account by an external account key of its own, as another client than all others.
func (r *rig) bound() *raw {
	r.t.Helper()
	c := r.raw()
	c.open(map[string]any{"externalAccountBinding": c.bind(r.makeKey(ruche.ACMEKeySpec{Names: []string{"*"}}))})
	return c
}

// TestOneClientHasHalf has a client use up what it can, at all nodes and by several accounts: others order as before, until all together have what there is.
func TestOneClientHasHalf(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *Config) { c.Limits = Limits{AllOrders: 6, AllAccounts: 6} })
	refused := func(what string, a reply, text string) {
		t.Helper()
		if a.kind() != string(rateLimited) || a.status != http.StatusTooManyRequests || a.head.Get("Retry-After") != "3600" || !strings.Contains(string(a.text), text) {
			t.Errorf("%s: %d %s %v, want %q", what, a.status, a.text, a.head, text)
		}
	}
	begun := func(what string, a reply) {
		t.Helper()
		if a.status != http.StatusCreated {
			t.Errorf("%s: %d %s", what, a.status, a.text)
		}
	}
	many := []*raw{r.opened(), r.opened(), r.opened()}
	for i, c := range many {
		begun("its share", c.order(nil, fmt.Sprintf("a%d.dept.example", i)))
	}
	refused("an order beyond its share", many[0].order(nil, "b.dept.example"), "the network 127.0.0.0/24 has 3 orders")
	refused("an account beyond its share", r.raw().post("/new-account", map[string]any{}), "the network 127.0.0.0/24 has 3 accounts")
	stands := func(subject string) bool {
		for _, w := range r.health.List() {
			if w.Code == ruche.CodeACMEServerFull && w.Subject == subject && w.Hint != "" {
				return true
			}
		}
		return false
	}
	wait(t, "a warning tells of it", func() bool {
		return stands("orders of the network 127.0.0.0/24") && stands("accounts of the network 127.0.0.0/24")
	})

	one, two := r.bound(), r.bound()
	begun("another client", one.order(nil, "a.dept.example"))
	begun("another client", one.order(nil, "b.dept.example"))
	begun("a third one", two.order(nil, "a.dept.example"))
	refused("an order beyond what there is", two.order(nil, "b.dept.example"), "there are 6 orders")
	wait(t, "a warning tells of all", func() bool { return stands("orders") })
	for _, event := range []string{"order refused", "account refused"} {
		if !r.log.has(event, "127.0.0.0/24", `"audit":true`) {
			t.Errorf("the log does not tell: %s", event)
		}
	}
	r.skew.Store(int64(pendingLife + failedLife + time.Minute))
	wait(t, "what is over is forgotten, and the warnings with it", func() bool {
		for _, n := range r.nodes {
			if err := n.prune(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		return !stands("orders") && !stands("orders of the network 127.0.0.0/24")
	})
	begun("later", many[0].order(nil, "b.dept.example"))
}

// TestLimitsHoldAtAllNodesAtOnce asks all nodes at the same moment: none of them has heard of what the others let pass, and no limit is exceeded all the same.
func TestLimitsHoldAtAllNodesAtOnce(t *testing.T) {
	t.Parallel()
	const limit, tries = 5, 30
	r := newRig(t, func(c *Config) { c.Limits = Limits{Orders: limit, Accounts: limit} })
	var accounts atomic.Int32
	first := r.opened()
	parallel(tries, func(int) {
		if r.raw().post("/new-account", map[string]any{}).status == http.StatusCreated {
			accounts.Add(1)
		}
	})
	if n := accounts.Load() + 1; n > limit {
		t.Errorf("%d accounts were opened, at most %d may be", n, limit)
	}
	var orders atomic.Int32
	parallel(tries, func(i int) {
		if first.order(nil, fmt.Sprintf("a%d.dept.example", i)).status == http.StatusCreated {
			orders.Add(1)
		}
	})
	if n := orders.Load(); n > limit {
		t.Errorf("%d orders were begun, at most %d may be", n, limit)
	}
	for i := 0; orders.Load() < limit; i++ { // what was refused has left nothing behind
		if a := first.order(nil, fmt.Sprintf("b%d.dept.example", i)); a.status != http.StatusCreated {
			t.Fatalf("with %d orders: %d %s", orders.Load(), a.status, a.text)
		}
		orders.Add(1)
	}
	if n := len(r.orders()); n != limit {
		t.Errorf("the state has %d orders, want %d", n, limit)
	}
	all, err := cluster.NewBucket[Account](r.state, BucketAccounts).List(t.Context())
	if err != nil || len(all) != 2*int(accounts.Load()+1) { // with the entries of their keys
		t.Errorf("the state has %d rows of %d accounts, %v", len(all), accounts.Load()+1, err)
	}
}

func TestWhoseShare(t *testing.T) {
	for from, want := range map[string]string{
		"10.1.2.3/32": "the network 10.1.2.0/24", "10.1.2.250/32": "the network 10.1.2.0/24", "10.1.3.3/32": "the network 10.1.3.0/24", "fd00:1:2:3::/64": "the network fd00:1:2:3::/64",
	} {
		a := Account{From: netip.MustParsePrefix(from)}
		if got := a.client(); got != want {
			t.Errorf("%s: %s, want %s", from, got, want)
		}
		a.Bound = "k"
		if got := a.client(); got != "the external account key k" {
			t.Errorf("%s with a key: %s", from, got)
		}
	}
	if got := (Order{Account: "of before"}).client(); got != "of before" {
		t.Errorf("an order of before there were shares is %q's", got)
	}
}

// TestJobsAreShared fills the queue for one client: another one's order is begun all the same.
func TestJobsAreShared(t *testing.T) {
	j := newJobs()
	for i := range 2 * maxJobsQueued {
		j.add(fmt.Sprint("a", i), &Order{Account: fmt.Sprint("of many ", i%20), Client: "one"})
	}
	j.add("b", &Order{Account: "another", Client: "another"})
	begun := j.next()
	its := 0
	for _, id := range begun {
		if id != "b" {
			its++
		}
	}
	if its != share(maxJobs) || len(begun) != its+1 {
		t.Errorf("%d jobs are begun, %d of them of the client that fills the queue", len(begun), its)
	}
}
