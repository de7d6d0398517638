package mesh

import (
	"context"
	"errors"
	"maps"
	"time"

	"github.com/ruche-project/ruche"
)

// askTimeout bounds a question to the state.
const askTimeout = 3 * time.Second

// watch keeps what is known of nodes up to date until ctx ends.
func (r *Registry) watch(ctx context.Context) error {
	return r.nodes.Watch(ctx, func(u ruche.Update[Node]) {
		r.mu.Lock()
		defer r.mu.Unlock()
		next := maps.Clone(r.known)
		if u.Reset || next == nil {
			next = make(map[string]Node, len(u.Puts))
		}
		maps.Copy(next, u.Puts)
		for _, name := range u.Deletes {
			delete(next, name)
		}
		for name := range r.reported { // a node that was removed must be written again when it comes back
			if _, ok := next[name]; !ok {
				delete(r.reported, name)
			}
		}
		r.known = next
		close(r.changed)
		r.changed = make(chan struct{})
	})
}

// nodesNow gives the nodes as this control node knows them, not to be changed, and what is closed when that changes.
func (r *Registry) nodesNow() (map[string]Node, <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.known, r.changed
}

// authenticate says who a peer is as a node: its roles are those it is enrolled with. What is known here may be behind, so before
// a peer is refused the state is asked.
func (r *Registry) authenticate(ctx context.Context, p Peer) (Peer, error) {
	known, _ := r.nodesNow()
	if n, ok := known[p.Name]; ok && (n.Key == p.hash || n.OldKey == p.hash) {
		p.Roles = n.Roles
		return p, nil
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	entry, err := r.nodes.Get(ctx, p.Name)
	switch {
	case errors.Is(err, ruche.ErrNotFound):
		return p, refuse(ReasonUnknownNode, strangerMessage(p.Name))
	case err != nil:
		return p, unavailable(err)
	case entry.Value.Key != p.hash && entry.Value.OldKey != p.hash:
		return p, refuse(ReasonSuperseded, supersededMessage(p.Name))
	}
	p.Roles = entry.Value.Roles
	return p, nil
}

// confirm ends the old key of a node that has shown that it has the new one.
func (r *Registry) confirm(ctx context.Context, p Peer) error {
	known, _ := r.nodesNow()
	if n := known[p.Name]; n.Key != p.hash || n.OldKey == "" {
		return nil
	}
	entry, err := r.nodes.Get(ctx, p.Name)
	if err != nil {
		return err
	}
	n := entry.Value
	if n.Key != p.hash || n.OldKey == "" {
		return nil
	}
	n.OldKey = ""
	_, err = r.nodes.CompareAndSet(ctx, p.Name, n, entry.Revision)
	return err
}
