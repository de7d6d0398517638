package mesh

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/health"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// quick is a timing for tests. What must not happen in a test by being slow takes long.
func quick() timing {
	return timing{
		look: 5 * time.Millisecond, minBackoff: 5 * time.Millisecond, maxBackoff: 50 * time.Millisecond,
		beat: 20 * time.Millisecond, silence: 20 * time.Second, report: 20 * time.Millisecond, save: 10 * time.Millisecond,
		handshake: 20 * time.Second, stranger: 20 * time.Second, write: 20 * time.Second, again: 50 * time.Millisecond,
	}
}

// house is an installation: a state, and what the control nodes over it share.
type house struct {
	t     testing.TB
	dir   string
	clock *clock
	state *state
	reg   func() *Registry
	nodes bucket[Node]
	seal  *Seal
	// join answers control nodes that ask to become members of the state.
	join func(ctx context.Context, node string, req JoinRequest) (JoinAnswer, error)
}

func newHouse(t testing.TB) *house {
	h := &house{t: t, dir: t.TempDir(), clock: newClock(), state: newState(), seal: testSeal(t)}
	a := testAuthority(t, h.state, h.clock.now)
	h.nodes = bucketOf[Node](h.state, "nodes")
	h.reg = func() *Registry {
		return NewRegistry(a, h.nodes, bucketOf[Token](h.state, "tokens"), bucketOf[ruche.NodeStatus](h.state, "nodestatus"))
	}
	return h
}

// token makes a join token.
func (h *house) token(uses int, roles ...Role) string {
	h.t.Helper()
	text, err := h.reg().MakeToken(h.t.Context(), roles, uses, h.clock.now().Add(365*24*time.Hour))
	if err != nil {
		h.t.Fatal(err)
	}
	return text
}

func (h *house) raw(name string) bucket[json.RawMessage] {
	return bucketOf[json.RawMessage](h.state, name)
}

func (h *house) buckets() map[string]Bucket[json.RawMessage] {
	all := map[string]Bucket[json.RawMessage]{}
	for _, name := range []string{bucketDeclarations, bucketEndpoints, bucketSightings, bucketIngress, bucketCertificates, bucketChallenges, bucketTickets, bucketECH, bucketServed, bucketCertSpecs} {
		all[name] = h.raw(name)
	}
	return all
}

// rows are those of a node in the test's state.
func (h *house) rows(node string) Rows { return rowsOf{h, node} }

type rowsOf struct {
	*house
	node string
}

func (r rowsOf) Load(ctx context.Context) (map[string]map[string]json.RawMessage, error) {
	rows := map[string]map[string]json.RawMessage{}
	for name := range r.buckets() {
		all, err := r.raw(name).List(ctx)
		if err != nil {
			return nil, err
		}
		rows[name] = map[string]json.RawMessage{}
		for key, e := range all {
			if check := accessTo(name).check; check != nil && check(r.node, key, e.Value) == nil {
				rows[name][key] = e.Value
			}
		}
	}
	return rows, nil
}

func (r rowsOf) Apply(_ context.Context, changes []ruche.Change) error {
	r.state.mu.Lock()
	defer r.state.mu.Unlock()
	for _, c := range changes {
		r.state.write(c.Bucket, c.Key, c.Value)
	}
	return r.state.broken
}

// control is a running control node.
type control struct {
	*Server
	addr   string
	log    *record
	quorum atomic.Bool
	stop   func()
}

func (h *house) control(name string, change ...func(*Server)) *control {
	return h.controlAt(name, "127.0.0.1:0", change...)
}

func (h *house) controlAt(name, addr string, change ...func(*Server)) *control {
	h.t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		h.t.Fatal(err)
	}
	c := &control{addr: l.Addr().String(), log: &record{}}
	c.quorum.Store(true)
	c.Server, err = NewServer(ServerConfig{
		Listener: l, Dir: filepath.Join(h.dir, name), Name: name, Roles: []Role{RoleControl}, Address: c.addr,
		Status:  func() ruche.NodeStatus { return ruche.NodeStatus{Version: "test"} },
		Buckets: h.buckets(), Rows: h.rows, Join: h.join, Seal: h.seal,
		Registry: h.reg(), Quorum: c.quorum.Load, Logger: slog.New(slog.NewTextHandler(c.log, nil)), Health: &health.Registry{},
	})
	if err != nil {
		h.t.Fatal(err)
	}
	c.timing = quick()
	c.keeper.timing = c.timing
	for _, f := range change {
		f(c.Server)
	}
	c.stop = h.run(c.Run)
	return c
}

// run runs something until the end of the test, or until the function that it gives is called.
func (h *house) run(run func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			h.t.Error(err)
		}
	})
	h.t.Cleanup(stop)
	return stop
}

// client makes a node that is not control, and does not run it.
func (h *house) client(name string, at *control, token string, change ...func(*ClientConfig)) *Client {
	h.t.Helper()
	cfg := ClientConfig{
		Dir: filepath.Join(h.dir, name), Name: name, Roles: []Role{RoleEdge}, Token: token, Now: h.clock.now,
		Status: func() ruche.NodeStatus { return ruche.NodeStatus{Version: "test"} },
		Logger: slog.New(slog.DiscardHandler), Health: &health.Registry{},
	}
	if at != nil {
		cfg.Control = []string{at.addr}
	}
	for _, f := range change {
		f(&cfg)
	}
	c, err := NewClient(cfg)
	if err != nil {
		h.t.Fatal(err)
	}
	c.timing = quick()
	c.keeper.timing = c.timing
	h.t.Cleanup(c.idle)
	return c
}

// enrolled makes a node and runs it until it is enrolled, and on.
func (h *house) enrolled(name string, at *control, token string, change ...func(*ClientConfig)) *Client {
	h.t.Helper()
	c := h.client(name, at, token, change...)
	h.run(c.Run)
	h.waitEnrolled(c)
	return c
}

func (h *house) waitEnrolled(c *Client) {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), 30*time.Second)
	defer cancel()
	if err := c.Enrolled(ctx); err != nil {
		h.t.Fatalf("%s is not enrolled: %v; warnings %v", c.cfg.Name, err, c.cfg.Health.List())
	}
}

func as(roles ...Role) func(*ClientConfig) { return func(c *ClientConfig) { c.Roles = roles } }

// record is a log that a test reads.
type record struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (r *record) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.Write(p)
}

func (r *record) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.String()
}

// refused waits until a control node has counted and logged a refusal.
func (c *control) refused(t testing.TB, name string, reason Reason) {
	t.Helper()
	eventually(t, fmt.Sprintf("%s: a refusal %q, there are %v", name, reason, c.Refused()), func() bool { return c.Refused()[reason] > 0 })
	if !strings.Contains(c.log.String(), "reason="+string(reason)+" ") {
		t.Errorf("%s: the log does not tell of %q:\n%s", name, reason, c.log)
	}
}
