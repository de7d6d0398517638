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
	// Sealed is nothing of worth, sealed for joinSeal, and Others is the same under the other keys that the node has. Who can open none of them has another sealing
	// key, and must not become a member. While a key is being replaced nodes have different ones, and one in common is enough.
	Sealed []byte   `json:"sealed"`
	Others [][]byte `json:"others,omitempty"`
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
	for i, key := range s.cfg.Seal.keys {
		if sealed := key.close(joinSeal, []byte(p.Name)); i == 0 {
			a.Sealed = sealed
		} else {
			a.Others = append(a.Others, sealed)
		}
	}
	answer(w, a)
	return nil
}

// Join asks once whether this node, a control node, may become a member of the state. seal are the keys that this node has: one of them must be the others', too.
func (c *Client) Join(ctx context.Context, req JoinRequest, seal *Seal) (JoinAnswer, error) {
	var a JoinAnswer
	if err := c.call(ctx, "/v1/join", req, &a); err != nil {
		return JoinAnswer{}, err
	}
	_, err := seal.Open(joinSeal, a.Sealed)
	for _, other := range a.Others {
		if err == nil {
			break
		}
		_, err = seal.Open(joinSeal, other)
	}
	if err != nil {
		return JoinAnswer{}, err
	}
	return a, nil
}
