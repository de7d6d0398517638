package cluster

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/ruche-project/ruche"
)

// Watch calls fn with the whole content, and then with each change in order, until ctx ends; then it returns nil. Writes of one
// transaction come in one call; several transactions may come in one when fn is slower than they are. After a
// gap, as when this member was cut off for long or released, the whole content comes again. Values that cannot be decoded are
// logged and left out. The content is what this member has, also while no majority of members is up. When the
// cluster is closed, the error wraps ErrClosed.
func (b *Bucket[T]) Watch(ctx context.Context, fn func(ruche.Update[T])) error {
	for {
		// A serializable read needs no majority. That it may be behind does no harm: what follows is watched.
		all, rev, err := b.list(ctx, clientv3.WithSerializable())
		if err == nil {
			u := ruche.Update[T]{Reset: true, Puts: make(map[string]T, len(all)), Revision: rev}
			for key, e := range all {
				u.Puts[key] = e.Value
			}
			fn(u)
			err = b.follow(ctx, rev+1, fn)
		}
		if ctx.Err() != nil {
			return nil
		}
		select {
		case <-b.c.closed:
			return ErrClosed
		default:
		}
		if !errors.Is(err, ErrReleased) {
			b.c.logger.Debug("watch was interrupted, listing again", slog.String("bucket", b.name), slog.Any("error", err))
		}
		if err := b.c.pause(ctx); errors.Is(err, ErrClosed) {
			return err
		}
	}
}

// follow calls fn for what happens from revision rev on. It returns when it cannot go on without a gap.
func (b *Bucket[T]) follow(ctx context.Context, rev int64, fn func(ruche.Update[T])) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	m, err := b.c.held()
	if err != nil {
		return err
	}
	for resp := range m.client.Watch(ctx, b.prefix, clientv3.WithPrefix(), clientv3.WithRev(rev)) {
		if err := resp.Err(); err != nil {
			return err
		}
		if u := b.update(resp.Events); len(u.Puts)+len(u.Deletes) > 0 {
			u.Revision = resp.Header.Revision
			fn(u)
		}
	}
	return errors.New("the watch ended")
}

// update joins events: the last one of each key counts.
func (b *Bucket[T]) update(events []*clientv3.Event) ruche.Update[T] {
	u := ruche.Update[T]{Puts: make(map[string]T)}
	deleted := make(map[string]bool)
	for _, e := range events {
		key := strings.TrimPrefix(string(e.Kv.Key), b.prefix)
		if e.Type == clientv3.EventTypeDelete {
			delete(u.Puts, key)
			deleted[key] = true
			continue
		}
		if v, ok := b.decode(key, e.Kv.Value); ok {
			u.Puts[key] = v
			delete(deleted, key)
		}
	}
	for key := range deleted {
		u.Deletes = append(u.Deletes, key)
	}
	slices.Sort(u.Deletes)
	return u
}
