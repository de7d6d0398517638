package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"

	"github.com/ruche-project/ruche"
)

// token is the answer to a request for one.
type token struct {
	Token string `json:"token"`
}

func (s *Server) nodes(w http.ResponseWriter, r *http.Request) {
	list, err := s.cfg.Nodes.List(r.Context())
	if err != nil {
		writeJSON(w, http.StatusServiceUnavailable, problem{err.Error(), "the log of this control node says more"})
		return
	}
	writeJSON(w, http.StatusOK, list)
}

// maxRequest bounds what somebody asks for.
const maxRequest = 64 << 10

func (s *Server) makeToken(w http.ResponseWriter, r *http.Request) {
	var q ruche.TokenRequest
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxRequest)).Decode(&q); err != nil {
		writeJSON(w, http.StatusBadRequest, problem{"the request cannot be read: " + err.Error(), ""})
		return
	}
	text, err := s.cfg.Nodes.MakeToken(r.Context(), q)
	if err != nil {
		writeJSON(w, http.StatusBadRequest, problem{err.Error(), ""})
		return
	}
	writeJSON(w, http.StatusOK, token{text})
}

func (s *Server) tokens(w http.ResponseWriter, r *http.Request) {
	list, err := s.cfg.Nodes.Tokens(r.Context())
	if err != nil {
		writeJSON(w, http.StatusServiceUnavailable, problem{err.Error(), "the log of this control node says more"})
		return
	}
	writeJSON(w, http.StatusOK, list)
}

func (s *Server) removeToken(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	removed(w, s.cfg.Nodes.RemoveToken(r.Context(), id), problem{fmt.Sprintf("there is no join token %q", id), `"ruche nodes token list" lists them`})
}

func (s *Server) removeNode(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	removed(w, s.cfg.Nodes.Remove(r.Context(), name), problem{fmt.Sprintf("there is no node %q", name), `"ruche nodes" lists them`})
}

// removed answers who wanted something removed; unknown is what to say when it is not there.
func removed(w http.ResponseWriter, err error, unknown problem) {
	switch {
	case errors.Is(err, ruche.ErrNotFound):
		writeJSON(w, http.StatusNotFound, unknown)
	case err != nil:
		writeJSON(w, http.StatusBadRequest, problem{err.Error(), ""})
	default:
		writeJSON(w, http.StatusOK, struct{}{})
	}
}

// notControl answers what only control nodes know.
func notControl(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusNotFound, problem{"this node does not answer that: ask a control node", "in the stack, on a manager: docker exec $(docker ps -qf name=ruche_control) /ruche ...; elsewhere name the admin address of one with --admin-addr"})
}

// fromHere lets only this host's own processes do what changes something: the admin address has no password, and is often opened for a Prometheus elsewhere.
func fromHere(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		// A browser on this host must not do it for a page: those send an Origin, the commands do not.
		peer, err := netip.ParseAddrPort(r.RemoteAddr)
		if err != nil || !peer.Addr().Unmap().IsLoopback() || r.Header.Get("Origin") != "" {
			writeJSON(w, http.StatusForbidden, problem{"this is done from the node itself only", "run the command on it, or in its container: docker exec CONTAINER /ruche ..."})
			return
		}
		h(w, r)
	}
}
