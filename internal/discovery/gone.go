package discovery

import (
	"log/slog"
	"slices"
	"time"

	"github.com/ruche-project/ruche"
)

// graves keeps the declarations of workloads that are gone for a while, so that their hosts are still known.
type graves struct {
	store  *store
	logger *slog.Logger
	keep   time.Duration
	gone   map[string]tombstone
}

// tombstone notes a workload that is gone and whose routes are kept for a while.
type tombstone struct {
	group string
	since time.Time
}

func newGraves(s *store, logger *slog.Logger, keep time.Duration) *graves {
	return &graves{store: s, logger: logger, keep: keep, gone: map[string]tombstone{}}
}

// recall finds the tombstones that an earlier run left.
func (g *graves) recall(kind ruche.WorkloadKind) {
	for _, key := range g.store.ids(kind) {
		if d := g.store.get(key).declaration; d != nil && !d.GoneSince.IsZero() {
			g.gone[key] = tombstone{group: d.Workload.Group, since: d.GoneSince}
		}
	}
}

// bury takes the endpoint of a workload that is gone away and keeps its routes, unless its successor is there already.
func (g *graves) bury(key string, replaced func(group string) bool) {
	was := g.store.get(key)
	if was.declaration == nil || len(was.declaration.Routes) == 0 && was.certificates == nil {
		g.store.set(key, row{})
		return
	}
	if _, known := g.gone[key]; known {
		return
	}
	if replaced(was.declaration.Workload.Group) {
		g.store.set(key, row{})
		return
	}
	declaration := *was.declaration
	declaration.GoneSince = time.Now().UTC()
	g.store.set(key, row{declaration: &declaration, certificates: was.certificates})
	g.gone[key] = tombstone{group: declaration.Workload.Group, since: declaration.GoneSince}
	g.logger.Debug("a workload is gone; its routes are kept for a while", "name", declaration.Workload.Name, "for", g.keep)
}

// succeed forgets the workloads whose place this one takes.
func (g *graves) succeed(key, group string) {
	for other, stone := range g.gone {
		if other != key && stone.group == group {
			delete(g.gone, other)
			g.store.set(other, row{})
		}
	}
}

// forget drops what has been gone for long enough.
func (g *graves) forget(now time.Time) {
	for key, stone := range g.gone {
		if now.Sub(stone.since) >= g.keep {
			delete(g.gone, key)
			g.store.set(key, row{})
		}
	}
}

// succeeds reports whether a container takes the place of those of its group that are gone: it declares routes or certificates, or it runs and,
// without any mistake, declares none any more.
func (r *record) succeeds() bool {
	mistaken := slices.ContainsFunc(r.diagnostics, func(d ruche.Diagnostic) bool { return d.Severity != ruche.SeverityInfo })
	runs := r.container.State.Running && !r.container.State.Restarting
	return r.known && (len(r.routes) > 0 || len(r.certificates) > 0 || runs && !mistaken)
}

// entomb notes that a container is gone.
func (t *tracker) entomb(key string) {
	t.graves.bury(key, func(group string) bool { return t.replaced(key, group) })
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
