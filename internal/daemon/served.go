package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/certs/vault"
	"github.com/ruche-project/ruche/internal/cluster"
	"github.com/ruche-project/ruche/internal/health"
	"github.com/ruche-project/ruche/internal/mesh"
)

const (
	// servedPause is the least time between two reports of what is served, servedPerName what each name adds to it: a report is written as a whole.
	servedPause   = 2 * time.Second
	servedPerName = 5 * time.Millisecond
	// servedAgain is after how long it is reported again although nothing has changed.
	servedAgain = time.Hour
	// servedBytes bounds a row: the state takes values of 1.5 MB with their keys, control nodes slightly more.
	servedBytes = 1_450_000
	// untoldNames is how many of the names that are not told of a warning lists.
	untoldNames = 5
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
	warnings := health.Group{Registry: d.health}
	again := time.NewTicker(servedAgain)
	defer again.Stop()
	for {
		changed := d.certs.Changed()
		now, swapped := d.proxy.Serving(d.certs.Names())
		if err := r.report(now); err != nil && ctx.Err() == nil {
			d.logger.Debug("cannot report what is served, trying on", "error", err)
			changed, swapped = nil, nil
		}
		for _, w := range warnings.Stand(r.untold()) {
			d.logger.Warn(w.Message, "code", w.Code, "hint", w.Hint)
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

	refused     map[int]string // why a control node did not take a row, by index
	unfit, over []string       // names that are in no row: as control nodes do not take what there is to say, and as there is no room
}

// report writes the rows that have changed, each by itself: together they may be more than the state takes at once. A row that is refused, for what is in it, keeps the others from nothing;
// untold has it then. It is written again when it has changed, or everything is.
func (r *servedReport) report(now map[string]ruche.CertificateStatus) error {
	var next []vault.Served
	next, r.unfit, r.over = servedRows(r.node, now)
	for i, row := range next {
		if i < len(r.last) && maps.Equal(r.last[i].Names, row.Names) {
			continue
		}
		value, err := json.Marshal(row)
		if err == nil {
			err = r.write([]ruche.Change{{Bucket: vault.BucketServed, Key: rowKey(r.node, i), Value: value}})
		}
		if r.note(i, err) {
			err = nil
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
		delete(r.refused, i)
	}
	r.last, r.rows = next, len(next)
	return nil
}

// note keeps whether a row was refused for what is in it, and reports that.
func (r *servedReport) note(i int, err error) bool {
	var refusal *mesh.Refusal
	if !errors.As(err, &refusal) || refusal.Reason != mesh.ReasonTooLarge && refusal.Reason != mesh.ReasonNotOwner {
		if err == nil {
			delete(r.refused, i)
		}
		return false
	}
	if r.refused == nil {
		r.refused = map[int]string{}
	}
	r.refused[i] = refusal.Message
	return true
}

// untold gives the warnings about what control nodes do not learn of what this edge serves.
func (r *servedReport) untold() []ruche.Warning {
	const meanwhile = "; until then no list has them, and only certificates that are asked for (tls: acme) are ordered for them"
	var all []ruche.Warning
	add := func(subject, message, hint string) {
		all = append(all, ruche.Warning{Code: ruche.CodeServedUntold, Severity: ruche.SeverityWarning, Subject: subject, Message: message, Hint: hint})
	}
	if len(r.unfit) > 0 {
		add("names", fmt.Sprintf("control nodes cannot be told what this edge serves %s with: a name is too long or is none, or the path of a certificate file is too long", some(r.unfit)),
			"correct the host where it is declared, or move the file"+meanwhile)
	}
	if len(r.over) > 0 {
		add("room", fmt.Sprintf("control nodes are not told what this edge serves %s with: there is room for %d names, less if they are long", some(r.over), mesh.ServedRows*mesh.ServedNames),
			"publish fewer names on this edge, such as *.a.example in place of many"+meanwhile)
	}
	for _, i := range slices.Sorted(maps.Keys(r.refused)) {
		add("row "+rowKey(r.node, i), fmt.Sprintf("a control node refuses what this edge tells of some of its names: %s", r.refused[i]),
			"correct what it refuses, and upgrade control nodes of an older release; it is tried again when something of it has changed, and each hour"+meanwhile)
	}
	return all
}

// some lists names, the first of them if there are many.
func some(names []string) string {
	short := make([]string, 0, untoldNames)
	for _, n := range names[:min(len(names), untoldNames)] {
		short = append(short, fmt.Sprintf("%.100q", n))
	}
	if more := len(names) - len(short); more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(short, ", "), more)
	}
	return strings.Join(short, ", ")
}

// rowKey is the key of the row with an index.
func rowKey(node string, i int) string {
	if i == 0 {
		return node
	}
	return fmt.Sprintf("%s/%d", node, i)
}

// servedRows gives what is served in rows: one, also for nothing, or as many as there have to be and may be. Names of which control nodes would not take what there is to say are unfit,
// those for which there is no room over.
func servedRows(node string, now map[string]ruche.CertificateStatus) (rows []vault.Served, unfit, over []string) {
	row, size := map[string]vault.Serving{}, 0
	rows = []vault.Served{{Node: node, Names: row}}
	empty, err := json.Marshal(rows[0])
	if err != nil {
		return rows, slices.Sorted(maps.Keys(now)), nil
	}
	for _, host := range slices.Sorted(maps.Keys(now)) {
		s := serving(host, now[host], len(now) <= detailedNames)
		entry, err := json.Marshal(map[string]vault.Serving{host: s}) // its braces are as long as a comma and a blank
		if err != nil || !mesh.ServedFits(host, string(s.Kind), s.Fingerprint, s.File) {
			unfit = append(unfit, host)
			continue
		}
		if len(row) == mesh.ServedNames || len(empty)+size+len(entry) > servedBytes {
			if len(rows) == mesh.ServedRows {
				over = append(over, host)
				continue
			}
			row, size = map[string]vault.Serving{}, 0
			rows = append(rows, vault.Served{Node: node, Names: row})
		}
		row[host] = s
		size += len(entry)
	}
	return rows, unfit, over
}

// stopgap reports whether a host is served with default.crt, which is not for it.
func stopgap(host string, st ruche.CertificateStatus) bool {
	if st.Kind != ruche.CertificateFile || !strings.EqualFold(filepath.Base(st.File), "default.crt") {
		return false
	}
	names := strings.Split(strings.ToLower(strings.Join(st.Names, ",")), ",")
	return !vault.CoversAll(names, []string{strings.Trim(host, "[]")})
}
