package mesh

import (
	"context"
	"errors"
	"testing"
)

func TestControlNodesAskToBecomeMembers(t *testing.T) {
	h := newHouse(t)
	asked := make(chan JoinRequest, 10)
	h.join = func(_ context.Context, node string, req JoinRequest) (JoinAnswer, error) {
		asked <- req
		if node != "c2" {
			t.Errorf("node %q asked", node)
		}
		return JoinAnswer{Members: map[string]string{"c1": "https://192.0.2.1:8902"}}, nil
	}
	c1 := h.control("c1")
	token := h.token(-1, RoleControl, RoleEdge, RoleAgent)
	wish := JoinRequest{Ask: "x", Peer: "https://192.0.2.2:8902", Swarm: "abc"}

	c2 := h.enrolled("c2", c1, token, as(RoleControl), func(c *ClientConfig) { c.Address = "192.0.2.2:8901" })
	a, err := c2.Join(t.Context(), wish, h.seal)
	if err != nil || a.Members["c1"] != "https://192.0.2.1:8902" {
		t.Errorf("Join() = %+v, %v", a, err)
	}
	if got := <-asked; got != wish {
		t.Errorf("the control node was asked %+v, want %+v", got, wish)
	}
	if _, err := c2.Join(t.Context(), wish, testSeal(t)); !errors.Is(err, ErrSeal) {
		t.Errorf("with another sealing key: %v, want ErrSeal", err)
	}

	var refusal *Refusal
	edge := h.enrolled("e1", c1, token)
	if _, err := edge.Join(t.Context(), wish, h.seal); !errors.As(err, &refusal) || refusal.Reason != ReasonRole {
		t.Errorf("an edge asked to become a member: %v", err)
	}
	c1.quorum.Store(false)
	if _, err := c2.Join(t.Context(), wish, h.seal); !errors.As(err, &refusal) || refusal.Reason != ReasonUnavailable {
		t.Errorf("without quorum: %v", err)
	}
}

// A control node whose address is another than it was enrolled with is found at the new one.
func TestAControlNodeMoves(t *testing.T) {
	h := newHouse(t)
	c1 := h.control("c1")
	eventually(t, "the control node is known", func() bool {
		e, err := h.nodes.Get(t.Context(), "c1")
		return err == nil && e.Value.Address == c1.addr
	})
	c1.stop()
	c1 = h.control("c1")
	eventually(t, "its new address is known", func() bool {
		e, err := h.nodes.Get(t.Context(), "c1")
		return err == nil && e.Value.Address == c1.addr
	})
}
