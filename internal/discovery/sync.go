package discovery

import (
	"cmp"
	"context"
	"errors"
	"reflect"
	"slices"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/docker"
)

// syncWish says how thorough a look at the whole list is to be.
type syncWish int

const (
	syncNone syncWish = iota
	// syncChanged inspects the containers whose summary in the list changed.
	syncChanged
	// syncAll inspects all: events may have been missed.
	syncAll
)

// syncResult is what the Engine answered to one look.
type syncResult struct {
	wish syncWish
	// began is the clock when the list was asked for: it says nothing of what came later.
	began    uint64
	err      error
	own      place
	networks networkList
	list     []docker.Summary
}

// sync starts a look at the whole list, or has the running one followed by another.
func (t *tracker) sync(ctx context.Context, wish syncWish) {
	if t.syncing {
		t.syncAgain = max(t.syncAgain, wish)
		return
	}
	t.startSync(ctx, wish, 0)
}

func (t *tracker) startSync(ctx context.Context, wish syncWish, delay time.Duration) {
	t.syncing = true
	result := syncResult{wish: wish, began: t.clock}
	t.work.Go(func() {
		if delay > 0 && !sleep(ctx, delay) {
			return
		}
		result.own, result.networks, result.list, result.err = t.ask(ctx)
		select {
		case t.syncs <- result:
		case <-ctx.Done():
		}
	})
}

// ask reads networks, Ruche's own place and the list of containers. Any failure fails the whole: half an answer
// would shrink what is known.
func (t *tracker) ask(ctx context.Context) (own place, networks networkList, list []docker.Summary, err error) {
	if networks, err = t.client.Networks(ctx); err != nil {
		return
	}
	if own, err = ownPlace(ctx, t.client, t.ownID); err != nil {
		return
	}
	list, err = t.client.List(ctx)
	return
}

// ownPlace finds Ruche's own place. A container that this Engine does not know is one of another Engine: seen from
// here, Ruche is outside of all networks, as on the host.
func ownPlace(ctx context.Context, client *docker.Client, ownID string) (place, error) {
	if ownID == "" {
		return place{host: true}, nil
	}
	var ids []string
	id := ownID
	for range 4 {
		ids = append(ids, id)
		c, err := client.Inspect(ctx, id)
		if errors.Is(err, docker.ErrNotFound) {
			return place{host: true}, nil
		}
		if err != nil {
			return place{}, err
		}
		if target, shared := sharesWith(c); shared {
			id = target
			continue
		}
		return place{ids: ids, container: c.Name, host: c.NetworkMode == "host", networks: c.Networks}, nil
	}
	return place{host: true}, nil
}

// synced takes over the answer of one look.
func (t *tracker) synced(ctx context.Context, s syncResult) {
	t.syncing = false
	again := t.syncAgain
	t.syncAgain = syncNone
	if s.err != nil {
		if ctx.Err() != nil {
			return
		}
		t.unreachable(s.err)
		t.lookedOnce()
		t.startSync(ctx, max(s.wish, again), t.backoff)
		t.backoff = min(2*t.backoff, t.stream.maxBackoff)
		return
	}
	t.backoff = t.timing.minBackoff
	t.reachable("")
	moved := !reflect.DeepEqual(t.own, s.own)
	changed := t.learn(s.networks) || moved
	t.own = s.own
	if moved && t.listed {
		t.logger.Info("Ruche's own networks changed; choosing again for all containers", "networks", names(s.own.networks))
	}
	t.takeList(ctx, s)
	for id, r := range t.records {
		if r.known && !s.networks.covers(r.container) {
			t.inspect(ctx, id, r) // the list of networks is older than what is known of this container, or younger
		}
	}
	if changed {
		for id, r := range t.records {
			t.publish(id, r)
		}
	}
	t.listed = true
	if again != syncNone {
		t.sync(ctx, again)
	}
}

// learn takes over a list of networks and reports whether it tells anything new. Lists may arrive in another order than they were asked
// for: what an older one lacks is kept for as long as a container is in it. A network never changes, it only comes and
// goes.
func (t *tracker) learn(networks networkList) (changed bool) {
	used := map[string]bool{}
	for _, r := range t.records {
		for _, a := range r.container.Networks {
			used[a.NetworkID] = true
		}
	}
	next := slices.Clone(networks)
	for _, n := range t.networks {
		if used[n.ID] && !slices.ContainsFunc(networks, func(other docker.Network) bool { return other.ID == n.ID }) {
			next = append(next, n)
		}
	}
	slices.SortStableFunc(next, func(a, b docker.Network) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID)) })
	changed = !slices.EqualFunc(t.networks, next, docker.Network.Equal)
	t.networks = next
	return changed
}

// takeList inspects what is new or changed, and forgets what is not there any more.
func (t *tracker) takeList(ctx context.Context, s syncResult) {
	listed := make(map[string]bool, len(s.list))
	for _, summary := range s.list {
		listed[summary.ID] = true
		r := t.records[summary.ID]
		if r == nil {
			r = t.record(summary.ID)
		}
		if s.wish == syncAll || !r.known || r.summary != summary || r.failures > 0 || t.overdue(r) {
			t.inspect(ctx, summary.ID, r)
		}
		r.summary = summary
	}
	for id, r := range t.records {
		if !listed[id] && r.born <= s.began {
			t.destroyed(id)
		}
	}
	for _, key := range t.store.ids(ruche.KindContainer) {
		id := containerID(key)
		if !listed[id] && t.records[id] == nil {
			t.entomb(key)
		}
	}
}
