package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/cluster"
	"github.com/ruche-project/ruche/internal/docker"
	"github.com/ruche-project/ruche/internal/mesh"
)

// candidate is a control node as the bucket "candidates" has it, by its name: it is a member of the state, or wants to be.
type candidate struct {
	Peer string `json:"peer"`
	// Swarm is the ID of its node in the Swarm; empty outside of one.
	Swarm string `json:"swarm,omitempty"`
	// Ask names its wish to become a member; empty when it has none. Beat changes with each time that it says so.
	Ask  string `json:"ask,omitempty"`
	Beat int64  `json:"beat,omitempty"`
	// Invitation answers the wish that Answers names.
	Answers    string              `json:"answers,omitempty"`
	Invitation *cluster.Invitation `json:"invitation,omitempty"`
}

const (
	// joinPause is the time between two times that a node says that it wants to be a member.
	joinPause = 2 * time.Second
	// joinSilence is after how long without a word a wish counts no more.
	joinSilence = 20 * time.Second
)

// candidates tells the cluster who may be a member: the control nodes that are enrolled and, where they are in a Swarm, on a manager of it.
type candidates struct {
	own     candidate
	node    string
	bucket  *cluster.Bucket[candidate]
	nodes   *cluster.Bucket[mesh.Node]
	docker  *docker.Client // nil outside of a Swarm
	cluster *cluster.Cluster
	logger  *slog.Logger

	heard map[string]heard // by name; of the one that reconciles
}

// heard is the last beat of a wish, and when it was first seen here: clocks of several nodes need not agree.
type heard struct {
	beat int64
	at   time.Time
}

// run writes down this node, and lets the members follow the candidates.
func (c *candidates) run(ctx context.Context) error {
	if c.docker != nil {
		defer func() { _ = c.docker.Close() }()
	}
	for c.writeOwn(ctx) != nil {
		if !pauseFor(ctx, time.Second) {
			return nil
		}
	}
	changed := make(chan struct{}, 1)
	watching, end := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() {
		done <- c.bucket.Watch(watching, func(ruche.Update[candidate]) {
			select {
			case changed <- struct{}{}:
			default:
			}
		})
	}()
	err := c.cluster.Reconcile(ctx, cluster.Candidates{List: c.list, Invite: c.invite, Changed: changed})
	end()
	return errors.Join(err, <-done)
}

// writeOwn says that this node is a member, and wants nothing.
func (c *candidates) writeOwn(ctx context.Context) error {
	entry, err := c.bucket.Get(ctx, c.node)
	if err == nil && entry.Value.Peer == c.own.Peer && entry.Value.Swarm == c.own.Swarm && entry.Value.Ask == "" {
		return nil
	}
	if _, err = c.bucket.Put(ctx, c.node, c.own); err != nil && ctx.Err() == nil {
		c.logger.Warn("cannot write down this control node, trying on", "error", err)
	}
	return err
}

// list gives those who may be members.
func (c *candidates) list(ctx context.Context) ([]cluster.Candidate, error) {
	all, err := c.bucket.List(ctx)
	if err != nil {
		return nil, err
	}
	nodes, err := c.nodes.List(ctx)
	if err != nil {
		return nil, err
	}
	managers, err := c.managers(ctx)
	if err != nil {
		return nil, err
	}
	var list []cluster.Candidate
	now := make(map[string]heard, len(all))
	for name, e := range all {
		if n, ok := nodes[name]; !ok || !slices.Contains(n.Value.Roles, mesh.RoleControl) {
			continue // it was removed
		}
		if managers != nil && e.Value.Swarm != "" && !managers[e.Value.Swarm] {
			continue
		}
		h := c.heard[name]
		if h.beat != e.Value.Beat {
			h = heard{e.Value.Beat, time.Now()}
		}
		now[name] = h
		list = append(list, cluster.Candidate{Name: name, Peer: e.Value.Peer, Asks: e.Value.Ask != "" && time.Since(h.at) < joinSilence})
	}
	c.heard = now
	return list, nil
}

// managers are the IDs of the Swarm's managers; nil outside of a Swarm.
func (c *candidates) managers(ctx context.Context) (map[string]bool, error) {
	if c.docker == nil || c.own.Swarm == "" {
		return nil, nil //nolint:nilnil // no Swarm has no managers
	}
	nodes, err := c.docker.Nodes(ctx)
	if err != nil {
		return nil, err
	}
	managers := make(map[string]bool)
	for _, n := range nodes {
		if n.Manager != nil {
			managers[n.ID] = true
		}
	}
	if !managers[c.own.Swarm] {
		return nil, errors.New("the Engine here lists managers, but not itself among them")
	}
	return managers, nil
}

// invite leaves an invitation for a candidate that asks.
func (c *candidates) invite(ctx context.Context, name string, inv *cluster.Invitation) error {
	for {
		entry, err := c.bucket.Get(ctx, name)
		if err != nil {
			return err
		}
		v := entry.Value
		v.Answers, v.Invitation = v.Ask, inv
		if _, err = c.bucket.CompareAndSet(ctx, name, v, entry.Revision); !errors.Is(err, ruche.ErrConflict) { // else it has repeated its wish meanwhile
			return err
		}
	}
}

// join notes the wish of a node, and gives it its invitation when there is one.
func (c *candidates) join(ctx context.Context, node string, req mesh.JoinRequest) (mesh.JoinAnswer, error) {
	if req.Ask == "" || req.Peer == "" || node == c.node {
		return mesh.JoinAnswer{}, fmt.Errorf("node %q cannot ask so", node)
	}
	entry, err := c.bucket.Get(ctx, node)
	if err != nil && !errors.Is(err, ruche.ErrNotFound) {
		return mesh.JoinAnswer{}, err
	}
	var a mesh.JoinAnswer
	next := candidate{Peer: req.Peer, Swarm: req.Swarm, Ask: req.Ask, Beat: time.Now().UnixNano()}
	if entry.Value.Answers == req.Ask && entry.Value.Invitation != nil {
		a.Members = entry.Value.Invitation.Members
		next.Ask = "" // if the answer is lost, it asks again
	}
	_, err = c.bucket.CompareAndSet(ctx, node, next, entry.Revision)
	if errors.Is(err, ruche.ErrConflict) {
		return mesh.JoinAnswer{}, nil // an invitation came just now: it asks again
	}
	return a, err
}
