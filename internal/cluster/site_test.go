package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ruche-project/ruche/internal/cluster"
)

// site is some hosts that reach each other over TLS. What the mesh does between them is done by calls here.
type site struct {
	t         testing.TB
	authority *authority
	changed   chan struct{}

	mu    sync.Mutex
	nodes []*node
}

type node struct {
	name, dir string
	peer      string
	tls       *cluster.PeerTLS
	candidate bool
	asks      bool
	c         *cluster.Cluster
	down      func() // closes the member and waits for what runs on it
}

func newSite(t testing.TB, names ...string) *site {
	s := &site{t: t, authority: newAuthority(t), changed: make(chan struct{}, 1)}
	for _, name := range names {
		n := &node{name: name, dir: t.TempDir()}
		s.move(n)
		s.nodes = append(s.nodes, n)
	}
	return s
}

// move gives a node another address.
func (s *site) move(n *node) {
	n.peer = peerAddress()
	n.tls = s.authority.member(n.name, n.peer)
}

// up opens the node's member and lets it look after the members.
func (s *site) up(n *node, join *cluster.Invitation) *cluster.Cluster {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	c, err := cluster.Open(ctx, cluster.Config{Dir: n.dir, Name: n.name, Peer: n.peer, PeerTLS: n.tls, Join: join, Logger: quiet()})
	if err != nil {
		s.t.Error(fmt.Errorf("%s: %w", n.name, err))
		return nil
	}
	reconciled := make(chan error, 1)
	go func() {
		reconciled <- c.Reconcile(context.Background(), cluster.Candidates{List: s.list, Invite: s.invite, Changed: s.changed})
	}()
	down := sync.OnceFunc(func() {
		s.mu.Lock()
		n.c = nil
		s.mu.Unlock()
		if err := c.Close(); err != nil {
			s.t.Error(err)
		}
		if err := <-reconciled; err != nil && !errors.Is(err, cluster.ErrClosed) {
			s.t.Errorf("%s: Reconcile = %v", n.name, err)
		}
	})
	s.t.Cleanup(down)
	s.mu.Lock()
	defer s.mu.Unlock()
	n.c, n.down, n.candidate, n.asks = c, down, true, false
	return c
}

func (s *site) list(context.Context) ([]cluster.Candidate, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []cluster.Candidate
	for _, n := range s.nodes {
		if n.candidate {
			list = append(list, cluster.Candidate{Name: n.name, Peer: n.peer, Asks: n.asks})
		}
	}
	return list, nil
}

func (s *site) invite(_ context.Context, name string, inv *cluster.Invitation) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.nodes[slices.IndexFunc(s.nodes, func(n *node) bool { return n.name == name })]
	if n.asks {
		n.asks = false
		go s.up(n, inv)
	}
	return nil
}

// want changes who is a candidate and who asks.
func (s *site) want(change func(n *node)) {
	s.mu.Lock()
	for _, n := range s.nodes {
		change(n)
	}
	s.mu.Unlock()
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// settled waits until exactly these nodes hold healthy members that vote, as every one of them sees it.
func (s *site) settled(names ...string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*deadline)
	defer cancel()
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for {
		state := s.state(ctx, names)
		if state == "" {
			return
		}
		select {
		case <-ctx.Done():
			s.t.Fatalf("the members never were %q: %s", names, state)
		case <-ticker.C:
		}
	}
}

// state says what is not as it should be.
func (s *site) state(ctx context.Context, names []string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	peers := make(map[string]string)
	for _, n := range s.nodes {
		peers[n.name] = n.peer
	}
	for _, n := range s.nodes {
		if !slices.Contains(names, n.name) {
			continue
		}
		if n.c == nil {
			return n.name + " is not up"
		}
		members, err := n.c.Members(ctx)
		if err != nil || len(members) != len(names) {
			return fmt.Sprintf("%s sees %+v, %v", n.name, members, err)
		}
		for _, m := range members {
			if !slices.Contains(names, m.Name) || !m.Healthy || m.Learner || m.Peer != peers[m.Name] {
				return fmt.Sprintf("%s sees %+v", n.name, members)
			}
		}
	}
	return ""
}

