package daemon

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/certs/acme"
	"github.com/ruche-project/ruche/internal/certs/inventory"
	"github.com/ruche-project/ruche/internal/certs/vault"
	"github.com/ruche-project/ruche/internal/cluster"
	"github.com/ruche-project/ruche/internal/health"
)

// certificates answers for all certificates of the installation, on any node with the state.
type certificates struct {
	*Daemon
	sights  *cluster.Bucket[vault.Sight]
	watched []string // host:port
	// every is the time between two looks at the inventory.
	every time.Duration
	// last is the inventory as it was a while ago, for who asks often.
	last atomic.Pointer[[]ruche.CertificateInfo]
	// issuers are the internal authorities, likewise.
	issuers atomic.Pointer[[]ruche.AuthorityStatus]
	memory  inventory.Memory
}

func (d *Daemon) newCertificates(watched []string) *certificates {
	return &certificates{Daemon: d, watched: watched, every: inventoryLook, sights: cluster.NewBucket[vault.Sight](d.cluster, vault.BucketSights)}
}

// Certificates puts together what is known of certificates.
func (c *certificates) Certificates(ctx context.Context) (ruche.CertificateList, error) {
	in, silent, err := c.known(ctx)
	if err != nil {
		return ruche.CertificateList{}, err
	}
	list := inventory.List(in)
	list.Node, list.Warnings, list.Silent = c.node, c.health.List(), silent
	return list, nil
}

// known is what the inventory is made of, and since when edges are silent whose words do not count.
func (c *certificates) known(ctx context.Context) (in inventory.Input, silent map[string]time.Time, err error) {
	s, err := c.issuing.Snapshot(ctx)
	if err != nil {
		return in, nil, err
	}
	sights, err := c.sights.List(ctx)
	if err != nil {
		return in, nil, fmt.Errorf("cannot list certificates: %w", err)
	}
	in = inventory.Input{Now: time.Now(), Records: s.Records, States: s.States, Wants: wants(s.Wants), Served: byNode(s.Served), Sights: make(map[string]vault.Sight, len(sights)), Memory: &c.memory}
	for name, e := range sights {
		in.Sights[name] = e.Value
	}
	silent, err = c.hush(ctx, in.Served, in.Now)
	return in, silent, err
}

// quiet is how long an edge may not be heard of until what it last said it serves counts no more.
const quiet = 10 * time.Minute

// hush takes the edges out of served that are not there any more, and gives those of them that may come back, with when they were heard of last.
func (c *certificates) hush(ctx context.Context, served map[string]vault.Served, now time.Time) (silent map[string]time.Time, err error) {
	var seen map[string]time.Time
	if c.control != nil {
		if seen, err = c.control.lastSeen(ctx); err != nil {
			return nil, fmt.Errorf("cannot list certificates: %w", err)
		}
	}
	for name := range served {
		at, known := seen[name]
		switch {
		case name == c.node || known && now.Sub(at) < quiet:
			continue
		case known && silent == nil:
			silent = map[string]time.Time{name: at}
		case known:
			silent[name] = at
		}
		delete(served, name)
	}
	return silent, nil
}

// wants gives them as the inventory has them.
func wants(all []acme.Want) map[string]inventory.Want {
	by := make(map[string]inventory.Want, len(all))
	for _, w := range all {
		by[w.ID] = inventory.Want{
			Names: w.Spec.Names, Issuer: w.Terms.Name, Directory: w.Terms.Directory, Profile: w.Terms.Profile,
			Sources: []string{w.Spec.Source}, Problem: w.Problem, Hint: w.Hint, Waiting: w.Waiting,
			// A wildcard can be had: it wants a setting. What else an auto route cannot have, such as a name of one label, is told and nobody's failure.
			Optional: w.Mode == ruche.TLSAuto && !slices.ContainsFunc(w.Spec.Names, func(n string) bool { return strings.HasPrefix(n, "*.") }),
		}
	}
	return by
}

// byNode joins the rows of what edges serve: one row has not room for all names of a large edge.
func byNode(rows map[string]vault.Served) map[string]vault.Served {
	nodes := map[string]vault.Served{}
	for _, row := range rows {
		n, ok := nodes[row.Node]
		if !ok {
			n = vault.Served{Node: row.Node, Names: map[string]vault.Serving{}, Seen: map[string]vault.Sight{}}
			nodes[row.Node] = n
		}
		maps.Copy(n.Names, row.Names)
		maps.Copy(n.Seen, row.Seen)
	}
	return nodes
}

