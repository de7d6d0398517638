package mesh

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ruche-project/ruche"
)

// mirror is what a watcher of a bucket has made of its updates.
type mirror struct {
	mu     sync.Mutex
	rows   map[string]ruche.Endpoint
	resets int
}

// mirrorOf watches the endpoints of a node.
func (h *house) mirrorOf(c *Client) *mirror {
	m := &mirror{}
	view := Follow[ruche.Endpoint](c, bucketEndpoints)
	h.run(func(ctx context.Context) error {
		return view.Watch(ctx, func(u ruche.Update[ruche.Endpoint]) {
			m.mu.Lock()
			defer m.mu.Unlock()
			if u.Reset {
				m.rows = map[string]ruche.Endpoint{}
				m.resets++
			}
			maps.Copy(m.rows, u.Puts)
			for _, key := range u.Deletes {
				delete(m.rows, key)
			}
		})
	})
	return m
}

func (m *mirror) get(key string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.rows[key].Address
}

func (m *mirror) len() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.rows)
}

func (m *mirror) await(t testing.TB, key, address string) {
	t.Helper()
	eventually(t, fmt.Sprintf("%s is at %q", key, address), func() bool { return m.get(key) == address })
}

func following(buckets ...string) func(*ClientConfig) {
	return func(c *ClientConfig) { c.Follow = buckets }
}

func (h *house) endpoints() bucket[ruche.Endpoint] {
	return bucketOf[ruche.Endpoint](h.state, bucketEndpoints)
}

func at(address string) ruche.Endpoint { return ruche.Endpoint{Address: address} }

func TestFollow(t *testing.T) {
	h := newHouse(t)
	c := h.control("c1")
	h.endpoints().put("a", at("10.0.0.1"))
	edge := h.enrolled("edge-1", c, h.token(1, RoleEdge), following(bucketEndpoints, bucketDeclarations))
	m := h.mirrorOf(edge)
	m.await(t, "a", "10.0.0.1")
	h.endpoints().put("b", at("10.0.0.2"))
	m.await(t, "b", "10.0.0.2")
	if err := h.endpoints().Delete(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	m.await(t, "a", "")
	for i := range 500 {
		h.endpoints().put("b", at(fmt.Sprint(i)))
	}
	m.await(t, "b", "499")
	if f := edge.Following(); f.Control != c.addr || f.Heard.IsZero() {
		t.Errorf("Following() = %+v, want %s", f, c.addr)
	}

	// The control node is away for a while: what changed meanwhile comes, and nothing that stayed comes again.
	c.stop()
	eventually(t, "the edge follows nobody", func() bool { return edge.Following().Control == "" })
	h.endpoints().put("c", at("10.0.0.3"))
	if err := h.endpoints().Delete(t.Context(), "b"); err != nil {
		t.Fatal(err)
	}
	h.controlAt("c1", c.addr)
	m.await(t, "c", "10.0.0.3")
	m.await(t, "b", "")
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.resets != 1 {
		t.Errorf("the watcher got the whole content %d times, want once", m.resets)
	}
}

func TestWhatIsKnownOutlivesTheProcess(t *testing.T) {
	h := newHouse(t)
	c := h.control("c1")
	for i := range 1000 { // of several lines
		h.endpoints().put(fmt.Sprint(i), ruche.Endpoint{Address: "10.0.0.1", NetworkReason: strings.Repeat("r", 1000)})
	}
	edge := h.client("edge-1", c, h.token(1, RoleEdge), following(bucketEndpoints))
	stop := h.run(edge.Run)
	m := h.mirrorOf(edge)
	eventually(t, "all is there", func() bool { return m.len() == 1000 })
	stop()
	c.stop()

	again := h.client("edge-1", c, "", following(bucketEndpoints))
	m = h.mirrorOf(again)
	eventually(t, "all is there without a control node", func() bool { return m.len() == 1000 })
	if again.Following().Heard.IsZero() {
		t.Error("it is not known how old that is")
	}
	h.run(again.Run)
	eventually(t, "a warning stands", func() bool {
		h.clock.forward(time.Minute)
		list := again.cfg.Health.List()
		return len(list) == 1 && list[0].Code == ruche.CodeControlUnreachable && strings.Contains(list[0].Message, "what is known is of")
	})
	h.controlAt("c1", c.addr)
	eventually(t, "the warning is gone", func() bool { return len(again.cfg.Health.List()) == 0 })
}

func TestAControlNodeWithoutQuorumIsLeft(t *testing.T) {
	h := newHouse(t)
	c1, c2 := h.control("c1"), h.control("c2")
	edge := h.enrolled("edge-1", c1, h.token(1, RoleEdge), following(bucketEndpoints))
	m := h.mirrorOf(edge)
	eventually(t, "it knows both", func() bool { return len(edge.addresses()) == 2 })
	for range 2 {
		c1.quorum.Store(false)
		eventually(t, "it follows c2", func() bool { return edge.Following().Control == c2.addr })
		c1.quorum.Store(true)
		c2.quorum.Store(false)
		eventually(t, "it follows c1", func() bool { return edge.Following().Control == c1.addr })
		c2.quorum.Store(true)
	}
	// None has: it stays with one, and hears what that knows.
	c1.quorum.Store(false)
	c2.quorum.Store(false)
	h.endpoints().put("a", at("10.0.0.1"))
	m.await(t, "a", "10.0.0.1")
	eventually(t, "a warning stands", func() bool { return len(edge.cfg.Health.List()) == 1 })
	c1.quorum.Store(true)
	c2.quorum.Store(true)
	eventually(t, "the warning is gone", func() bool { return len(edge.cfg.Health.List()) == 0 })
}

// wire is a way to a control node that can be cut without a word.
type wire struct {
	net.Listener
	to     string
	mu     sync.Mutex
	frozen chan struct{} // of the connections that come now; closed when it is cut
}

// cut ends all connections that there are, without a word. Later ones pass.
func (w *wire) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	close(w.frozen)
	w.frozen = make(chan struct{})
}

