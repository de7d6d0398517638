package discovery

import (
	"slices"
	"time"

	"github.com/ruche-project/ruche"
)

// tombstone notes a container that is gone and whose routes are kept for a while, so that its hosts are still known.
type tombstone struct {
	group string
	since time.Time
}

// recallGone finds the tombstones that an earlier run left.
func (t *tracker) recallGone() {
	for _, key := range t.store.ids(ruche.KindContainer) {
		if d := t.store.get(key).declaration; d != nil && !d.GoneSince.IsZero() {
			t.gone[key] = tombstone{group: d.Workload.Group, since: d.GoneSince}
		}
	}
}

// entomb takes the endpoint of a container that is gone away and keeps its routes, unless its successor is there already.
func (t *tracker) entomb(key string) {
	was := t.store.get(key)
	if was.declaration == nil || len(was.declaration.Routes) == 0 {
		t.store.set(key, row{})
		return
	}
	if _, known := t.gone[key]; known {
		return
	}
	if t.replaced(key, was.declaration.Workload.Group) {
		t.store.set(key, row{})
		return
	}
	declaration := *was.declaration
	declaration.GoneSince = time.Now().UTC()
	t.store.set(key, row{declaration: &declaration})
	t.gone[key] = tombstone{group: declaration.Workload.Group, since: declaration.GoneSince}
	t.logger.Debug("a container is gone; its routes are kept for a while", "name", declaration.Workload.Name, "for", t.timing.gone)
}

// succeeds reports whether a container takes the place of those of its group that are gone: it declares routes, or it runs and, without
// any mistake, declares none any more.
func (r *record) succeeds() bool {
	mistaken := slices.ContainsFunc(r.diagnostics, func(d ruche.Diagnostic) bool { return d.Severity != ruche.SeverityInfo })
	runs := r.container.State.Running && !r.container.State.Restarting
	return r.known && (len(r.routes) > 0 || runs && !mistaken)
}

// replaced reports whether another container of the group has taken the place of this one.
func (t *tracker) replaced(key, group string) bool {
	for id, r := range t.records {
		if containerKey(id) != key && r.succeeds() && groupOf(r.container) == group {
			return true
		}
	}
	return false
}

// dropPredecessors forgets the containers whose place this one takes.
func (t *tracker) dropPredecessors(key, group string) {
	for other, stone := range t.gone {
		if other != key && stone.group == group {
			delete(t.gone, other)
			t.store.set(other, row{})
		}
	}
}

// forgetGone drops what has been gone for long enough.
func (t *tracker) forgetGone(now time.Time) {
	for key, stone := range t.gone {
		if now.Sub(stone.since) >= t.timing.gone {
			delete(t.gone, key)
			t.store.set(key, row{})
		}
	}
}
