package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"sync/atomic"
	"time"
)

// site answers requests.
type site struct {
	name     string
	hostname string
	sick     *atomic.Bool
}

func newSite(cfg config, sick *atomic.Bool) *site {
	hostname, err := os.Hostname()
	if err != nil {
		hostname = "unknown"
	}
	sick.Store(cfg.unhealthy)
	return &site{name: cfg.name, hostname: hostname, sick: sick}
}

func (s *site) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/", s.describe)
	mux.HandleFunc("GET /healthz", s.healthz)
	mux.HandleFunc("POST /healthz/healthy", s.setHealth(false))
	mux.HandleFunc("POST /healthz/unhealthy", s.setHealth(true))
	mux.HandleFunc("/status/{code}", s.status)
	mux.HandleFunc("/slow", s.slow)
	mux.HandleFunc("/stream", s.stream)
	mux.HandleFunc("/echo", s.echo)
	mux.HandleFunc("/upgrade", s.upgrade)
	return mux
}

// description is what a request looked like when it arrived.
type description struct {
	Site     string      `json:"site"`
	Hostname string      `json:"hostname"`
	Method   string      `json:"method"`
	Host     string      `json:"host"`
	Path     string      `json:"path"`
	Query    string      `json:"query,omitempty"`
	Proto    string      `json:"proto"`
	Remote   string      `json:"remote"`
	Headers  http.Header `json:"headers"`
}

func (s *site) describe(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	out := json.NewEncoder(w)
	out.SetIndent("", "  ")
	// the client has gone: there is nobody to tell
	_ = out.Encode(description{
		Site: s.name, Hostname: s.hostname,
		Method: r.Method, Host: r.Host, Path: r.URL.EscapedPath(), Query: r.URL.RawQuery,
		Proto: r.Proto, Remote: r.RemoteAddr, Headers: r.Header,
	})
}

func (s *site) healthz(w http.ResponseWriter, _ *http.Request) {
	if s.sick.Load() {
		http.Error(w, "unhealthy on request", http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ok")
}

func (s *site) setHealth(sick bool) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		s.sick.Store(sick)
		fmt.Fprintln(w, "noted")
	}
}

// status answers with the code in the path.
func (s *site) status(w http.ResponseWriter, r *http.Request) {
	code, err := strconv.Atoi(r.PathValue("code"))
	if err != nil || code < 200 || code > 599 {
		http.Error(w, "want a status code from 200 to 599", http.StatusBadRequest)
		return
	}
	w.WriteHeader(code)
}

// slow answers after ms milliseconds, at most a minute.
func (s *site) slow(w http.ResponseWriter, r *http.Request) {
	ms, err := strconv.Atoi(r.URL.Query().Get("ms"))
	if err != nil || ms < 0 || ms > 60_000 {
		http.Error(w, "want ms from 0 to 60000", http.StatusBadRequest)
		return
	}
	select {
	case <-time.After(time.Duration(ms) * time.Millisecond):
		s.describe(w, r)
	case <-r.Context().Done():
	}
}

// stream sends count lines, one each interval milliseconds, flushed one by one.
func (s *site) stream(w http.ResponseWriter, r *http.Request) {
	count, interval := 5, 100
	if n, err := strconv.Atoi(r.URL.Query().Get("count")); err == nil {
		count = min(n, 10_000)
	}
	if n, err := strconv.Atoi(r.URL.Query().Get("interval")); err == nil {
		interval = max(n, 1)
	}
	ticker := time.NewTicker(time.Duration(interval) * time.Millisecond)
	defer ticker.Stop()
	flush := http.NewResponseController(w)
	for i := range count {
		fmt.Fprintf(w, "line %d\n", i+1)
		if err := flush.Flush(); err != nil {
			return
		}
		select {
		case <-ticker.C:
		case <-r.Context().Done():
			return
		}
	}
}

// echo sends the request's body back while it arrives.
func (s *site) echo(w http.ResponseWriter, r *http.Request) {
	control := http.NewResponseController(w)
	// HTTP/2 is full duplex anyway and says "not supported"
	_ = control.EnableFullDuplex()
	w.Header().Set("Content-Type", "application/octet-stream")
	// the client has gone: there is nobody to tell
	_, _ = io.Copy(w, r.Body)
}

// upgrade switches to the protocol that the client names and echoes its bytes.
func (s *site) upgrade(w http.ResponseWriter, r *http.Request) {
	protocol := r.Header.Get("Upgrade")
	if protocol == "" {
		http.Error(w, "want an Upgrade header", http.StatusUpgradeRequired)
		return
	}
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, "cannot switch protocols: "+err.Error(), http.StatusInternalServerError)
		return
	}
	defer conn.Close() //nolint:errcheck // both sides are done with it
	if _, err := fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n", protocol); err != nil {
		return
	}
	// ends when either side hangs up
	_, _ = io.Copy(conn, buffered)
}
