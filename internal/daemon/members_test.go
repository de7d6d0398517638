package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/cluster"
	"github.com/ruche-project/ruche/internal/config"
)

// seat is where a control node of a test lives, over several starts.
type seat struct {
	name, dir, token        string
	host, mesh, peer, admin string // addresses
	control                 []string
	bootstrap               bool
	node                    *node
}

// ownHost is an address of the loopback that nobody else has: ports of 127.0.0.1 that are free for a moment may be taken by whoever connects next.
func ownHost() string {
	return fmt.Sprintf("127.%d.%d.%d", 1+rand.N(250), rand.N(250), 1+rand.N(250))
}

func newSeat(t *testing.T, name string) *seat {
	t.Helper()
	host := ownHost()
	return &seat{name: name, dir: t.TempDir(), host: host, mesh: host + ":8901", peer: host + ":8902", admin: host + ":8910"}
}

func (s *seat) config(t *testing.T) *config.Config {
	t.Helper()
	cfg := testConfig(t, s.dir, "unix:///nowhere")
	cfg.NodeName, cfg.MeshAddr, cfg.PeerAddr, cfg.AdminAddr = s.name, s.mesh, s.peer, s.admin
	cfg.NoDocker, cfg.AdvertiseAddr, cfg.Bootstrap = true, s.host, s.bootstrap
	cfg.Control, cfg.JoinTokenFile, cfg.SealKeyFile = s.control, s.token, filepath.Join(s.dir, "..", "seal")
	return cfg
}

// open makes the node, which may take until others are up.
func (s *seat) open(ctx context.Context, t *testing.T) (*Daemon, error) {
	t.Helper()
	return New(ctx, config.Control, s.config(t), "test", slog.New(slog.DiscardHandler), nil)
}

// up starts control nodes, all at once.
func up(t *testing.T, seats ...*seat) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	type opened struct {
		s   *seat
		d   *Daemon
		err error
	}
	results := make(chan opened, len(seats))
	for _, s := range seats {
		go func() {
			d, err := s.open(ctx, t)
			results <- opened{s, d, err}
		}()
	}
	for range seats {
		r := <-results
		if r.err != nil {
			t.Errorf("%s: %v", r.s.name, r.err)
			continue
		}
		r.s.node = serve(t, r.d)
	}
	if t.Failed() {
		t.FailNow()
	}
}

