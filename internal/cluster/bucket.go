package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/ruche-project/ruche"
)

// What a bucket answers when the key is not as the caller expects.
var (
	ErrNotFound = ruche.ErrNotFound
	ErrExists   = ruche.ErrExists
	ErrConflict = ruche.ErrConflict
)

// Entry is a value with its key.
type Entry[T any] = ruche.Entry[T]

// Bucket holds values of one type under text keys. One package writes it. It is safe for
// concurrent use. With the context that Lead gives, writes are refused once that member leads no more: the error wraps ErrNotLeading.
type Bucket[T any] struct {
	c      *Cluster
	name   string
	prefix string
}

// NewBucket gives the bucket of this name; there is nothing to create or close. A name that is empty or contains a
// slash panics, since it would overlap another bucket.
func NewBucket[T any](c *Cluster, name string) *Bucket[T] {
	if name == "" || strings.Contains(name, "/") {
		panic(fmt.Sprintf("cluster: bucket name %q", name))
	}
	return &Bucket[T]{c: c, name: name, prefix: "/ruche/" + name + "/"}
}

// Get reads one value, as of now. Without the key the error wraps ErrNotFound; without a majority of members it wraps ErrNoQuorum, as for all other calls but Watch.
func (b *Bucket[T]) Get(ctx context.Context, key string) (Entry[T], error) {
	m, err := b.c.held()
	if err != nil {
		return Entry[T]{}, fmt.Errorf("cannot read %s %q: %w", b.name, key, err)
	}
	ctx, done := b.c.quorum.join(ctx)
	defer done()
	resp, err := m.get(ctx, b.prefix+key)
	err = because(ctx, err)
	if err == nil && len(resp.Kvs) == 0 {
		err = ErrNotFound
	}
	var v T
	if err == nil {
		err = json.Unmarshal(resp.Kvs[0].Value, &v)
	}
	if err != nil {
		return Entry[T]{}, fmt.Errorf("cannot read %s %q: %w", b.name, key, err)
	}
	return Entry[T]{Key: key, Value: v, Revision: resp.Kvs[0].ModRevision}, nil
}

// List reads the whole content, as of now. Values that cannot be decoded are logged and left out.
func (b *Bucket[T]) List(ctx context.Context) (map[string]Entry[T], error) {
	ctx, done := b.c.quorum.join(ctx)
	defer done()
	all, _, err := b.list(ctx)
	return all, err
}

// list also gives the revision that the content is of.
func (b *Bucket[T]) list(ctx context.Context, opts ...clientv3.OpOption) (map[string]Entry[T], int64, error) {
	m, err := b.c.held()
	if err != nil {
		return nil, 0, fmt.Errorf("cannot list %s: %w", b.name, err)
	}
	resp, err := m.get(ctx, b.prefix, append(opts, clientv3.WithPrefix())...)
	if err != nil {
		return nil, 0, fmt.Errorf("cannot list %s: %w", b.name, because(ctx, err))
	}
	all := make(map[string]Entry[T], len(resp.Kvs))
	for _, kv := range resp.Kvs {
		key := strings.TrimPrefix(string(kv.Key), b.prefix)
		if v, ok := b.decode(key, kv.Value); ok {
			all[key] = Entry[T]{Key: key, Value: v, Revision: kv.ModRevision}
		}
	}
	return all, resp.Header.Revision, nil
}

// decode reports false, and logs, when the stored value is not one of T: a newer release wrote it.
func (b *Bucket[T]) decode(key string, data []byte) (v T, ok bool) {
	if err := json.Unmarshal(data, &v); err != nil {
		b.c.logger.Error("cannot decode stored value, ignoring it", slog.String("bucket", b.name), slog.String("key", key), slog.Any("error", err))
		return v, false
	}
	return v, true
}

// Put writes a value, whatever was there, and gives its revision. When it returns, the value is on
// the disks of a majority of members.
func (b *Bucket[T]) Put(ctx context.Context, key string, v T) (int64, error) {
	return b.c.apply(ctx, nil, []Op{b.PutOp(key, v)})
}

