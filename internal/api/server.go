// Package api is the admin address: what Ruche knows about itself, over HTTP, and for the host itself what changes it.
package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/ruche-project/ruche"
)

// Edge answers the questions about routes.
type Edge interface {
	Routes() ruche.RouteList
	Explain(rawURL string) (ruche.Explanation, error)
}

// Nodes is what a control node knows of the others.
type Nodes interface {
	List(ctx context.Context) (ruche.NodeList, error)
	// MakeToken makes a join token.
	MakeToken(ctx context.Context, r ruche.TokenRequest) (string, error)
	// Tokens lists the join tokens, RemoveToken ends the one with an ID.
	Tokens(ctx context.Context) (ruche.TokenList, error)
	RemoveToken(ctx context.Context, id string) error
	// Remove has the installation forget a node.
	Remove(ctx context.Context, name string) error
}

// Config is what a Server needs.
type Config struct {
	// Addr is the TCP address to listen on, "127.0.0.1:8900".
	Addr string
	// Listen opens that; nil stands for a new socket.
	Listen func(addr string) (*net.TCPListener, error)
	Edge   Edge
	// Metrics serves /metrics.
	Metrics http.Handler
	// State tells how the replicated state is, Backup writes a backup of it; nil on a node that has none.
	State  func(context.Context) (ruche.StateStatus, error)
	Backup func(context.Context, io.Writer) error
	// Nodes answers for all nodes; nil on a node that is not control.
	Nodes Nodes
	// Seals looks after what is sealed in the state; nil on a node that has none.
	Seals Seals
	// Importer keeps certificates that other products had; nil on a node that has no state.
	Importer Importer
	// Authority is the installation's own, Files what everybody may have of it, under /ca/; nil on a node that is not control.
	Authority Authority
	Files     http.Handler
	// ACMEKeys are the external account keys of the authority's ACME server; nil where there is no authority.
	ACMEKeys ACMEKeys
	// Doctor looks at the whole installation; nil on a node that has no state.
	Doctor func(context.Context) (ruche.Checkup, error)
	// Certificates answers for all certificates; nil on a node that has no state.
	Certificates Certificates
	// ECH tells of Encrypted Client Hello; nil on a node that has no state.
	ECH ECH
	// NotReady names the parts that cannot work yet, or no longer; empty means ready.
	NotReady func() []string
	// Without says what a node that is ready does without for now; empty where there is nothing. It may be nil.
	Without func() string
	Logger  *slog.Logger
}

// Server serves the admin address.
type Server struct {
	cfg      Config
	listener net.Listener
}

// New opens the admin address, so that a mistake in it is known before anything else starts.
func New(cfg Config) (*Server, error) {
	listen := cfg.Listen
	if listen == nil {
		listen = listenTCP
	}
	listener, err := listen(cfg.Addr)
	if err != nil {
		return nil, fmt.Errorf("cannot open the admin address %q: %w (choose another with --admin-addr)", cfg.Addr, err)
	}
	return &Server{cfg: cfg, listener: listener}, nil
}

func listenTCP(addr string) (*net.TCPListener, error) {
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", addr)
	if err != nil {
		return nil, err
	}
	return l.(*net.TCPListener), nil
}

// Addr is the address that the server listens on.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// Close closes the listener of a server that was never run.
func (s *Server) Close() error { return s.listener.Close() }

// Run serves until ctx ends, and then lets running requests end for at most a second.
func (s *Server) Run(ctx context.Context) error { return s.serve(ctx, s.handler()) }

func (s *Server) serve(ctx context.Context, handler http.Handler) error {
	server := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(s.cfg.Logger.Handler(), slog.LevelDebug),
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(s.listener) }()
	select {
	case err := <-served:
		return fmt.Errorf("cannot serve the admin address: %w", err)
	case <-ctx.Done():
	}
	stop, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := server.Shutdown(stop); err != nil {
		_ = server.Close() // what did not end by itself is a scrape at most
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("cannot serve the admin address: %w", err)
	}
	return nil
}

