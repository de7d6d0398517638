package daemon

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/cluster"
	"github.com/ruche-project/ruche/internal/config"
	"github.com/ruche-project/ruche/internal/docker"
	"github.com/ruche-project/ruche/internal/docker/fakeengine"
	"github.com/ruche-project/ruche/internal/mesh"
)

// ownSwarmNode is the ID of the fake Engine's own node.
const ownSwarmNode = "n0"

// swarmSeat is a manager of a Swarm in which "ruche stack init" has been, whose label says who has begun the state.
func swarmSeat(t *testing.T, founder string) (*seat, *fakeengine.Engine) {
	t.Helper()
	engine := fakeengine.New(t)
	engine.SetManager(true)
	base := t.TempDir()
	s := newSeat(t, "c1")
	s.dir, s.token = filepath.Join(base, "data"), filepath.Join(base, "token")
	seal, err := mesh.MakeSeal(filepath.Join(base, "seal"))
	if err != nil {
		t.Fatal(err)
	}
	seed, tokens, err := mesh.NewSeed(seal, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(seed)
	if err != nil {
		t.Fatal(err)
	}
	labels := map[string]string{"other": "kept"}
	if founder != "" {
		labels[mesh.SeedFounder] = founder
	}
	client, err := docker.Open(engine.Host())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	if err := client.CreateSwarmConfig(t.Context(), mesh.SeedConfig, labels, data); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(s.token, []byte(tokens[mesh.RoleControl]), 0o600); err != nil {
		t.Fatal(err)
	}
	return s, engine
}

func (s *seat) openIn(ctx context.Context, t *testing.T, engine *fakeengine.Engine) (*Daemon, error) {
	t.Helper()
	cfg := s.config(t)
	cfg.NoDocker, cfg.DockerHost = false, engine.Host()
	return New(ctx, config.Control, cfg, "test", slog.New(slog.DiscardHandler), nil)
}

func TestOneManagerBeginsTheState(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, founder string
		marked, alone bool // it has set out to begin; it was a "ruche up"
		other         bool // it was a control node of another installation
		lost          bool // but its state is gone, and only what proved it to others is there
		begins        bool
		says          string // when it does not
	}{
		{name: "nobody has", begins: true},
		{name: "this one was cut off", founder: ownSwarmNode, marked: true, begins: true},
		{name: "this one has, and lost it", founder: ownSwarmNode, says: "ruche state restore"},
		{name: "another one has", founder: "n9", says: "the join token theirs"},
		{name: "another one was faster", founder: "n9", marked: true, says: "the join token theirs"},
		{name: "nobody has, and one host's state is here", alone: true, begins: true},
		{name: "this one is to, with one host's state", founder: ownSwarmNode, alone: true, begins: true},
		{name: "another one has, and one host's state is here", founder: "n9", alone: true, says: "move the directory away"},
		{name: "nobody has, and a state of another installation is here", other: true, begins: true},
		{name: "nobody has, and certificates of another installation are left", other: true, lost: true, begins: true},
		{name: "this one was cut off when it took over another installation's", founder: ownSwarmNode, other: true, begins: true},
		{name: "another one has, and a state of another installation is here", founder: "n9", other: true, says: "move the directory away"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s, engine := swarmSeat(t, tc.founder)
			if tc.other {
				bootstrapped(t, s)
			}
			if tc.lost {
				if err := os.RemoveAll(stateDir(s.dir)); err != nil {
					t.Fatal(err)
				}
			}
			if tc.alone {
				writeAlone(t, s)
			}
			if tc.marked {
				if err := os.MkdirAll(stateDir(s.dir), 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(stateDir(s.dir), foundingFile), nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			done := make(chan error, 1)
			var d *Daemon
			var opening sync.WaitGroup
			opening.Go(func() {
				var err error
				d, err = s.openIn(ctx, t, engine)
				done <- err
			})
			if !tc.begins {
				text := saysAtLast(t, s, done, tc.says)
				cancel()
				opening.Wait()
				if text != "" {
					t.Error(text)
				}
				return
			}
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			s.node = serve(t, d)
			data, labels, _ := engine.Config(mesh.SeedConfig)
			var seed mesh.Seed
			if err := json.Unmarshal(data, &seed); err != nil {
				t.Fatal(err)
			}
			if root, err := seed.Root(); err != nil || !mesh.FilesOfMember(filepath.Join(s.dir, "mesh")).Of(root) {
				t.Errorf("the node's certificates are not of the installation's authority %s, %v", root, err)
			}
			if labels[mesh.SeedFounder] != ownSwarmNode || labels["other"] != "kept" {
				t.Errorf("the labels are %v", labels)
			}
			tokens, err := cluster.NewBucket[mesh.Token](s.node.cluster, "tokens").List(t.Context())
			if err != nil || len(tokens) != 3 {
				t.Errorf("tokens are %v, %v; want the three of the seed", tokens, err)
			}
			s.node.stop(t)
			if d, err = s.openIn(ctx, t, engine); err != nil {
				t.Fatalf("a second start: %v", err)
			}
			d.close()
		})
	}
}

// bootstrapped makes a seat one of an installation of its own, with a token, and stops it.
func bootstrapped(t *testing.T, s *seat) {
	t.Helper()
	s.bootstrap = true
	up(t, s)
	s.bootstrap = false
	joinToken(t, s.node, ruche.TokenRequest{Roles: []string{"edge"}, Uses: -1})
	s.node.stop(t)
}

// saysAtLast waits until a node that does not begin a state says why, at its admin address or by failing.
func saysAtLast(t *testing.T, s *seat, done chan error, want string) string {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for last := ""; ; {
		select {
		case err := <-done:
			if err == nil || !strings.Contains(err.Error(), want) {
				return fmt.Sprintf("it ended with %v, want %q", err, want)
			}
			return ""
		case <-time.After(10 * time.Millisecond):
		}
		if resp, err := http.Get("http://" + s.admin + "/api/v1/state"); err == nil {
			body, _ := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			if last = string(body); strings.Contains(last, want) {
				return ""
			}
		}
		if time.Now().After(deadline) {
			return fmt.Sprintf("it says %q, want %q", last, want)
		}
	}
}
