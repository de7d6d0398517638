package mesh

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"reflect"
	"testing"
)

// An agent gets what the control node makes for it, by what the mesh knows of it; nobody else does.
func TestDockerCertificate(t *testing.T) {
	h := newHouse(t)
	var got DockerRequest
	c := h.control("c1", func(s *Server) {
		s.cfg.DockerCertificate = func(_ context.Context, r DockerRequest) ([][]byte, error) {
			if got = r; len(r.Names) > 1 {
				return nil, Refuse(ReasonNotOwner, "that is another's")
			}
			return [][]byte{{1}, {2}}, nil
		}
	})
	token := h.token(-1, RoleAgent, RoleEdge)
	agent, edge := h.enrolled("a1", c, token, as(RoleAgent)), h.enrolled("e1", c, token)
	id, err := newIdentity()
	if err != nil {
		t.Fatal(err)
	}
	request, err := id.request()
	if err != nil {
		t.Fatal(err)
	}
	chain, err := agent.DockerCertificate(t.Context(), request, []string{"docker.example"})
	if err != nil || !reflect.DeepEqual(chain, [][]byte{{1}, {2}}) {
		t.Fatalf("the chain is %v, %v", chain, err)
	}
	if got.Node != "a1" || got.From.String() != "127.0.0.1" || !got.Key.Equal(id.key.Public()) || !reflect.DeepEqual(got.Names, []string{"docker.example"}) {
		t.Errorf("asked is %+v", got)
	}
	foreign, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, id.key)
	if err != nil {
		t.Fatal(err)
	}
	foreign[len(foreign)-1] ^= 1 // the signature
	for name, tc := range map[string]struct {
		by      *Client
		request []byte
		names   []string
		want    Reason
	}{
		"an edge":                {edge, request, nil, ReasonRole},
		"no request":             {agent, nil, nil, ReasonBadRequest},
		"not signed by the key":  {agent, foreign, nil, ReasonBadRequest},
		"what is not for it":     {agent, request, []string{"a", "b"}, ReasonNotOwner},
		"more than can be asked": {agent, request, []string{string(make([]byte, maxStrangerBody))}, ReasonBadRequest},
	} {
		_, err := tc.by.DockerCertificate(t.Context(), tc.request, tc.names)
		var r *Refusal
		if !errors.As(err, &r) || r.Reason != tc.want {
			t.Errorf("%s: %v, want %s", name, err, tc.want)
		}
	}
}
