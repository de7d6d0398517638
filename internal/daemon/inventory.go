package daemon

import (
	"context"
	"fmt"
	"maps"
	"sync/atomic"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/certs/acme"
	"github.com/ruche-project/ruche/internal/certs/inventory"
	"github.com/ruche-project/ruche/internal/certs/vault"
)

// certificates answers for all certificates of the installation, on any node with the state.
type certificates struct {
	*Daemon
	// last is the inventory as it was a while ago, for who asks often.
	last atomic.Pointer[[]ruche.CertificateInfo]
	// issuers are the internal authorities, likewise.
	issuers atomic.Pointer[[]ruche.AuthorityStatus]
}

// Certificates puts together what is known of certificates.
func (c *certificates) Certificates(ctx context.Context) (ruche.CertificateList, error) {
	s, err := c.issuing.Snapshot(ctx)
	if err != nil {
		return ruche.CertificateList{}, err
	}
	list := inventory.List(inventory.Input{Now: time.Now(), Records: s.Records, States: s.States, Wants: wants(s.Wants), Served: byNode(s.Served)})
	list.Node, list.Warnings = c.node, c.health.List()
	return list, nil
}

// wants gives them as the inventory has them.
func wants(all []acme.Want) map[string]inventory.Want {
	by := make(map[string]inventory.Want, len(all))
	for _, w := range all {
		by[w.ID] = inventory.Want{
			Names: w.Spec.Names, Issuer: w.Terms.Name, Directory: w.Terms.Directory, Profile: w.Terms.Profile,
			Sources: []string{w.Spec.Source}, Problem: w.Problem, Hint: w.Hint, Waiting: w.Waiting,
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
			n = vault.Served{Node: row.Node, Names: map[string]vault.Serving{}}
			nodes[row.Node] = n
		}
		maps.Copy(n.Names, row.Names)
	}
	return nodes
}

// Renew has certificates renewed out of turn.
func (c *certificates) Renew(ctx context.Context, r ruche.RenewRequest) ([]ruche.CertificateTask, error) {
	reason := r.Reason
	if reason == "" {
		reason = "asked"
	}
	return c.each(ctx, r.CertificateSelection, r.Spread, func(ctx context.Context, id string, at time.Time) error {
		return c.issuing.Renew(ctx, id, at, reason)
	})
}

// Revoke has certificates replaced and revoked.
func (c *certificates) Revoke(ctx context.Context, r ruche.RevokeRequest) ([]ruche.CertificateTask, error) {
	for name, code := range acme.Reasons() {
		if code == r.Reason {
			return c.each(ctx, r.CertificateSelection, r.Spread, func(ctx context.Context, id string, at time.Time) error {
				return c.issuing.Revoke(ctx, id, at, name)
			})
		}
	}
	return nil, fmt.Errorf("cannot revoke certificates: %d is no reason that CAs take", r.Reason)
}

// each has something done with each certificate of a selection, spread over a time.
func (c *certificates) each(ctx context.Context, s ruche.CertificateSelection, spread time.Duration, do func(context.Context, string, time.Time) error) ([]ruche.CertificateTask, error) {
	list, err := c.Certificates(ctx)
	if err != nil {
		return nil, err
	}
	chosen, err := inventory.Select(list.Certificates, s)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	tasks := make([]ruche.CertificateTask, 0, len(chosen))
	for i, info := range chosen {
		t := ruche.CertificateTask{ID: info.ID, Names: info.Names, At: now.Add(spread * time.Duration(i) / time.Duration(len(chosen)))}
		if err := do(ctx, info.ID, t.At); err != nil {
			t.Error, t.At = err.Error(), time.Time{}
		}
		tasks = append(tasks, t)
	}
	return tasks, nil
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
		if !pauseFor(ctx, inventoryLook) {
			return
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