func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", s.cfg.Metrics)
	mux.HandleFunc("GET /healthz", healthz)
	mux.HandleFunc("GET /readyz", s.readyz)
	mux.HandleFunc("GET /api/v1/routes", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, s.cfg.Edge.Routes())
	})
	mux.HandleFunc("GET /api/v1/explain", s.explain)
	if s.cfg.State != nil {
		mux.HandleFunc("GET /api/v1/state", s.state)
		mux.HandleFunc("POST /api/v1/state/backup", fromHere(s.backup))
	} else {
		mux.HandleFunc("/api/v1/state", notControl)
		mux.HandleFunc("/api/v1/state/backup", notControl)
	}
	if s.cfg.Nodes != nil {
		mux.HandleFunc("GET /api/v1/nodes", s.nodes)
		mux.HandleFunc("GET /api/v1/tokens", s.tokens)
		mux.HandleFunc("DELETE /api/v1/tokens/{id}", fromHere(s.removeToken))
		mux.HandleFunc("POST /api/v1/tokens", fromHere(s.makeToken))
		mux.HandleFunc("DELETE /api/v1/nodes/{name}", fromHere(s.removeNode))
	} else {
		mux.HandleFunc("/api/v1/nodes", notControl)
		mux.HandleFunc("/api/v1/nodes/{name}", notControl)
		mux.HandleFunc("/api/v1/tokens", notControl)
		mux.HandleFunc("/api/v1/tokens/{id}", notControl)
	}
	s.addCertificates(mux)
	s.addAuthority(mux)
	if s.cfg.Seals != nil {
		mux.HandleFunc("GET /api/v1/state/seals", s.seals)
		mux.HandleFunc("POST /api/v1/state/reseal", fromHere(s.reseal))
	} else {
		mux.HandleFunc("/api/v1/state/seals", notControl)
		mux.HandleFunc("/api/v1/state/reseal", notControl)
	}
	if s.cfg.ECH != nil {
		mux.HandleFunc("GET /api/v1/ech", s.ech)
	} else {
		mux.HandleFunc("/api/v1/ech", notControl)
	}
	if s.cfg.Importer != nil {
		mux.HandleFunc("POST /api/v1/certificates/import", fromHere(s.importCertificates))
	} else {
		mux.HandleFunc("/api/v1/certificates/import", notControl)
	}
	if s.cfg.Doctor != nil {
		mux.HandleFunc("GET /api/v1/doctor", s.doctor)
	} else {
		mux.HandleFunc("/api/v1/doctor", notControl)
	}
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprint(w, "Ruche. Here are /healthz, /readyz, /metrics, /api/v1/routes, /api/v1/explain?url=URL, /api/v1/state and /api/v1/doctor\n")
	})
	return mux
}

func healthz(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprintln(w, "ok") }

func (s *Server) readyz(w http.ResponseWriter, _ *http.Request) {
	if missing := s.cfg.NotReady(); len(missing) > 0 {
		http.Error(w, "not ready: "+strings.Join(missing, ", "), http.StatusServiceUnavailable)
		return
	}
	_, _ = fmt.Fprintln(w, "ready")
	if s.cfg.Without == nil {
		return
	}
	if without := s.cfg.Without(); without != "" {
		_, _ = fmt.Fprintln(w, without)
	}
}

func (s *Server) explain(w http.ResponseWriter, r *http.Request) {
	rawURL := r.URL.Query().Get("url")
	if rawURL == "" {
		writeJSON(w, http.StatusBadRequest, problem{"the parameter url is missing", "ask for /api/v1/explain?url=https://shop.example/cart"})
		return
	}
	explanation, err := s.cfg.Edge.Explain(rawURL)
	if err != nil {
		writeJSON(w, http.StatusBadRequest, problem{err.Error(), "give a URL such as https://shop.example/cart"})
		return
	}
	writeJSON(w, http.StatusOK, explanation)
}

// problem is the body of an answer that is not 200.
type problem struct {
	Error string `json:"error"`
	Hint  string `json:"hint,omitempty"`
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	body, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n'))
}
