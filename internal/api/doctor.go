package api

import "net/http"

// doctor answers what is wrong or weak. It is to be read as /api/v1/nodes is: it changes nothing.
func (s *Server) doctor(w http.ResponseWriter, r *http.Request) {
	checkup, err := s.cfg.Doctor(r.Context())
	if err != nil {
		writeJSON(w, http.StatusServiceUnavailable, problem{Error: err.Error()})
		return
	}
	writeJSON(w, http.StatusOK, checkup)
}