func (h *house) wire(to *control) *wire {
	h.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		h.t.Fatal(err)
	}
	w := &wire{Listener: l, to: to.addr, frozen: make(chan struct{})}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			w.mu.Lock()
			frozen := w.frozen
			w.mu.Unlock()
			all.Go(func() { w.carry(h.t.Context(), conn, frozen) })
		}
	})
	h.t.Cleanup(func() { _ = l.Close(); all.Wait() })
	return w
}

func (w *wire) carry(ctx context.Context, conn net.Conn, frozen <-chan struct{}) {
	defer func() { _ = conn.Close() }()
	other, err := net.Dial("tcp", w.to)
	if err != nil {
		return
	}
	defer func() { _ = other.Close() }()
	defer context.AfterFunc(ctx, func() { _, _ = conn.Close(), other.Close() })()
	var both sync.WaitGroup
	for _, dir := range [][2]net.Conn{{conn, other}, {other, conn}} {
		both.Go(func() {
			buf := make([]byte, 32<<10)
			for {
				n, err := dir[0].Read(buf)
				select {
				case <-frozen:
					n = 0 // the bytes get lost
				default:
				}
				if err == nil && n > 0 {
					_, err = dir[1].Write(buf[:n])
				}
				if err != nil {
					_, _ = dir[0].Close(), dir[1].Close()
					return
				}
			}
		})
	}
	both.Wait()
}

