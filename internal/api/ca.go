package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/ruche-project/ruche"
)

// Authority is the installation's own certificate authority, as people look after it.
type Authority interface {
	Status(ctx context.Context) (ruche.AuthorityList, error)
	// Log gives what was issued; with a name or serial only what has that.
	Log(ctx context.Context, what string) (ruche.IssuedList, error)
	// Begin makes authorities, Import takes what a parent has signed.
	Begin(ctx context.Context, r ruche.AuthorityRequest) (ruche.AuthorityAnswer, error)
	Import(ctx context.Context, p ruche.ParentChain) error
	Sign(ctx context.Context, r ruche.SigningRequest) (ruche.SignedCertificate, error)
	Withdraw(ctx context.Context, r ruche.RevocationRequest) (ruche.IssuedList, error)
	Replace(ctx context.Context, r ruche.ReplacementRequest) (ruche.IssuedList, error)
}

// addAuthority adds the paths of the authority. Who reaches the admin address may look; what changes something is for this host alone.
func (s *Server) addAuthority(mux *http.ServeMux) {
	a := s.cfg.Authority
	if a == nil {
		mux.HandleFunc("/api/v1/ca", notControl)
		mux.HandleFunc("/api/v1/ca/", notControl)
		return
	}
	mux.Handle("/ca/", s.cfg.Files)
	mux.HandleFunc("GET /api/v1/ca", func(w http.ResponseWriter, r *http.Request) {
		status, err := a.Status(r.Context())
		answerAuthority(w, status, err)
	})
	mux.HandleFunc("GET /api/v1/ca/certificates", func(w http.ResponseWriter, r *http.Request) {
		list, err := a.Log(r.Context(), r.URL.Query().Get("what"))
		answerAuthority(w, list, err)
	})
	if s.cfg.ACMEKeys != nil {
		s.addACMEKeys(mux)
	}
	mux.HandleFunc("POST /api/v1/ca", fromHere(authorityCall(a.Begin)))
	mux.HandleFunc("POST /api/v1/ca/parent", fromHere(authorityCall(func(ctx context.Context, p ruche.ParentChain) (struct{}, error) { return struct{}{}, a.Import(ctx, p) })))
	mux.HandleFunc("POST /api/v1/ca/certificates", fromHere(authorityCall(a.Sign)))
	mux.HandleFunc("POST /api/v1/ca/revocations", fromHere(authorityCall(a.Withdraw)))
	mux.HandleFunc("POST /api/v1/ca/replacements", fromHere(authorityCall(a.Replace)))
}

// authorityCall answers a call that takes In as JSON and gives Out.
func authorityCall[In, Out any](call func(context.Context, In) (Out, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var in In
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxRequest)).Decode(&in); err != nil {
			writeJSON(w, http.StatusBadRequest, problem{"the request cannot be read: " + err.Error(), ""})
			return
		}
		out, err := call(r.Context(), in)
		answerAuthority(w, out, err)
	}
}

func answerAuthority(w http.ResponseWriter, v any, err error) {
	switch {
	case errors.Is(err, ruche.ErrNotFound):
		writeJSON(w, http.StatusNotFound, problem{Error: err.Error()})
	case err != nil:
		writeJSON(w, http.StatusBadRequest, problem{Error: err.Error()})
	default:
		writeJSON(w, http.StatusOK, v)
	}
}
