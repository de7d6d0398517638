package daemon

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/cluster"
	"github.com/ruche-project/ruche/internal/mesh"
)

// edgeLives is for how long an edge is waited for after it was heard of. What says nothing new is written again after 15 s only, with the next report.
const edgeLives = 25 * time.Second

// Published waits until the challenges as of a revision of the state are in force on this edge, or on every edge that lives. The error says which do not have
// them when ctx ends.
func (d *Daemon) Published(ctx context.Context, revision int64) error {
	if d.proxy == nil {
		return d.publishedAt(ctx, revision)
	}
	for {
		now, changed := d.challenges.now()
		if now >= revision {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("cannot publish challenges: this node has not taken them over: %w", ctx.Err())
		case <-changed:
		}
	}
}

// publishedAt is Published for a control node: edges report what they have.
func (d *Daemon) publishedAt(ctx context.Context, revision int64) error {
	watching, end := context.WithCancel(ctx)
	updates, failed := make(chan ruche.Update[ruche.NodeStatus]), make(chan error, 1)
	go func() {
		failed <- d.control.registry.statuses.Watch(watching, func(u ruche.Update[ruche.NodeStatus]) {
			select {
			case updates <- u:
			case <-watching.Done():
			}
		})
	}()
	err := d.awaitEdges(ctx, revision, updates, failed)
	end()
	return err
}

func (d *Daemon) awaitEdges(ctx context.Context, revision int64, updates <-chan ruche.Update[ruche.NodeStatus], failed <-chan error) error {
	edges, err := d.edges(ctx)
	if err != nil {
		return err
	}
	statuses := map[string]ruche.NodeStatus{}
	look := time.NewTicker(time.Second) // an edge may die meanwhile
	defer look.Stop()
	for known := false; ; {
		missing := behind(edges, statuses, revision, time.Now())
		if known && len(missing) == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("cannot publish challenges: %s did not take them over: %w", strings.Join(missing, ", "), ctx.Err())
		case err := <-failed:
			return fmt.Errorf("cannot publish challenges: %w", err)
		case u := <-updates:
			if u.Reset {
				statuses = map[string]ruche.NodeStatus{}
			}
			known = true
			maps.Copy(statuses, u.Puts)
			for _, name := range u.Deletes {
				delete(statuses, name)
			}
		case <-look.C:
		}
	}
}

// edges lists the names of the edges.
func (d *Daemon) edges(ctx context.Context) ([]string, error) {
	nodes, err := d.control.registry.nodes.List(ctx)
	if err != nil {
		return nil, fmt.Errorf("cannot publish challenges: %w", err)
	}
	return edgesOf(nodes), nil
}

func edgesOf(nodes map[string]cluster.Entry[mesh.Node]) []string {
	var names []string
	for name, n := range nodes {
		if slices.Contains(n.Value.Roles, mesh.RoleEdge) {
			names = append(names, name)
		}
	}
	return slices.Sorted(slices.Values(names))
}

// behind lists the edges that live and do not have a revision yet.
func behind(edges []string, statuses map[string]ruche.NodeStatus, revision int64, now time.Time) []string {
	var names []string
	for _, name := range edges {
		if s, ok := statuses[name]; ok && now.Sub(s.Seen) < edgeLives && s.Challenges < revision {
			names = append(names, name)
		}
	}
	return names
}
