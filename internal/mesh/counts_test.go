package mesh

import (
	"os"
	"regexp"
	"testing"
	"time"
)

func TestNodesAreCounted(t *testing.T) {
	h := newHouse(t)
	c := h.control("c1")
	token := h.token(-1, RoleEdge, RoleAgent)
	edge := h.enrolled("e1", c, token, following(bucketEndpoints))
	agent := h.client("a1", c, token, as(RoleAgent, RoleEdge))
	stop := h.run(agent.Run)
	h.waitEnrolled(agent)
	eventually(t, "all are there", func() bool {
		n := c.Counts()
		return n.Nodes["control"] == 1 && n.Nodes["edge"] == 2 && n.Nodes["agent"] == 1 && n.Seen["control"] == 1 && n.Seen["edge"] == 2 && n.Seen["agent"] == 1 &&
			n.Followers == 2
	})
	if n, there := c.Counts().Refused[string(ReasonForged)]; n != 0 || !there {
		t.Errorf("of forged certificates %d are counted, there %v; want 0 and true", n, there)
	}
	stop()
	eventually(t, "one is not seen any more", func() bool {
		n := c.Counts()
		if n.Seen["agent"] != 0 { // also by a report that was under way when it stopped
			h.clock.forward(lately + time.Second)
		}
		return n.Nodes["edge"] == 2 && n.Seen["edge"] == 1 && n.Seen["agent"] == 0 && n.Seen["control"] == 1 && n.Followers == 1
	})
	if err := h.reg().Remove(t.Context(), "a1"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is one no more", func() bool { n := c.Counts(); return n.Nodes["agent"] == 0 && n.Nodes["edge"] == 1 })
	for name, until := range map[string]time.Time{"e1": edge.Expires(), "c1": c.Expires()} {
		if left := until.Sub(h.clock.now()); left < certificateLifetime/2 || left > certificateLifetime {
			t.Errorf("the certificate of %s is good for %v", name, left)
		}
	}
}

func TestAllReasonsAreListed(t *testing.T) {
	source, err := os.ReadFile("refuse.go")
	if err != nil {
		t.Fatal(err)
	}
	if named := len(regexp.MustCompile(`(?m)^\tReason\w+ +Reason = `).FindAll(source, -1)); named == 0 || named != len(reasons()) {
		t.Errorf("%d reasons are named, %d listed", named, len(reasons()))
	}
}
