package mesh

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/health"
)

const (
	// maxStrangerBody bounds what somebody without certificate may send, maxBody what a node may.
	maxStrangerBody = 16 << 10
	maxBody         = 4 << 20
	bodyTimeout     = 10 * time.Second
	// maxFailures is how many enrolments from one address may fail in failuresFor.
	maxFailures = 20
	failuresFor = time.Minute
	// maxFailing bounds how many addresses are counted.
	maxFailing = 4096
	// closeTimeout is how long running calls have when the server stops.
	closeTimeout = 2 * time.Second
)

// ServerConfig is what a control node serves the mesh with.
type ServerConfig struct {
	// Listener accepts the connections of other nodes. The server closes it.
	Listener net.Listener
	// Dir is the directory of this node's identity, Name and Roles are what it is, Address is where others reach it, as host:port.
	Dir     string
	Name    string
	Roles   []Role
	Address string
	// Member keeps the keys of this node; nil leaves them in Dir in the clear.
	Member *Member

	Registry *Registry
	// Quorum says whether this control node can write the state.
	Quorum func() bool
	// Buckets are those that nodes may follow or write, by name.
	Buckets map[string]Bucket[json.RawMessage]
	// Deliver changes values of some buckets, by name, on their way to a node that follows.
	Deliver map[string]Deliver
	// Join takes the wish of a control node to become a member of the state. It answers at once.
	Join func(ctx context.Context, node string, req JoinRequest) (JoinAnswer, error)
	// DockerCertificate makes the certificate with which an agent serves the API of its Engine, and gives its chain in DER. What it refuses is a Refusal.
	DockerCertificate func(ctx context.Context, r DockerRequest) ([][]byte, error)
	// Seal is the installation's sealing key.
	Seal *Seal
	// Rows gives the rows of a node.
	Rows func(node string) Rows
	// Status tells how this node is. It is called often and must be cheap.
	Status func() ruche.NodeStatus
	Logger *slog.Logger
	Health *health.Registry
}

// Server is a control node's side of the mesh. It is safe for concurrent use.
type Server struct {
	cfg      ServerConfig
	registry *Registry
	keeper   *keeper
	refusals *refusals
	hub      *hub
	timing   timing

	mu       sync.Mutex
	failures map[netip.Addr]int // of enrolments, since failing
	failing  time.Time
	streams  map[string]int // of nodes that follow here
}

// NewServer makes the server, with the identity that is in its directory.
func NewServer(cfg ServerConfig) (*Server, error) {
	s := &Server{cfg: cfg, registry: cfg.Registry, timing: defaultTiming(), failures: map[netip.Addr]int{}, streams: map[string]int{}}
	s.hub = newHub(slices.Collect(maps.Keys(cfg.Buckets)))
	s.refusals = &refusals{logger: cfg.Logger, now: s.registry.now, counts: map[Reason]uint64{}, logged: map[Reason]logged{}}
	var err error
	if s.keeper, err = newOwnKeeper(s.registry, cfg.Dir, cfg.Name, cfg.Roles, cfg.Address, cfg.Member, cfg.Logger, cfg.Health); err != nil {
		return nil, fmt.Errorf("cannot serve the mesh: %w", err)
	}
	return s, nil
}

// Refused counts the peers that were refused since the server was made, by reason.
func (s *Server) Refused() map[Reason]uint64 { return s.refusals.all() }