// three brings up a site of three members that began with one.
func three(t testing.TB) *site {
	t.Helper()
	s := newSite(t, "node-1", "node-2", "node-3")
	one := s.nodes[0]
	// It was alone, without an address, before.
	c := open(t, cluster.Config{Dir: one.dir, Name: one.name})
	must[int64](t)(cluster.NewBucket[note](c, "notes").Put(t.Context(), "first", note{N: 1}))
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	s.up(one, nil)
	s.want(func(n *node) { n.candidate, n.asks = true, n != one })
	s.settled("node-1", "node-2", "node-3")
	return s
}

func TestMembersOverTLSFollowTheCandidates(t *testing.T) {
	t.Parallel()
	s := three(t)
	one, two, last := s.nodes[0], s.nodes[1], s.nodes[2]
	ctx := t.Context()
	if e, err := cluster.NewBucket[note](last.c, "notes").Get(ctx, "first"); err != nil || e.Value.N != 1 {
		t.Errorf("on the third member: %+v, %v", e, err)
	}

	// The address of one of three changes.
	last.down()
	s.move(last)
	s.up(last, nil)
	s.settled("node-1", "node-2", "node-3")

	// The directory of one of three is lost.
	before := id(t, one.c, "node-2")
	two.down()
	if err := os.RemoveAll(two.dir); err != nil {
		t.Fatal(err)
	}
	s.want(func(n *node) { n.asks = n == two })
	until(t, "the lost member is replaced", func(context.Context) bool { return id(t, one.c, "node-2") != before && id(t, one.c, "node-2") != "" })
	s.settled("node-1", "node-2", "node-3")
	updates := watching(t, cluster.NewBucket[note](two.c, "notes"))
	if u := next(t, updates); u.Puts["first"].N != 1 {
		t.Errorf("the member that lost its data has %+v", u)
	}
	must[int64](t)(cluster.NewBucket[note](last.c, "notes").Put(ctx, "second", note{N: 2}))
	if u := next(t, updates); u.Puts["second"].N != 2 {
		t.Errorf("the member that lost its data saw %+v", u)
	}

	// A process hands over to another one on the same node, which fails; then it goes on.
	if err := two.c.Release(); err != nil {
		t.Fatal(err)
	}
	must[int64](t)(cluster.NewBucket[note](last.c, "notes").Put(ctx, "while released", note{}))
	successor := open(t, cluster.Config{Dir: two.dir, Name: two.name, Peer: two.peer, PeerTLS: two.tls})
	must[int64](t)(cluster.NewBucket[note](successor, "notes").Put(ctx, "by the successor", note{}))
	if err := successor.Close(); err != nil {
		t.Fatal(err)
	}
	if err := two.c.Reopen(ctx); err != nil {
		t.Fatal(err)
	}
	for u := next(t, updates); len(u.Puts) != 4; u = next(t, updates) {
	}
	s.settled("node-1", "node-2", "node-3")

	// Two nodes are demoted: one member remains, and goes on.
	stopped := make(chan error, 1)
	go func() { stopped <- last.c.Run(ctx) }()
	s.want(func(n *node) { n.candidate = n == one })
	s.settled("node-1")
	if err := <-stopped; !errors.Is(err, cluster.ErrRemoved) {
		t.Errorf("Run of a removed member = %v, want ErrRemoved", err)
	}
	must[int64](t)(cluster.NewBucket[note](one.c, "notes").Put(ctx, "third", note{N: 3}))

	// One of them comes back with what it has, learns that it was removed, and a third one asks: they are three again.
	last.down()
	if c, err := cluster.Open(ctx, cluster.Config{Dir: last.dir, Name: last.name, Peer: last.peer, PeerTLS: last.tls, Logger: quiet()}); !errors.Is(err, cluster.ErrRemoved) {
		t.Errorf("Open of a removed member = %v, %v, want ErrRemoved", c, err)
	}
	two.down()
	for _, n := range []*node{last, two} {
		if kept, err := cluster.SetAside(n.dir); err != nil || !strings.HasPrefix(kept, n.dir) {
			t.Fatalf("SetAside = %q, %v", kept, err)
		}
	}
	s.want(func(n *node) { n.candidate, n.asks = true, n != one })
	s.settled("node-1", "node-2", "node-3")
	if e, err := cluster.NewBucket[note](last.c, "notes").Get(ctx, "third"); err != nil || e.Value.N != 3 {
		t.Errorf("on a member that came back: %+v, %v", e, err)
	}
}