func TestASilentControlNodeIsLeft(t *testing.T) {
	h := newHouse(t)
	c1, c2 := h.control("c1"), h.control("c2")
	w := h.wire(c1)
	edge := h.client("edge-1", &control{addr: w.Addr().String()}, h.token(1, RoleEdge), following(bucketEndpoints))
	edge.timing.silence = time.Second
	if err := edge.keeper.obtain(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	edge.mu.Lock()
	edge.book = nil // it begins with the wire
	edge.mu.Unlock()
	m := h.mirrorOf(edge)
	h.run(edge.Run)
	eventually(t, "it follows c1 over the wire", func() bool { return edge.Following().Control != "" })
	close(w.frozen)
	h.endpoints().put("a", at("10.0.0.1"))
	m.await(t, "a", "10.0.0.1")
	if got := edge.Following().Control; got != c1.addr && got != c2.addr {
		t.Errorf("it follows %s, want %s or %s", got, c1.addr, c2.addr)
	}
}

// A connection that leads nowhere any more is not used again, although its pings have not failed yet.
func TestSilenceIsFollowedByANewConnection(t *testing.T) {
	h := newHouse(t)
	c := h.control("c1")
	w := h.wire(c)
	edge := h.client("edge-1", &control{addr: w.Addr().String()}, h.token(1, RoleEdge), following(bucketEndpoints))
	if err := edge.keeper.obtain(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	id, _ := edge.keeper.current()
	_ = edge.client(id) // its pings take longer than what follows
	edge.timing.silence = time.Second
	edge.mu.Lock()
	edge.book = nil // it knows the wire alone
	edge.mu.Unlock()
	m := h.mirrorOf(edge)
	h.run(edge.Run)
	h.endpoints().put("a", at("10.0.0.1"))
	m.await(t, "a", "10.0.0.1")
	edge.mu.Lock()
	edge.book = nil // the beats tell of c1
	edge.mu.Unlock()
	w.cut()
	h.endpoints().put("a", at("10.0.0.2"))
	m.await(t, "a", "10.0.0.2")
}

func TestAStuckFollowerIsCut(t *testing.T) {
	h := newHouse(t)
	c := h.control("c1", func(s *Server) { s.timing.write = 500 * time.Millisecond })
	token := h.token(-1, RoleEdge)
	good := h.enrolled("edge-1", c, token, following(bucketEndpoints))
	m := h.mirrorOf(good)
	stuck := h.client("edge-2", c, token)
	if err := stuck.keeper.obtain(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	id, _ := stuck.keeper.current()
	resp, err := stuck.client(id).Get("https://" + c.addr + "/v1/follow?buckets=" + bucketEndpoints)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	big := strings.Repeat("x", 20<<10)
	i := 0
	eventually(t, "the stuck one is cut", func() bool {
		i++
		h.endpoints().put(fmt.Sprint(i%100), ruche.Endpoint{Address: fmt.Sprint(i), NetworkReason: big})
		return c.streamsOf("edge-2") == 0
	})
	m.await(t, fmt.Sprint(i%100), fmt.Sprint(i))
	if _, err := io.Copy(io.Discard, resp.Body); err == nil {
		t.Error("the stream that was cut looks whole")
	}
}

func TestWhoMayFollow(t *testing.T) {
	h := newHouse(t)
	c := h.control("c1")
	token := h.token(-1, RoleEdge, RoleAgent)
	for _, tc := range []struct {
		name    string
		role    Role
		buckets string
		want    int
		told    string
	}{
		{"an edge its buckets", RoleEdge, "declarations,endpoints,ingress", 200, "declarations,endpoints,ingress"},
		{"an agent no bucket", RoleAgent, "", 200, ""},
		{"an agent endpoints", RoleAgent, "endpoints", 403, ""},
		{"an agent the mesh of the Swarm", RoleAgent, "ingress", 403, ""},
		{"an edge sightings", RoleEdge, "sightings", 403, ""},
		{"an edge what certificates are wanted", RoleEdge, "certspecs", 403, ""},
		{"an agent what certificates are wanted", RoleAgent, "certspecs", 403, ""},
		{"an edge the authority", RoleEdge, "authority", 200, ""},
		{"an edge tokens", RoleEdge, "endpoints,tokens", 200, "endpoints"},
		{"an edge what a newer release has", RoleEdge, "endpoints,tomorrow,ingress", 200, "endpoints,ingress"},
	} {
		node := h.client(strings.ReplaceAll(tc.name, " ", "-"), c, token, as(tc.role))
		if err := node.keeper.obtain(t.Context(), false); err != nil {
			t.Fatal(err)
		}
		id, _ := node.keeper.current()
		ctx, cancel := context.WithCancel(t.Context())
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+c.addr+"/v1/follow?buckets="+tc.buckets, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := node.client(id).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode != tc.want {
			t.Errorf("%s: status %d, want %d", tc.name, resp.StatusCode, tc.want)
		}
		if told := resp.Header.Get(bucketsHeader); told != tc.told {
			t.Errorf("%s: it is told of %q, want %q", tc.name, told, tc.told)
		}
		cancel()
		_ = resp.Body.Close()
	}
	c.refused(t, "following what is not for a role", ReasonRole)
}

func TestANodeThatIsRemovedHearsNoMore(t *testing.T) {
	h := newHouse(t)
	c := h.control("c1")
	edge := h.enrolled("edge-1", c, h.token(1, RoleEdge), following(bucketEndpoints))
	eventually(t, "it follows", func() bool { return c.streamsOf("edge-1") == 1 })
	if err := h.reg().Remove(t.Context(), "edge-1"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it follows no longer", func() bool { return c.streamsOf("edge-1") == 0 })
	c.refused(t, "a removed node", ReasonUnknownNode)
	// Its token was for once, but for its key: it is in again when it asks.
	eventually(t, "it is back", func() bool { return edge.Following().Control == c.addr })
}

func TestRotationUnderTraffic(t *testing.T) {
	h := newHouse(t)
	c := h.control("c1")
	node := h.enrolled("node-1", c, h.token(1, RoleEdge, RoleAgent), as(RoleAgent, RoleEdge), following(bucketEndpoints))
	m := h.mirrorOf(node)
	eventually(t, "it follows", func() bool { return node.Following().Control != "" })
	var calls, failed int
	var stop sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	stop.Go(func() {
		for ctx.Err() == nil {
			if _, err := node.Load(context.Background()); err != nil {
				failed++
				t.Error(err)
			}
			calls++
		}
	})
	for i := range 5 {
		before, _ := node.keeper.current()
		controls := c.identity()
		h.clock.forward(certificateLifetime*6/10 + time.Minute)
		eventually(t, "it has another certificate", func() bool { now, _ := node.keeper.current(); return now != before })
		eventually(t, "the control node has another one too", func() bool { return c.identity() != controls }) // before it expires by the next step
		eventually(t, "the old key is good no more", func() bool {
			e, err := h.nodes.Get(t.Context(), "node-1")
			return err == nil && e.Value.OldKey == ""
		})
		h.endpoints().put("a", at(fmt.Sprint(i)))
		m.await(t, "a", fmt.Sprint(i))
	}
	cancel()
	stop.Wait()
	if calls == 0 || failed > 0 {
		t.Errorf("%d of %d calls failed", failed, calls)
	}
}

func TestReports(t *testing.T) {
	h := newHouse(t)
	c := h.control("c1")
	h.enrolled("edge-1", c, h.token(1, RoleEdge))
	status := bucketOf[ruche.NodeStatus](h.state, "nodestatus")
	for _, name := range []string{"edge-1", "c1"} {
		eventually(t, name+" is seen", func() bool {
			e, err := status.Get(t.Context(), name)
			return err == nil && e.Value.Node == name && e.Value.Version == "test" && !e.Value.Seen.IsZero()
		})
	}
	e, err := status.Get(t.Context(), "edge-1")
	if err != nil {
		t.Fatal(err)
	}
	h.clock.forward(time.Minute)
	eventually(t, "it is seen again", func() bool {
		now, err := status.Get(t.Context(), "edge-1")
		return err == nil && now.Value.Seen.After(e.Value.Seen)
	})
}

func TestAgentsWriteTheirOwnRows(t *testing.T) {
	h := newHouse(t)
	c := h.control("c1")
	token := h.token(-1, RoleEdge, RoleAgent)
	agent := h.enrolled("a1", c, token, as(RoleAgent))
	other := h.enrolled("a2", c, token, as(RoleAgent))
	edge := h.enrolled("e1", c, token)
	put := func(bucket, key, value string) []ruche.Change {
		return []ruche.Change{{Bucket: bucket, Key: key, Value: []byte(value)}}
	}
	for _, step := range []struct {
		name    string
		by      *Client
		changes []ruche.Change
		want    Reason // "" for done
	}{
		{"its declaration", agent, put("declarations", "container/1", `{"workload":{"id":"container/1","node":"a1"}}`), ""},
		{"its endpoint", agent, put("endpoints", "container/1", `{"workload":"container/1","node":"a1"}`), ""},
		{"its sighting", agent, put("sightings", "t1", `{"task":"t1","node":"a1"}`), ""},
		{"the certificates that it wants", agent, put("certspecs", "container/1", `{"workload":{"id":"container/1","node":"a1"},"specs":[]}`), ""},
		{"another's certificates", other, put("certspecs", "container/1", `{"workload":{"id":"container/1","node":"a2"}}`), ReasonNotOwner},
		{"another's certificates go", other, []ruche.Change{{Bucket: "certspecs", Key: "container/1"}}, ReasonNotOwner},
		{"certificates in another's name", other, put("certspecs", "container/2", `{"workload":{"id":"container/2","node":"a1"}}`), ReasonNotOwner},
		{"certificates of a service", other, put("certspecs", "service/1", `{"workload":{"id":"service/1","node":"a2"}}`), ReasonNotOwner},
		{"an edge certificates", edge, put("certspecs", "container/7", `{"workload":{"id":"container/7","node":"e1"}}`), ReasonRole},
		{"what does not exist goes", agent, []ruche.Change{{Bucket: "endpoints", Key: "container/9"}}, ""},
		{"another's row", other, put("endpoints", "container/1", `{"workload":"container/1","node":"a2"}`), ReasonNotOwner},
		{"another's row goes", other, []ruche.Change{{Bucket: "declarations", Key: "container/1"}}, ReasonNotOwner},
		{"in another's name", other, put("endpoints", "container/2", `{"workload":"container/2","node":"a1"}`), ReasonNotOwner},
		{"one of two", other, append(put("sightings", "t2", `{"task":"t2","node":"a2"}`), put("sightings", "t1", `{"task":"t1","node":"a2"}`)...), ReasonNotOwner},
		{"an endpoint of another's workload", other, put("endpoints", "container/3", `{"workload":"container/1","node":"a2"}`), ReasonNotOwner},
		{"an endpoint of a service", other, put("endpoints", "service/1", `{"workload":"service/1","node":"a2"}`), ReasonNotOwner},
		{"a declaration of a service", other, put("declarations", "service/1", `{"workload":{"id":"service/1","node":"a2"}}`), ReasonNotOwner},
		{"another key than its workload's", other, put("declarations", "container/4", `{"workload":{"id":"container/5","node":"a2"}}`), ReasonNotOwner},
		{"null", other, put("endpoints", "container/6", `null`), ReasonNotOwner},
		{"a value that is none", other, put("endpoints", "container/6", `"a"`), ReasonNotOwner},
		{"who is a node", other, put("nodes", "a2", `{"roles":["control"]}`), ReasonRole},
		{"a token", other, put("tokens", "x", `{"uses":-1}`), ReasonRole},
		{"too much", other, make([]ruche.Change, maxChanges+1), ReasonBadRequest},
		{"an edge its endpoint", edge, put("endpoints", "container/7", `{"workload":"container/7","node":"e1"}`), ReasonRole},
	} {
		err := step.by.Apply(t.Context(), step.changes)
		var r *Refusal
		switch {
		case step.want == "" && err != nil:
			t.Errorf("%s: %v", step.name, err)
		case step.want != "" && (!errors.As(err, &r) || r.Reason != step.want):
			t.Errorf("%s: error %v, want %q", step.name, err, step.want)
		}
	}
	rows, err := agent.Load(t.Context())
	if err != nil || len(rows["declarations"]) != 1 || len(rows["endpoints"]) != 1 || len(rows["sightings"]) != 1 || len(rows["certspecs"]) != 1 {
		t.Errorf("the agent's rows are %s, %v", rows, err)
	}
	if rows, err := other.Load(t.Context()); err != nil || len(rows["declarations"])+len(rows["endpoints"])+len(rows["sightings"]) != 0 {
		t.Errorf("the other's rows are %s, %v, want none", rows, err)
	}
	if _, err := edge.Load(t.Context()); err == nil {
		t.Error("an edge loaded rows")
	}
	c.refused(t, "another's row", ReasonNotOwner)
	c.refused(t, "an edge", ReasonRole)

	// Without quorum the next control node is asked.
	c2 := h.control("c2")
	c.quorum.Store(false)
	eventually(t, "c2 takes it", func() bool {
		return agent.Apply(t.Context(), put("sightings", "t3", `{"task":"t3","node":"a1"}`)) == nil
	})
	if n := c2.Refused()[ReasonUnavailable]; n != 0 {
		t.Errorf("c2 refused %d times", n)
	}
}
