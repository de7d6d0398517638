package proxy

import (
	"context"
	"sync"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/proxy/table"
)

// feed holds what the buckets hold, and tells when it has changed.
type feed struct {
	changed chan struct{}

	mu sync.Mutex
	// A value that is written again gets a new pointer: that is how the table knows what has changed.
	declarations map[string]*ruche.Declaration
	endpoints    map[string]*ruche.Endpoint
}

func newFeed() *feed { return &feed{changed: make(chan struct{}, 1)} }

func (f *feed) notify() {
	select {
	case f.changed <- struct{}{}:
	default:
	}
}

func (f *feed) applyDeclarations(u ruche.Update[ruche.Declaration]) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.declarations = merge(f.declarations, u)
	f.notify()
}

func (f *feed) applyEndpoints(u ruche.Update[ruche.Endpoint]) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.endpoints = merge(f.endpoints, u)
	f.notify()
}

func merge[T any](m map[string]*T, u ruche.Update[T]) map[string]*T {
	if u.Reset || m == nil {
		m = make(map[string]*T, len(u.Puts))
	}
	for key, v := range u.Puts {
		m[key] = &v
	}
	for _, key := range u.Deletes {
		delete(m, key)
	}
	return m
}

// compile makes a table of what the buckets hold now of the one before, and returns nil until both buckets were read.
func (f *feed) compile(before *table.Table) *table.Table {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.declarations == nil || f.endpoints == nil {
		return nil
	}
	return table.Compile(before, f.declarations, f.endpoints)
}

// watch follows the buckets until ctx ends. A bucket that cannot be followed any more leaves in force what it held.
func (p *Proxy) watch(ctx context.Context, tasks *sync.WaitGroup) {
	tasks.Go(func() { p.follow("declarations", p.cfg.Declarations.Watch(ctx, p.feed.applyDeclarations)) })
	tasks.Go(func() { p.follow("endpoints", p.cfg.Endpoints.Watch(ctx, p.feed.applyEndpoints)) })
	if p.cfg.Ingress != nil {
		tasks.Go(func() { p.follow("ingress", p.cfg.Ingress.Watch(ctx, p.ingress.apply)) })
	}
}

func (p *Proxy) follow(bucket string, err error) {
	if err != nil {
		p.cfg.Logger.Error("cannot follow changes any more, serving what is known", "bucket", bucket, "error", err)
	}
}

// swap compiles and puts in force what has changed, until ctx ends. Changes that come meanwhile are taken together.
func (p *Proxy) swap(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.feed.changed:
		}
		p.refresh()
	}
}

// refresh puts in force what the buckets hold now, once both were read.
func (p *Proxy) refresh() {
	p.swapping.Lock()
	defer p.swapping.Unlock()
	before := p.current.Load()
	var earlier *table.Table
	if before != nil {
		earlier = before.table
	}
	t := p.feed.compile(earlier)
	if t == nil {
		return
	}
	t.Bind(p.opens)
	p.current.Store(newSnapshot(t, before))
	if before == nil {
		close(p.compiled)
		return
	}
	close(before.replaced)
	for _, w := range p.workers {
		w.loop.Post(w.replaced)
	}
}
