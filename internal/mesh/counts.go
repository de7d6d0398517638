package mesh

import (
	"context"
	"time"

	"github.com/ruche-project/ruche"
)

// watchSeen keeps up to date when each node was seen, until ctx ends.
func (r *Registry) watchSeen(ctx context.Context) error {
	return r.status.Watch(ctx, func(u ruche.Update[ruche.NodeStatus]) {
		r.mu.Lock()
		defer r.mu.Unlock()
		if u.Reset {
			clear(r.lastSeen)
		}
		for name, s := range u.Puts {
			r.lastSeen[name] = s.Seen
		}
		for _, name := range u.Deletes {
			delete(r.lastSeen, name)
		}
	})
}

// Counts tells how many nodes there are and are up, and how many peers were refused since the server was made. It asks nobody.
func (s *Server) Counts() ruche.MeshCount {
	c := ruche.MeshCount{Nodes: map[string]int{}, Seen: map[string]int{}, Refused: map[string]uint64{}}
	for _, role := range []Role{RoleControl, RoleAgent, RoleEdge} {
		c.Nodes[string(role)], c.Seen[string(role)] = 0, 0
	}
	for _, reason := range reasons() { // also those that were none yet, so that the first one is seen to be more
		c.Refused[string(reason)] = 0
	}
	for reason, n := range s.Refused() {
		c.Refused[string(reason)] = n
	}
	s.registry.count(&c)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range s.streams {
		c.Followers += n
	}
	return c
}

func (r *Registry) count(c *ruche.MeshCount) {
	now := r.now()
	r.mu.Lock()
	defer r.mu.Unlock()
	for name, n := range r.known {
		seen := now.Sub(r.lastSeen[name]) < lately
		for _, role := range n.Roles {
			c.Nodes[string(role)]++
			if seen {
				c.Seen[string(role)]++
			}
		}
	}
}

// Expires is until when the certificate of this control node is good; zero while it has none.
func (s *Server) Expires() time.Time { return s.identity().expires }

// Expires is until when the certificate of this node is good; zero while it has none.
func (c *Client) Expires() time.Time {
	id, _ := c.keeper.current()
	return id.expires
}
