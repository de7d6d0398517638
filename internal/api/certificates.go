package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/ruche-project/ruche"
)

// Certificates is what a control node knows of certificates, and has done with them.
type Certificates interface {
	Certificates(ctx context.Context) (ruche.CertificateList, error)
	// Renew and Revoke answer at once; what they ask for is done by the control node that looks after certificates.
	Renew(ctx context.Context, r ruche.RenewRequest) ([]ruche.CertificateTask, error)
	Revoke(ctx context.Context, r ruche.RevokeRequest) ([]ruche.CertificateTask, error)
}

func (s *Server) addCertificates(mux *http.ServeMux) {
	if s.cfg.Certificates == nil {
		for _, path := range []string{"/api/v1/certificates", "/api/v1/certificates/renew", "/api/v1/certificates/revoke"} {
			mux.HandleFunc(path, notControl)
		}
		return
	}
	mux.HandleFunc("GET /api/v1/certificates", s.certificates)
	mux.HandleFunc("POST /api/v1/certificates/renew", fromHere(func(w http.ResponseWriter, r *http.Request) {
		askCertificates(w, r, s.cfg.Certificates.Renew)
	}))
	mux.HandleFunc("POST /api/v1/certificates/revoke", fromHere(func(w http.ResponseWriter, r *http.Request) {
		askCertificates(w, r, s.cfg.Certificates.Revoke)
	}))
}

func (s *Server) certificates(w http.ResponseWriter, r *http.Request) {
	list, err := s.cfg.Certificates.Certificates(r.Context())
	if err != nil {
		writeJSON(w, http.StatusServiceUnavailable, problem{err.Error(), "the log of this control node says more"})
		return
	}
	writeJSON(w, http.StatusOK, list)
}

// askCertificates has something done with certificates.
func askCertificates[Q any](w http.ResponseWriter, r *http.Request, do func(context.Context, Q) ([]ruche.CertificateTask, error)) {
	var q Q
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxRequest)).Decode(&q); err != nil {
		writeJSON(w, http.StatusBadRequest, problem{"the request cannot be read: " + err.Error(), ""})
		return
	}
	tasks, err := do(r.Context(), q)
	switch {
	case errors.Is(err, ruche.ErrNotFound):
		writeJSON(w, http.StatusNotFound, problem{err.Error(), ""})
	case err != nil:
		writeJSON(w, http.StatusBadRequest, problem{err.Error(), ""})
	default:
		writeJSON(w, http.StatusOK, tasks)
	}
}

// Certificates asks a control node which certificates there are.
func (c *Client) Certificates(ctx context.Context) (ruche.CertificateList, error) {
	var list ruche.CertificateList
	err := c.get(ctx, "/api/v1/certificates", &list)
	return list, err
}

// RenewCertificates has certificates renewed out of turn.
func (c *Client) RenewCertificates(ctx context.Context, r ruche.RenewRequest) ([]ruche.CertificateTask, error) {
	var tasks []ruche.CertificateTask
	err := c.ask(ctx, http.MethodPost, "/api/v1/certificates/renew", r, &tasks)
	return tasks, err
}

// RevokeCertificates has certificates replaced and then revoked.
func (c *Client) RevokeCertificates(ctx context.Context, r ruche.RevokeRequest) ([]ruche.CertificateTask, error) {
	var tasks []ruche.CertificateTask
	err := c.ask(ctx, http.MethodPost, "/api/v1/certificates/revoke", r, &tasks)
	return tasks, err
}