func id(t testing.TB, c *cluster.Cluster, name string) string {
	t.Helper()
	for _, m := range must[[]cluster.Member](t)(c.Members(context.Background())) {
		if m.Name == name {
			return m.ID
		}
	}
	return ""
}

func TestWithoutAMajorityReadsGoOnAndWritesFailAtOnce(t *testing.T) {
	t.Parallel()
	s := three(t)
	one, two, last := s.nodes[0], s.nodes[1], s.nodes[2]
	ctx := t.Context()
	notes := cluster.NewBucket[note](one.c, "notes")
	known := watching(t, notes)
	next(t, known)
	quorums, watched := make(chan cluster.Quorum, 100), make(chan struct{})
	go func() {
		defer close(watched)
		one.c.WatchQuorum(context.Background(), func(q cluster.Quorum) { quorums <- q })
	}()
	leads, leading := make(chan bool, 100), make(chan error, 1)
	go func() {
		leading <- one.c.Lead(context.Background(), "work", func(ctx context.Context, _ int64) error {
			leads <- true
			<-ctx.Done()
			leads <- false
			return ctx.Err()
		})
	}()
	expect(t, leads, func(is bool) bool { return is })
	expect(t, quorums, func(q cluster.Quorum) bool { return q.OK })

	two.down()
	last.down()
	// A write that was under way when the others went fails when that is known; later ones fail at once.
	if _, err := notes.Put(ctx, "second", note{N: 2}); !errors.Is(err, cluster.ErrNoQuorum) {
		t.Errorf("Put when the majority has gone = %v, want ErrNoQuorum", err)
	}
	expect(t, quorums, func(q cluster.Quorum) bool { return !q.OK })
	for what, err := range map[string]error{
		"Put": second(notes.Put(ctx, "second", note{N: 2})), "Get": second(notes.Get(ctx, "first")), "List": second(notes.List(ctx)),
		"Delete": notes.Delete(ctx, "first"), "Invite": second(one.c.Invite(ctx, "node-4", peerAddress())),
	} {
		if !errors.Is(err, cluster.ErrNoQuorum) {
			t.Errorf("%s without a majority = %v, want ErrNoQuorum", what, err)
		}
	}
	if u := next(t, watching(t, notes)); u.Puts["first"].N != 1 {
		t.Errorf("a watch that begins without a majority has %+v", u)
	}
	expect(t, leads, func(is bool) bool { return !is }) // another member may lead

	s.up(two, nil)
	expect(t, quorums, func(q cluster.Quorum) bool { return q.OK })
	must[int64](t)(notes.Put(ctx, "third", note{N: 3}))
	for u := next(t, known); u.Puts["third"].N != 3; u = next(t, known) {
		if u.Reset {
			t.Errorf("the watch began anew: %+v", u)
		}
	}
	expect(t, leads, func(is bool) bool { return is })
	one.down()
	<-watched
	if err := <-leading; !errors.Is(err, cluster.ErrClosed) {
		t.Errorf("Lead = %v", err)
	}
}

func second[T any](_ T, err error) error { return err }

// expect waits for a value that is as wanted.
func expect[T any](t *testing.T, values <-chan T, wanted func(T) bool) {
	t.Helper()
	limit := time.After(deadline)
	for {
		select {
		case v := <-values:
			if wanted(v) {
				return
			}
		case <-limit:
			t.Fatal("what was waited for did not come")
		}
	}
}