// Run serves until ctx ends, and returns nil then.
func (s *Server) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var tasks sync.WaitGroup
	defer tasks.Wait()
	defer cancel()
	failed := make(chan error, 3+len(s.cfg.Buckets))
	tasks.Go(func() {
		if err := s.registry.watch(ctx); err != nil {
			failed <- fmt.Errorf("cannot follow which nodes there are: %w", err)
		}
	})
	tasks.Go(func() {
		if err := s.registry.watchSeen(ctx); err != nil {
			failed <- fmt.Errorf("cannot follow how nodes are: %w", err)
		}
	})
	for name, b := range s.cfg.Buckets {
		tasks.Go(func() {
			if err := b.Watch(ctx, func(u ruche.Update[json.RawMessage]) { s.hub.apply(name, u) }); err != nil {
				failed <- fmt.Errorf("cannot follow %s: %w", name, err)
			}
		})
	}
	tasks.Go(func() { s.keeper.run(ctx) })
	// A stranger may come only when there is something to show to it.
	if !s.keeper.enrolled(ctx) {
		return s.cfg.Listener.Close()
	}
	tasks.Go(func() { s.settle(ctx) })
	tasks.Go(func() { reporting(ctx, s.timing, s.cfg.Status, nil, s.reportOwn) })
	l := newListener(s.cfg.Listener, s.identity, s.registry.now, s.timing, s.refusals)
	server := s.httpServer(ctx)
	tasks.Go(func() {
		if err := l.run(); err != nil {
			failed <- err
		}
	})
	tasks.Go(func() { _ = server.Serve(l) }) // returns when the listener is closed
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	cancel() // ends the streams
	_ = l.Close()
	last, done := context.WithTimeout(context.Background(), closeTimeout)
	defer done()
	if server.Shutdown(last) != nil {
		_ = server.Close()
	}
	return err
}

// settle writes down where this node is now: its certificate may be from when it was elsewhere.
func (s *Server) settle(ctx context.Context) {
	t := time.NewTicker(s.timing.maxBackoff)
	defer t.Stop()
	for s.registry.move(ctx, s.keeper.name, s.cfg.Address) != nil {
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
	}
}

// reportOwn keeps what this node says of itself, as it does with the others.
func (s *Server) reportOwn(ctx context.Context, status ruche.NodeStatus) error {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	return s.registry.report(ctx, s.identity().Peer, status)
}

func (s *Server) identity() *identity {
	id, _ := s.keeper.current()
	return id
}

func (s *Server) httpServer(ctx context.Context) *http.Server {
	protocols := new(http.Protocols)
	protocols.SetHTTP2(true)
	return &http.Server{
		Handler: s.routes(), Protocols: protocols, BaseContext: func(net.Listener) context.Context { return ctx },
		ReadHeaderTimeout: bodyTimeout, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: maxStrangerBody,
		HTTP2:    &http.HTTP2Config{MaxConcurrentStreams: 64, SendPingTimeout: 15 * time.Second, WriteByteTimeout: s.timing.write},
		ErrorLog: slog.NewLogLogger(s.cfg.Logger.Handler(), slog.LevelDebug),
	}
}

func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/enrol", s.enrol)
	mux.Handle("POST /v1/renew", s.forNodes(s.renew))
	mux.Handle("GET /v1/follow", s.forNodes(s.follow))
	mux.Handle("POST /v1/join", s.forNodes(s.join, RoleControl))
	mux.Handle("POST /v1/report", s.forNodes(s.takeReport))
	mux.Handle("POST /v1/docker-certificate", s.forNodes(s.dockerCertificate, RoleAgent))
	mux.Handle("POST /v1/load", s.forNodes(s.load, RoleAgent))
	mux.Handle("POST /v1/apply", s.forNodes(s.apply, RoleAgent, RoleEdge))
	return mux
}

// enrol lets a node in. It is the only thing that a peer without certificate can ask for.
func (s *Server) enrol(w http.ResponseWriter, r *http.Request) {
	from := s.address(r)
	if !s.attempt(from) {
		s.refuse(w, r, "", refuse(ReasonRate, "too many enrolments have failed from this address (wait a minute)"))
		return
	}
	var e enrolment
	var g grant
	err := readBody(w, r, maxStrangerBody, &e)
	if err == nil {
		err = s.needQuorum()
	}
	if err == nil {
		g, err = s.registry.enrol(r.Context(), e, s.streamsOf(e.Name) > 0)
	}
	var refusal *Refusal
	if err == nil || errors.As(err, &refusal) && (refusal.Reason == ReasonUnavailable || refusal.Reason == ReasonNameInUse) {
		s.forgive(from) // nobody has guessed
	}
	if err == nil {
		s.cfg.Logger.Info("a node has enrolled", slog.String("node", e.Name), slog.Any("roles", e.Roles), slog.String("peer", r.RemoteAddr))
		answer(w, g)
		return
	}
	if checkName(e.Name) != nil {
		e.Name = ""
	}
	s.refuse(w, r, e.Name, err)
}