// Renew has certificates renewed out of turn. Of those that cannot be renewed it says why.
func (c *certificates) Renew(ctx context.Context, r ruche.RenewRequest) ([]ruche.CertificateTask, error) {
	in, chosen, err := c.choose(ctx, r.CertificateSelection)
	if err != nil {
		return nil, err
	}
	reason := r.Reason
	if reason == "" {
		reason = "asked"
	}
	can, cannot := inventory.Renewable(in, chosen, r.CertificateSelection)
	tasks := each(can, r.Spread, func(id string, at time.Time) error { return c.issuing.Renew(ctx, id, at, reason) })
	for _, refused := range cannot {
		tasks = append(tasks, ruche.CertificateTask{ID: refused.ID, Names: refused.Names, Error: refused.Why})
	}
	return tasks, nil
}

// Revoke has certificates replaced and revoked. Those that are wanted and not there yet are left out, unless they are named.
func (c *certificates) Revoke(ctx context.Context, r ruche.RevokeRequest) ([]ruche.CertificateTask, error) {
	for name, code := range acme.Reasons() {
		if code != r.Reason {
			continue
		}
		_, chosen, err := c.choose(ctx, r.CertificateSelection)
		if err != nil {
			return nil, err
		}
		if len(r.IDs) == 0 {
			chosen = slices.DeleteFunc(chosen, func(c ruche.CertificateInfo) bool { return c.Kind == ruche.CertificateNone })
		}
		return each(chosen, r.Spread, func(id string, at time.Time) error { return c.issuing.Revoke(ctx, id, at, name) }), nil
	}
	return nil, fmt.Errorf("cannot revoke certificates: %d is no reason that CAs take", r.Reason)
}

// choose gives the certificates of a selection, and what is known of all.
func (c *certificates) choose(ctx context.Context, s ruche.CertificateSelection) (inventory.Input, []ruche.CertificateInfo, error) {
	in, _, err := c.known(ctx)
	if err != nil {
		return in, nil, err
	}
	chosen, err := inventory.Select(inventory.List(in).Certificates, s)
	return in, chosen, err
}

// each has something done with each certificate, spread over a time.
func each(chosen []ruche.CertificateInfo, spread time.Duration, do func(id string, at time.Time) error) []ruche.CertificateTask {
	now := time.Now()
	tasks := make([]ruche.CertificateTask, 0, len(chosen))
	for i, info := range chosen {
		t := ruche.CertificateTask{ID: info.ID, Names: info.Names, At: now.Add(spread * time.Duration(i) / time.Duration(len(chosen)))}
		if err := do(info.ID, t.At); err != nil {
			t.Error, t.At = err.Error(), time.Time{}
		}
		tasks = append(tasks, t)
	}
	return tasks
}

// inventoryLook is the time between two inventories for the metrics. A scrape reads nothing.
const inventoryLook = 30 * time.Second

// watchInventory keeps an inventory for the metrics until ctx ends.
func (c *certificates) watchInventory(ctx context.Context) {
	for {
		if list, err := c.Certificates(ctx); err == nil { // else what was known before stands
			c.last.Store(&list.Certificates)
		}
		if list, err := c.ca.Status(ctx); err == nil {
			c.issuers.Store(&list.Authorities)
		}
		if !pauseFor(ctx, c.every) {
			return
		}
	}
}

// warn keeps the warnings of the inventory until ctx ends, on the node that leads.
func (c *certificates) warn(ctx context.Context) error {
	standing := health.Group{Registry: c.health}
	defer standing.Stand(nil)
	for {
		if in, _, err := c.known(ctx); err == nil { // else what stood stands
			for _, w := range standing.Stand(inventory.Warnings(in)) {
				c.logger.Warn(w.Message, "component", "certs", "code", w.Code, "hint", w.Hint)
			}
		}
		if !pauseFor(ctx, c.every) {
			return nil
		}
	}
}

func (c *certificates) lately() []ruche.CertificateInfo {
	if list := c.last.Load(); list != nil {
		return *list
	}
	return nil
}

func (c *certificates) authorities() []ruche.AuthorityStatus {
	if list := c.issuers.Load(); list != nil {
		return *list
	}
	return nil
}
