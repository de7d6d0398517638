package mesh

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/ruche-project/ruche"
)

// onDisk is what a node has on its disk of control nodes.
func onDisk(c *Client) (k contact) {
	data, err := os.ReadFile(filepath.Join(c.cfg.Dir, contactFile))
	if err == nil {
		err = json.Unmarshal(data, &k)
	}
	if err != nil {
		return contact{}
	}
	return k
}

// crashed gives the directory of a node as it would be found if the node ended now.
func crashed(t *testing.T, c *Client) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(c.cfg.Dir)); err != nil {
		t.Fatal(err)
	}
	return dir
}

// A node that was off while control nodes came and went finds those of today, although its settings name one that is no more.
func TestAnOldListLeadsToTodaysControlNodes(t *testing.T) {
	for name, follow := range map[string][]string{"edge": {bucketEndpoints}, "agent": nil} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t)
			first := h.control("c1")
			role := map[string]Role{"edge": RoleEdge, "agent": RoleAgent}[name]
			node := h.enrolled("n1", first, h.token(1, role), as(role), following(follow...))
			second := h.control("c2")
			eventually(t, "the second control node is on the disk", func() bool { return slices.Contains(onDisk(node).Control, second.addr) })
			dir := crashed(t, node)
			first.stop()

			for _, at := range []*control{first, nil} { // nil: no settings at all
				again := h.client("n1", at, "", as(role), following(follow...), func(c *ClientConfig) { c.Dir = dir })
				stop := h.run(again.Run)
				eventually(t, "it follows the second one", func() bool { return again.Following().Control == second.addr })
				stop()
			}
		})
	}
}

// What has not changed for long is not old as long as a control node says so, and that outlives a crash.
func TestTheAgeOfWhatIsKnownOutlivesACrash(t *testing.T) {
	h := newHouse(t)
	c := h.control("c1")
	h.endpoints().put("a", at("10.0.0.1"))
	edge := h.enrolled("e1", c, h.token(1, RoleEdge), following(bucketEndpoints))
	h.mirrorOf(edge).await(t, "a", "10.0.0.1")
	h.clock.forward(100 * time.Hour)
	now := h.clock.now()
	eventually(t, "the disk knows that it was heard", func() bool { return !onDisk(edge).Heard.Before(now) })
	dir := crashed(t, edge)
	h.clock.forward(time.Hour)
	again := h.client("e1", c, "", following(bucketEndpoints), func(c *ClientConfig) { c.Dir = dir })
	if age := h.clock.now().Sub(again.Following().Heard); age < time.Hour || age > time.Hour+heardFor {
		t.Errorf("after a crash what is known is %v old, want an hour", age)
	}
	if err := os.Remove(filepath.Join(dir, replicaFile)); err != nil {
		t.Fatal(err)
	}
	again = h.client("e1", c, "", following(bucketEndpoints), func(c *ClientConfig) { c.Dir = dir })
	if heard := again.Following().Heard; !heard.IsZero() {
		t.Errorf("nothing is known, and it is said to be of %v", heard)
	}
}

// lateBucket is one whose content a control node has not read yet.
type lateBucket struct {
	Bucket[json.RawMessage]
	read chan struct{}
}

func (b lateBucket) Watch(ctx context.Context, fn func(ruche.Update[json.RawMessage])) error {
	select {
	case <-b.read:
	case <-ctx.Done():
		return nil
	}
	return b.Bucket.Watch(ctx, fn)
}

// A control node that does not know all itself makes nothing younger.
func TestWhatWasNotToldIsNotOfNow(t *testing.T) {
	h := newHouse(t)
	late := lateBucket{Bucket: h.raw(bucketDeclarations), read: make(chan struct{})}
	c := h.control("c1", func(s *Server) { s.cfg.Buckets[bucketDeclarations] = late })
	h.endpoints().put("a", at("10.0.0.1"))
	edge := h.enrolled("e1", c, h.token(1, RoleEdge), following(bucketEndpoints, bucketDeclarations))
	h.mirrorOf(edge).await(t, "a", "10.0.0.1") // so that a beat has come as well
	if f := edge.Following(); f.Control == "" || !f.Heard.IsZero() {
		t.Errorf("Following() = %+v, want a control node that was not heard with all", f)
	}
	close(late.read)
	eventually(t, "all was heard", func() bool { return !edge.Following().Heard.IsZero() })
}
