package mesh

import (
	"context"
	"crypto/ecdsa"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
)

// dockerRequest is what an agent asks for: a certificate with which it serves the API of its node's Engine.
type dockerRequest struct {
	// Request is a PKCS #10 request. Only its key counts, and that the agent has it.
	Request []byte `json:"request"`
	// Names are those by which clients reach the node beside its own name and address. Whether it may have them is up to the control node.
	Names []string `json:"names,omitempty"`
}

// dockerAnswer is what a control node answers: the certificate and its intermediates, in DER, without the root.
type dockerAnswer struct {
	Chain [][]byte `json:"chain"`
}

// DockerRequest is what an agent asks for, as far as the mesh can vouch for it.
type DockerRequest struct {
	// Node is the agent's name, From where it asks from.
	Node string
	From netip.Addr
	// Key is that of the certificate, which the agent has.
	Key *ecdsa.PublicKey
	// Names are those that it asks for: nobody vouches for them.
	Names []string
}

// dockerCertificate has an agent's certificate made.
func (s *Server) dockerCertificate(w http.ResponseWriter, r *http.Request, p Peer) error {
	var asked dockerRequest
	if err := errors.Join(readBody(w, r, maxStrangerBody, &asked), s.needQuorum()); err != nil {
		return err
	}
	key, err := readRequest(asked.Request)
	if err != nil {
		return refuse(ReasonBadRequest, err.Error())
	}
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return unavailable(err)
	}
	chain, err := s.cfg.DockerCertificate(r.Context(), DockerRequest{Node: p.Name, From: from.Addr().Unmap().WithZone(""), Key: key, Names: asked.Names})
	if err != nil {
		return unavailable(err)
	}
	s.cfg.Logger.Info("a node has a certificate for the Docker API", "node", p.Name)
	answer(w, dockerAnswer{Chain: chain})
	return nil
}

// DockerCertificate asks for the certificate with which this node, an agent, serves the API of its Engine. request is a PKCS #10 request of a key on P-256, of which only the key
// counts; names are those by which clients reach this node beside its own. It gives the chain in DER, without the root.
func (c *Client) DockerCertificate(ctx context.Context, request []byte, names []string) ([][]byte, error) {
	var a dockerAnswer
	if err := c.call(ctx, "/v1/docker-certificate", dockerRequest{Request: request, Names: names}, &a); err != nil {
		return nil, fmt.Errorf("cannot get a certificate for the Docker API: %w", err)
	}
	return a.Chain, nil
}

// Refuse makes the refusal of what a node has asked for; the message is told to it.
func Refuse(reason Reason, message string) *Refusal { return refuse(reason, message) }
