package daemon

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/certs/vault"
	"github.com/ruche-project/ruche/internal/cluster"
	"github.com/ruche-project/ruche/internal/mesh"
)

const (
	// servedPause is the least time between two reports of what is served, servedPerName what each name adds to it: a report is written as a whole.
	servedPause   = 2 * time.Second
	servedPerName = 5 * time.Millisecond
	// servedAgain is after how long it is reported again although nothing has changed.
	servedAgain = time.Hour
)

// rows are those of a node: what discovery knows of, and what an edge serves.
type rows struct {
	sealedRows
	cluster *cluster.Cluster
}

// Apply makes all changes or none.
func (r rows) Apply(ctx context.Context, changes []ruche.Change) error {
	served := func(c ruche.Change) bool { return c.Bucket == vault.BucketServed }
	if !slices.ContainsFunc(changes, served) {
		return r.sealedRows.Apply(ctx, changes)
	}
	return applyServed(ctx, r.cluster, changes)
}

func applyServed(ctx context.Context, c *cluster.Cluster, changes []ruche.Change) error {
	bucket := cluster.NewBucket[json.RawMessage](c, vault.BucketServed)
	ops := make([]cluster.Op, 0, len(changes))
	for _, change := range changes {
		switch {
		case change.Bucket != vault.BucketServed:
			return fmt.Errorf("cannot write %s together with what is served", change.Bucket)
		case change.Value == nil:
			ops = append(ops, bucket.DeleteOp(change.Key))
		default:
			ops = append(ops, bucket.PutOp(change.Key, change.Value))
		}
	}
	return c.Apply(ctx, ops...)
}

// reportServed writes what this edge serves each name with, when that has changed.
func (d *Daemon) reportServed(ctx context.Context) error {
	select {
	case <-d.proxy.Ready():
	case <-ctx.Done():
		return nil
	}
	write := func(c []ruche.Change) error { return d.client.Apply(ctx, c) }
	if d.client == nil {
		write = func(c []ruche.Change) error { return applyServed(ctx, d.cluster, c) }
	}
	r := servedReport{node: d.node, write: write}
	again := time.NewTicker(servedAgain)
	defer again.Stop()
	const most = mesh.ServedRows * mesh.ServedNames
	told := false
	for {
		changed := d.certs.Changed()
		now, swapped := d.proxy.Serving(d.certs.Names())
		if len(now) > most && !told {
			d.logger.Warn("this edge serves more names than are told of: those that are not are in no list, and get no certificate by themselves", "names", len(now), "told", most)
			told = true
		}
		if err := r.report(now); err != nil && ctx.Err() == nil {
			d.logger.Debug("cannot report what is served, trying on", "error", err)
			changed, swapped = nil, nil
		}
		if !pauseFor(ctx, servedPause+time.Duration(len(now))*servedPerName) {
			return nil
		}
		if changed == nil {
			continue
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-swapped:
		case <-again.C:
			r.last = nil
		}
	}
}

// servedReport knows what was written last.
type servedReport struct {
	node  string
	write func([]ruche.Change) error
	last  []vault.Served // rows, nil before the first time
	rows  int            // there may be so many
}

// report writes the rows that have changed, each by itself: together they may be more than the state takes at once.
func (r *servedReport) report(now map[string]ruche.CertificateStatus) error {
	next := servedRows(r.node, now)
	for i, row := range next {
		if i < len(r.last) && maps.Equal(r.last[i].Names, row.Names) {
			continue
		}
		value, err := json.Marshal(row)
		if err == nil {
			err = r.write([]ruche.Change{{Bucket: vault.BucketServed, Key: rowKey(r.node, i), Value: value}})
		}
		if err != nil {
			r.last = nil
			return err
		}
	}
	for i := len(next); i < r.rows; i++ {
		if err := r.write([]ruche.Change{{Bucket: vault.BucketServed, Key: rowKey(r.node, i)}}); err != nil {
			return err
		}
	}
	r.last, r.rows = next, len(next)
	return nil
}

// rowKey is the key of the row with an index.
func rowKey(node string, i int) string {
	if i == 0 {
		return node
	}
	return fmt.Sprintf("%s/%d", node, i)
}

// servedRows gives what is served in rows: one, also for nothing, or as many as there have to be and may be.
func servedRows(node string, now map[string]ruche.CertificateStatus) []vault.Served {
	rows := []vault.Served{{Node: node, Names: map[string]vault.Serving{}}}
	for _, host := range slices.Sorted(maps.Keys(now)) {
		if len(rows[len(rows)-1].Names) == mesh.ServedNames {
			if len(rows) == mesh.ServedRows {
				break
			}
			rows = append(rows, vault.Served{Node: node, Names: map[string]vault.Serving{}})
		}
		st := now[host]
		rows[len(rows)-1].Names[host] = serving(host, st, len(now) <= detailedNames)
	}
	return rows
}

// stopgap reports whether a host is served with default.crt, which is not for it.
func stopgap(host string, st ruche.CertificateStatus) bool {
	if st.Kind != ruche.CertificateFile || !strings.EqualFold(filepath.Base(st.File), "default.crt") {
		return false
	}
	names := strings.Split(strings.ToLower(strings.Join(st.Names, ",")), ",")
	return !vault.CoversAll(names, []string{strings.Trim(host, "[]")})
}
