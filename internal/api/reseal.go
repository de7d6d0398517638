package api

import (
	"context"
	"net/http"

	"github.com/ruche-project/ruche"
)

// Seals looks after what is sealed in the state.
type Seals interface {
	// Look counts it, by the key that it is sealed with.
	Look(ctx context.Context) (ruche.SealStatus, error)
	// Reseal seals some of it anew, and counts what is left.
	Reseal(ctx context.Context) (ruche.SealStatus, error)
}

func (s *Server) seals(w http.ResponseWriter, r *http.Request) {
	answerSeals(w, r, s.cfg.Seals.Look)
}

func (s *Server) reseal(w http.ResponseWriter, r *http.Request) {
	answerSeals(w, r, s.cfg.Seals.Reseal)
}

func answerSeals(w http.ResponseWriter, r *http.Request, ask func(context.Context) (ruche.SealStatus, error)) {
	status, err := ask(r.Context())
	if err != nil {
		writeJSON(w, http.StatusServiceUnavailable, problem{err.Error(), "ask again when the state answers (ruche state status): what is sealed anew already stays so"})
		return
	}
	writeJSON(w, http.StatusOK, status)
}

// Seals asks a control node what is sealed in the state, and with which keys.
func (c *Client) Seals(ctx context.Context) (ruche.SealStatus, error) {
	var status ruche.SealStatus
	err := c.get(ctx, "/api/v1/state/seals", &status)
	return status, err
}

// Reseal has some of what is sealed in the state sealed anew. It is to be called until nothing is left.
func (c *Client) Reseal(ctx context.Context) (ruche.SealStatus, error) {
	var status ruche.SealStatus
	err := c.ask(ctx, http.MethodPost, "/api/v1/state/reseal", nil, &status)
	return status, err
}
