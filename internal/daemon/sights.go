package daemon

import (
	"context"
	"encoding/json"
	"net"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/certs/vault"
	"github.com/ruche-project/ruche/internal/certs/watch"
	"github.com/ruche-project/ruche/internal/mesh"
)

const (
	// sightsLook is the time between two looks whose turn it is to be looked at.
	sightsLook = 15 * time.Second
	// mostSights is how many names that are passed through are looked at: what was seen of them is written as one row.
	mostSights = mesh.ServedSights
)

// lookAtPassedThrough looks at the certificates of endpoints that this edge passes TLS through to, and reports what it saw.
func (d *Daemon) lookAtPassedThrough(ctx context.Context) error {
	select {
	case <-d.proxy.Ready():
	case <-ctx.Done():
		return nil
	}
	w := watch.New(watch.Config{Logger: d.logger.With("component", "certs")})
	key := d.node + "/seen"
	var seen, written map[string]vault.Sight
	for {
		seen = w.Look(ctx, passedThrough(d), seen)
		if ctx.Err() == nil && !reflect.DeepEqual(seen, written) {
			if err := d.writeServed(ctx, key, vault.Served{Node: d.node, Seen: seen}, len(seen) > 0); err != nil {
				d.logger.Debug("cannot report what was seen of endpoints, trying on", "error", err)
			} else {
				written = seen
			}
		}
		if !pauseFor(ctx, sightsLook) {
			return nil
		}
	}
}

func passedThrough(d *Daemon) []watch.Target {
	var targets []watch.Target
	for _, p := range d.proxy.PassedThrough() {
		if len(targets) < mostSights {
			check := ruche.CheckTarget{Host: p.Name, Address: p.Address}
			targets = append(targets, watch.Target{Name: p.Name, Check: check, Preface: p.Preamble})
		}
	}
	return targets
}

// writeServed writes a row of this edge, or removes it.
func (d *Daemon) writeServed(ctx context.Context, key string, row vault.Served, keep bool) error {
	change := ruche.Change{Bucket: vault.BucketServed, Key: key}
	if keep {
		value, err := json.Marshal(row)
		if err != nil {
			return err
		}
		change.Value = value
	}
	if d.client == nil {
		return applyServed(ctx, d.cluster, []ruche.Change{change})
	}
	return d.client.Apply(ctx, []ruche.Change{change})
}

// watch looks at the servers that are to be watched, and looks stored certificates up in the lists of their CAs, until ctx ends, on the node that leads.
func (c *certificates) watch(ctx context.Context) error {
	w := watch.New(watch.Config{Logger: c.logger.With("component", "certs")})
	var lists time.Time
	for {
		if err := c.lookAtWatched(ctx, w); err != nil && ctx.Err() == nil {
			c.logger.Debug("cannot keep what was seen of watched servers, trying on", "error", err)
		}
		if now := time.Now(); now.Sub(lists) >= watch.RevokedAgain {
			lists = now
			c.lookUpRevoked(ctx, w)
		}
		if !pauseFor(ctx, sightsLook) {
			return nil
		}
	}
}

func (c *certificates) lookAtWatched(ctx context.Context, w *watch.Watcher) error {
	rows, err := c.sights.List(ctx)
	if err != nil || len(rows)+len(c.watched) == 0 {
		return err
	}
	had := make(map[string]vault.Sight, len(rows))
	for name, e := range rows {
		had[name] = e.Value
	}
	seen := w.Look(ctx, targetsOf(c.watched), had)
	if ctx.Err() != nil {
		return nil
	}
	for name, s := range seen {
		if before, known := had[name]; !known || !before.Seen.Equal(s.Seen) {
			if _, err := c.sights.Put(ctx, name, s); err != nil {
				return err
			}
		}
	}
	for name := range had {
		if _, still := seen[name]; !still {
			if err := c.sights.Delete(ctx, name); err != nil {
				return err
			}
		}
	}
	return nil
}

// targetsOf names servers as host:port, and as host where the port is that of HTTPS: so a name that is published here is one with what is seen of it.
func targetsOf(servers []string) []watch.Target {
	targets := make([]watch.Target, 0, len(servers))
	for _, s := range servers {
		host, text, err := net.SplitHostPort(s)
		port, _ := strconv.Atoi(text)
		if err != nil || port == 0 {
			continue // the settings have been read
		}
		name := strings.TrimSuffix(s, ":443")
		targets = append(targets, watch.Target{Name: name, Check: ruche.CheckTarget{Host: host, Port: port}})
	}
	return targets
}

// lookUpRevoked tells who renews certificates which of them their CAs have revoked.
func (c *certificates) lookUpRevoked(ctx context.Context, w *watch.Watcher) {
	s, err := c.issuing.Snapshot(ctx)
	if err != nil {
		return // the next time
	}
	for id, found := range w.Revoked(ctx, s.Records) {
		if err := c.issuing.Withdrawn(ctx, id, found); err != nil {
			c.logger.Warn("a certificate was revoked by its CA, and that cannot be written", "certificate", id, "error", err)
		}
	}
}