// members waits until the state has exactly these members, all of them up.
func (s *seat) members(t *testing.T, names ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		list, err := s.node.cluster.Members(ctx)
		var have []string
		for _, m := range list {
			if m.Healthy && !m.Learner {
				have = append(have, m.Name)
			}
		}
		if len(list) == len(names) && len(have) == len(names) && strings.Join(slices.Sorted(slices.Values(have)), " ") == strings.Join(names, " ") {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("members are %+v, %v; want %v", list, err, names)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// One host with "ruche up" becomes three control nodes without losing what it knew; then each of them dies and comes back, one with an empty disk.
func TestControlNodesGrowAndHeal(t *testing.T) {
	t.Parallel() // most of the time it waits for members to be let in
	base := t.TempDir()
	if err := os.WriteFile(filepath.Join(base, "seal"), []byte("MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	one, two, three := newSeat(t, "c1"), newSeat(t, "c2"), newSeat(t, "c3")
	for i, s := range []*seat{one, two, three} {
		s.dir = filepath.Join(base, fmt.Sprint(i))
		s.control = []string{one.mesh, two.mesh, three.mesh}
	}
	writeAlone(t, one)

	up(t, one)
	token := joinToken(t, one.node, ruche.TokenRequest{Roles: []string{"control"}, Uses: -1})
	two.token, three.token = token, token
	up(t, two, three)
	one.members(t, "c1", "c2", "c3")
	if e, err := notes(three).Get(t.Context(), "before"); err != nil || e.Value != "kept" {
		t.Errorf("what one host knew is on the third node %+v, %v", e, err)
	}

	one.node.stop(t) // the first one too is nobody special
	until(t, "a write without the first", func() error {
		_, err := notes(two).Put(t.Context(), "without", "the first")
		return err
	})
	up(t, one)
	one.members(t, "c1", "c2", "c3")
	if e, err := notes(one).Get(t.Context(), "without"); err != nil || e.Value != "the first" {
		t.Errorf("the first node has not caught up: %+v, %v", e, err)
	}

	// A node that is removed is no member any more. When it comes back, here with an empty disk, it joins anew.
	three.node.stop(t)
	if err := one.node.control.Remove(t.Context(), "c3"); err != nil {
		t.Fatal(err)
	}
	one.members(t, "c1", "c2")
	if err := os.RemoveAll(three.dir); err != nil {
		t.Fatal(err)
	}
	up(t, three)
	one.members(t, "c1", "c2", "c3")

	// One that was removed while it was away learns that from the others.
	three.node.stop(t)
	if err := one.node.control.Remove(t.Context(), "c3"); err != nil {
		t.Fatal(err)
	}
	one.members(t, "c1", "c2")
	up(t, three)
	one.members(t, "c1", "c2", "c3")
	down(t, three, two, one)
	up(t, one, two, three) // all at once, as after a power cut
	down(t, one, two, three)
}

// down stops control nodes, all at once: one that is left without a majority takes its time.
func down(t *testing.T, seats ...*seat) {
	t.Helper()
	var stopping sync.WaitGroup
	for _, s := range seats {
		stopping.Go(func() { s.node.stop(t) })
	}
	stopping.Wait()
}

func writeAlone(t *testing.T, s *seat) {
	t.Helper()
	cfg := testConfig(t, s.dir, "unix:///nowhere")
	cfg.NodeName, cfg.NoDocker = s.name, true
	d, err := New(t.Context(), config.All, cfg, "test", slog.New(slog.DiscardHandler), nil)
	if err != nil {
		t.Fatal(err)
	}
	n := serve(t, d)
	s.node = n
	if _, err := notes(s).Put(t.Context(), "before", "kept"); err != nil {
		t.Fatal(err)
	}
	n.stop(t)
}

func notes(s *seat) *cluster.Bucket[string] {
	return cluster.NewBucket[string](s.node.cluster, "notes")
}

// until waits until fn gives no error.
func until(t *testing.T, what string, fn func() error) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		err := fn()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v", what, err)
		}
		<-time.After(20 * time.Millisecond)
	}
}

// A control node that waits says so at its admin address, and goes when it is told to.
func TestAControlNodeThatWaitsSaysWhatFor(t *testing.T) {
	base := t.TempDir()
	s := newSeat(t, "c2")
	s.dir, s.token, s.control = filepath.Join(base, "2"), filepath.Join(base, "token"), []string{"127.0.0.1:1"}
	for name, content := range map[string]string{"seal": "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=", "token": "RUCHE-1-" + strings.Repeat("A", 52) + "-" + strings.Repeat("A", 32)} {
		if err := os.WriteFile(filepath.Join(base, name), []byte(content+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := s.open(ctx, t)
		done <- err
	}()
	for path, want := range map[string]struct {
		status int
		text   string
	}{
		"/healthz": {200, "ok"}, "/readyz": {503, "a control node that lets this one in"}, "/api/v1/state": {503, "this node waits: a control node"},
	} {
		until(t, path, func() error {
			resp, err := http.Get("http://" + s.admin + path)
			if err != nil {
				return err
			}
			defer func() { _ = resp.Body.Close() }()
			var body [512]byte
			n, _ := resp.Body.Read(body[:])
			if resp.StatusCode != want.status || !strings.Contains(string(body[:n]), want.text) {
				return fmt.Errorf("status %d, %s", resp.StatusCode, body[:n])
			}
			return nil
		})
	}
	cancel()
	if err := <-done; err == nil {
		t.Error("it has started without other control nodes")
	}
}