// needQuorum refuses at once what could not be written.
func (s *Server) needQuorum() error {
	if !s.cfg.Quorum() {
		return refuse(ReasonUnavailable, "this control node has no quorum")
	}
	return nil
}

func (s *Server) address(r *http.Request) netip.Addr {
	a, err := net.ResolveTCPAddr("tcp", r.RemoteAddr) // of numbers only: nothing is looked up
	if err != nil {
		return netip.Addr{}
	}
	return network(a)
}

// attempt counts an enrolment as failed, since many may be tried at once. It reports false when there were too many.
func (s *Server) attempt(from netip.Addr) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := s.registry.now(); now.Sub(s.failing) > failuresFor {
		clear(s.failures)
		s.failing = now
	}
	n, known := s.failures[from]
	if n >= maxFailures {
		return false
	}
	if known || len(s.failures) < maxFailing {
		s.failures[from]++
	}
	return true
}

// forgive takes back that an enrolment counts as failed.
func (s *Server) forgive(from netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failures[from] > 0 {
		s.failures[from]--
	}
}

// forNodes is for what only nodes may ask, those that have one of the roles, or all if none is named.
func (s *Server) forNodes(serve func(http.ResponseWriter, *http.Request, Peer) error, roles ...Role) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p, err := s.peer(r)
		if err == nil && len(roles) > 0 {
			err = errRole
			for _, role := range roles {
				if p.has(role) {
					err = nil
				}
			}
		}
		if err == nil {
			err = serve(w, r, p)
		}
		if err != nil {
			s.refuse(w, r, p.Name, err)
		}
	})
}

var errRole = refuse(ReasonRole, "the roles of this node do not permit that")

// peer says which node a request is from.
func (s *Server) peer(r *http.Request) (Peer, error) {
	if len(r.TLS.PeerCertificates) == 0 {
		return Peer{}, refuse(ReasonUnknownNode, "only nodes may ask for that")
	}
	// The connection may have been opened long ago.
	p, err := verify(r.TLS.PeerCertificates[0], s.identity().root, x509.ExtKeyUsageClientAuth, s.registry.now())
	switch {
	case errors.Is(err, errExpired):
		return p, refuse(ReasonExpired, err.Error())
	case err != nil:
		return p, refuse(ReasonForged, err.Error())
	}
	return s.registry.authenticate(r.Context(), p)
}

func (s *Server) renew(w http.ResponseWriter, r *http.Request, p Peer) error {
	var n renewal
	if err := errors.Join(readBody(w, r, maxStrangerBody, &n), s.needQuorum()); err != nil {
		return err
	}
	g, err := s.registry.renew(r.Context(), p, n)
	if err != nil {
		return err
	}
	s.cfg.Logger.Info("a node has renewed its certificate", slog.String("node", p.Name))
	answer(w, g)
	return nil
}

// refuse answers a request that is refused, counts and logs it.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, node string, err error) {
	var refusal *Refusal
	if !errors.As(err, &refusal) {
		refusal = refuse(ReasonUnavailable, "it cannot be done now")
	}
	s.refusals.note(refusal.Reason, r.RemoteAddr, node, err)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(refusal.Reason.status())
	_ = json.NewEncoder(w).Encode(refusal) // to a peer that may have gone
}

// readBody reads a JSON body.
func readBody(w http.ResponseWriter, r *http.Request, limit int64, into any) error {
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTimeout)) // HTTP/2 has deadlines
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	if err == nil {
		err = json.Unmarshal(data, into)
	}
	if err != nil {
		return &Refusal{Reason: ReasonBadRequest, Message: "the request cannot be read", cause: err}
	}
	return nil
}

func answer(w http.ResponseWriter, v any) {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(bodyTimeout))
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // to a peer that may have gone
}