// Create writes a value under a key that does not exist. If it does, the error wraps ErrExists.
func (b *Bucket[T]) Create(ctx context.Context, key string, v T) (int64, error) {
	absent := clientv3.Compare(clientv3.CreateRevision(b.prefix+key), "=", 0)
	rev, err := b.c.apply(ctx, &absent, []Op{b.PutOp(key, v)})
	if errors.Is(err, errCompare) {
		return 0, fmt.Errorf("cannot create %s %q: %w", b.name, key, ErrExists)
	}
	return rev, err
}

// CompareAndSet writes a value if the key's revision is still the given one; 0 stands for a key that
// does not exist. Otherwise the error wraps ErrConflict.
func (b *Bucket[T]) CompareAndSet(ctx context.Context, key string, v T, revision int64) (int64, error) {
	same := clientv3.Compare(clientv3.ModRevision(b.prefix+key), "=", revision)
	rev, err := b.c.apply(ctx, &same, []Op{b.PutOp(key, v)})
	if errors.Is(err, errCompare) {
		return 0, fmt.Errorf("cannot change %s %q: %w", b.name, key, ErrConflict)
	}
	return rev, err
}

// Delete removes a key; a key that does not exist is no error.
func (b *Bucket[T]) Delete(ctx context.Context, key string) error {
	_, err := b.c.apply(ctx, nil, []Op{b.DeleteOp(key)})
	return err
}

// Op is one write of a transaction, made by the buckets of the same cluster.
type Op struct {
	op   clientv3.Op
	what string
	err  error
}

// PutOp is a Put for Apply.
func (b *Bucket[T]) PutOp(key string, v T) Op {
	op := Op{what: fmt.Sprintf("%s %q", b.name, key)}
	data, err := json.Marshal(v)
	switch {
	case err != nil:
		op.err = err
	case key == "":
		op.err = errors.New("the key is empty")
	case len(data)+len(key) > maxValue:
		op.err = fmt.Errorf("the value has %d bytes, and the cluster stores at most %d", len(data), maxValue)
	}
	op.op = clientv3.OpPut(b.prefix+key, string(data))
	return op
}

// DeleteOp is a Delete for Apply.
func (b *Bucket[T]) DeleteOp(key string) Op {
	op := Op{op: clientv3.OpDelete(b.prefix + key), what: fmt.Sprintf("%s %q", b.name, key)}
	if key == "" {
		op.err = errors.New("the key is empty")
	}
	return op
}

// Apply does all writes or none: at most 128, no two of the same key, of at most 1.5 MB together. Watchers of one
// bucket see its part of them at once.
func (c *Cluster) Apply(ctx context.Context, ops ...Op) error {
	if len(ops) == 0 {
		return nil
	}
	_, err := c.apply(ctx, nil, ops)
	return err
}

func (c *Cluster) apply(ctx context.Context, cond *clientv3.Cmp, ops []Op) (int64, error) {
	if len(ops) > maxOps {
		return 0, fmt.Errorf("cannot write %d keys at once: a transaction holds at most %d", len(ops), maxOps)
	}
	m, err := c.held()
	if err == nil {
		err = errors.Join(m.news.err(), checkRoom(c.cfg.Dir, reserve))
	}
	if err != nil {
		return 0, fmt.Errorf("cannot write %s: %w", ops[0].what, err)
	}
	ctx, done := c.quorum.join(ctx)
	defer done()
	list := make([]clientv3.Op, 0, len(ops))
	for _, op := range ops {
		if op.err != nil {
			return 0, fmt.Errorf("cannot write %s: %w", op.what, op.err)
		}
		list = append(list, op.op)
	}
	what := ops[0].what
	if len(ops) > 1 {
		what += fmt.Sprintf(" and %d more", len(ops)-1)
	}
	revision, err := m.commit(ctx, cond, list)
	if err != nil {
		return 0, fmt.Errorf("cannot write %s: %w", what, because(ctx, err))
	}
	return revision, nil
}
