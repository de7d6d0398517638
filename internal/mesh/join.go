package mesh

import (
	"context"
	"errors"
	"net/http"
)

// JoinRequest is what a control node without the state asks the others for: to become a member of it.
type JoinRequest struct {
	// Ask tells this wish from those before it: an answer to another one is out of date.
	Ask string `json:"ask"`
	// Peer is the URL at which the other members will reach this one.
	Peer string `json:"peer"`
	// Swarm is the ID of its node in the Swarm; empty outside of one.
	Swarm string `json:"swarm,omitempty"`
}

// JoinAnswer is what they answer.
type JoinAnswer struct {
	// Members holds name and peer URL of each member, once the node is invited. Until then it is empty, and the node asks again.
	Members map[string]string `json:"members,omitempty"`
	// Sealed is nothing of worth, sealed for joinSeal: who cannot open it has another sealing key, and must not become a member.
	Sealed []byte `json:"sealed"`
}

// joinSeal is what a JoinAnswer's Sealed is sealed for.
const joinSeal = "greeting for control nodes"

// join lets a control node ask to become a member of the state.
func (s *Server) join(w http.ResponseWriter, r *http.Request, p Peer) error {
	var req JoinRequest
	if err := errors.Join(readBody(w, r, maxStrangerBody, &req), s.needQuorum()); err != nil {
		return err
	}
	a, err := s.cfg.Join(r.Context(), p.Name, req)
	if err != nil {
		return unavailable(err)
	}
	a.Sealed = s.cfg.Seal.Close(joinSeal, []byte(p.Name))
	answer(w, a)
	return nil
}

// Join asks once whether this node, a control node, may become a member of the state. seal is the key that this node has: it must be the others'.
func (c *Client) Join(ctx context.Context, req JoinRequest, seal *Seal) (JoinAnswer, error) {
	var a JoinAnswer
	if err := c.call(ctx, "/v1/join", req, &a); err != nil {
		return JoinAnswer{}, err
	}
	if _, err := seal.Open(joinSeal, a.Sealed); err != nil {
		return JoinAnswer{}, err
	}
	return a, nil
}
