package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/mesh"
)

// List gives the nodes that have enrolled, and what they say of themselves.
func (c *control) List(ctx context.Context) (ruche.NodeList, error) {
	nodes, err := c.registry.nodes.List(ctx)
	if err != nil {
		return ruche.NodeList{}, err
	}
	statuses, err := c.registry.statuses.List(ctx)
	if err != nil {
		return ruche.NodeList{}, err
	}
	list := ruche.NodeList{Nodes: make([]ruche.NodeInfo, 0, len(nodes)), Refused: map[string]uint64{}}
	for name, n := range nodes {
		info := ruche.NodeInfo{Name: name, Address: n.Value.Address, Enrolled: n.Value.Enrolled}
		for _, r := range n.Value.Roles {
			info.Roles = append(info.Roles, string(r))
		}
		if s, ok := statuses[name]; ok {
			info.Status = &s.Value
		}
		list.Nodes = append(list.Nodes, info)
	}
	slices.SortFunc(list.Nodes, func(a, b ruche.NodeInfo) int { return cmp.Compare(a.Name, b.Name) })
	for reason, n := range c.server.Refused() {
		list.Refused[string(reason)] = n
	}
	return list, nil
}

// MakeToken makes a join token.
func (c *control) MakeToken(ctx context.Context, r ruche.TokenRequest) (string, error) {
	roles := make([]mesh.Role, len(r.Roles))
	for i, role := range r.Roles {
		roles[i] = mesh.Role(role)
	}
	return c.registry.MakeToken(ctx, roles, r.Uses, r.Expires)
}

// Tokens lists the join tokens.
func (c *control) Tokens(ctx context.Context) (ruche.TokenList, error) { return c.registry.Tokens(ctx) }

// RemoveToken ends a join token.
func (c *control) RemoveToken(ctx context.Context, id string) error {
	return c.registry.RemoveToken(ctx, id)
}

// Remove has the installation forget a node, with what it said that it serves: names would count as served by it for good.
func (c *control) Remove(ctx context.Context, name string) error {
	if err := c.registry.Remove(ctx, name); err != nil {
		return err
	}
	rows, err := c.served.List(ctx)
	for key, row := range rows {
		if row.Value.Node == name {
			err = errors.Join(err, c.served.Delete(ctx, key))
		}
	}
	if err != nil {
		return fmt.Errorf("node %q is removed, but what it served is not forgotten: %w", name, err)
	}
	return nil
}

// lastSeen tells when the nodes were heard of last that are known. A new one counts from when it was let in.
func (c *control) lastSeen(ctx context.Context) (map[string]time.Time, error) {
	list, err := c.List(ctx)
	if err != nil {
		return nil, err
	}
	seen := make(map[string]time.Time, len(list.Nodes))
	for _, n := range list.Nodes {
		seen[n.Name] = n.Enrolled
		if n.Status != nil {
			seen[n.Name] = n.Status.Seen
		}
	}
	return seen, nil
}
