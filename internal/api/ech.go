package api

import (
	"context"
	"net/http"

	"github.com/ruche-project/ruche"
)

// ECH tells of Encrypted Client Hello.
type ECH interface {
	// ECH tells which DNS records are to be published, and looks which are.
	ECH(ctx context.Context) (ruche.ECHStatus, error)
}

func (s *Server) ech(w http.ResponseWriter, r *http.Request) {
	status, err := s.cfg.ECH.ECH(r.Context())
	if err != nil {
		writeJSON(w, http.StatusServiceUnavailable, problem{err.Error(), "the log of this control node says more"})
		return
	}
	writeJSON(w, http.StatusOK, status)
}

// ECH asks a control node which DNS records are to be published for Encrypted Client Hello.
func (c *Client) ECH(ctx context.Context) (ruche.ECHStatus, error) {
	var status ruche.ECHStatus
	err := c.get(ctx, "/api/v1/ech", &status)
	return status, err
}
