package api

import (
	"net"
	"net/http"
	"net/netip"
	"time"
)

func (s *Server) state(w http.ResponseWriter, r *http.Request) {
	status, err := s.cfg.State(r.Context())
	if err != nil {
		writeJSON(w, http.StatusServiceUnavailable, problem{Error: err.Error()})
		return
	}
	writeJSON(w, http.StatusOK, status)
}

// backupTime is how long a backup may take to be sent; a reader that stops keeps the database from reusing what is removed from it.
const backupTime = 10 * time.Minute

// backup sends the whole state, to this host alone: the admin address may be open to a network for monitoring.
func (s *Server) backup(w http.ResponseWriter, r *http.Request) {
	if !local(r) {
		writeJSON(w, http.StatusForbidden, problem{"a backup is given on this node only", "run \"ruche state backup\" on the node, or in its container"})
		return
	}
	if err := http.NewResponseController(w).SetWriteDeadline(time.Now().Add(backupTime)); err != nil {
		s.cfg.Logger.Warn("a backup may be cut off", "error", err)
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	if err := s.cfg.Backup(r.Context(), w); err != nil {
		s.cfg.Logger.Warn("a backup has failed", "error", err)
		panic(http.ErrAbortHandler) // some of it may be sent: the reader must not take it for the whole
	}
}

// local reports whether a request comes from this host, and not by way of a browser that was told to believe a foreign name.
func local(r *http.Request) bool {
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil || !from.Addr().Unmap().IsLoopback() {
		return false
	}
	host, _, err := net.SplitHostPort(r.Host)
	if err != nil {
		host = r.Host
	}
	_, err = netip.ParseAddr(host)
	return err == nil || host == "localhost"
}
