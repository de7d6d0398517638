// Package dockerfront serves the Docker Engine's API over TCP with mutual TLS, in front of the Engine's unix socket: certificates change and clients are revoked without a restart
// of the Engine, clients may be bound to looking, and every request is noted.
package dockerfront

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/health"
)

// Config is what a Front needs.
type Config struct {
	// Listener takes the connections, over which TLS is spoken.
	Listener net.Listener
	// Dial connects to the Engine's socket.
	Dial func(ctx context.Context) (net.Conn, error)
	// Certificate gives the server's certificate, for each handshake.
	Certificate func() (*tls.Certificate, error)
	// Roots gives those by which clients are known, for each handshake.
	Roots func() (*x509.CertPool, error)
	// Revoked tells of a serial, of 32 hexadecimal digits, whether its certificate is no longer good. It is asked at each request, and every second while one runs.
	Revoked func(serial string) bool
	// Drain is how long running requests that do more than look may go on when the front stops.
	Drain  time.Duration
	Logger *slog.Logger
	Health *health.Registry
}

// Front serves the Engine's API.
type Front struct {
	cfg     Config
	proxy   *httputil.ReverseProxy
	streams streams
}

// New makes a front, which does not serve yet.
func New(cfg Config) *Front {
	f := &Front{cfg: cfg, streams: streams{running: map[*stream]struct{}{}}}
	f.proxy = &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host = "http", "docker"
			r.Out.URL.RawQuery = r.In.URL.RawQuery // as it came: the Engine reads it, nobody else
		},
		Transport: &http.Transport{
			DialContext:        func(ctx context.Context, _, _ string) (net.Conn, error) { return cfg.Dial(ctx) },
			DisableCompression: true, MaxIdleConnsPerHost: maxIdle, IdleConnTimeout: idle,
		},
		FlushInterval: -1, // logs and events come as they happen
		ErrorHandler:  f.unreachable,
		ErrorLog:      slog.NewLogLogger(cfg.Logger.Handler(), slog.LevelDebug),
	}
	return f
}

const (
	maxIdle   = 16
	idle      = 90 * time.Second
	handshake = 10 * time.Second
	lookEvery = time.Minute
	// ending is how long requests that look may go on when the front stops.
	ending = time.Second
	// cutEvery is the time between two looks whether the clients of what runs are good still.
	cutEvery = time.Second
)

// Run serves until ctx ends, and then what runs, for a time.
func (f *Front) Run(ctx context.Context) error {
	server := &http.Server{
		Handler: f, ReadHeaderTimeout: handshake, IdleTimeout: idle,
		TLSConfig: f.tls(), ErrorLog: slog.NewLogLogger(f.cfg.Logger.Handler(), slog.LevelDebug),
		ConnContext:  func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, connKey{}, c) },
		TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){}, // HTTP/1.1 alone: attach and exec take the connection over
	}
	served := make(chan error, 1)
	go func() { served <- server.ServeTLS(f.cfg.Listener, "", "") }()
	defer f.cfg.Health.Clear(ruche.CodeDockerFrontDown, "tls")
	look, check := time.NewTicker(lookEvery), time.NewTicker(cutEvery)
	defer look.Stop()
	defer check.Stop()
	over := ctx.Done()
	ended := make(chan struct{})
	for {
		select {
		case err := <-served:
			if over != nil || !errors.Is(err, http.ErrServerClosed) {
				return fmt.Errorf("cannot serve the Docker Engine's API: %w", err)
			}
			served = nil
		case <-look.C:
			_, _, _ = f.equipment() // whether it is there is known before somebody comes
		case <-check.C:
			f.cutRefused()
		case <-over:
			over = nil
			go func() {
				defer close(ended)
				f.end(server)
			}()
		case <-ended:
			return nil
		}
	}
}

// end takes no more connections, and lets what runs come to its end.
func (f *Front) end(server *http.Server) {
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		_ = server.Shutdown(context.Background()) // it waits for what drain ends
	}()
	f.streams.drain(f.cfg.Drain)
	<-closed
}

// cutRefused ends what clients run whose certificates are no longer good.
func (f *Front) cutRefused() {
	now := time.Now()
	f.streams.cut(errNoLongerGood, func(s *stream) bool {
		bad := f.refused(s.who, now)
		if bad {
			f.cfg.Logger.Warn("ended a stream of the Docker API: its client's certificate is no longer good", "client", s.who.name, "serial", s.who.serial)
		}
		return bad
	})
}

// refused reports whether a client that was let in is no longer good.
func (f *Front) refused(who client, now time.Time) bool {
	return f.cfg.Revoked(who.serial) || now.After(who.until)
}

// tls gives the settings of each handshake as they are then.
func (f *Front) tls() *tls.Config {
	base := &tls.Config{
		MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}, ClientAuth: tls.RequireAndVerifyClientCert,
		SessionTicketsDisabled: true, // a resumed session would go past the roots of now
	}
	base.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		certificate, roots, err := f.equipment()
		if err != nil {
			return nil, err
		}
		c := base.Clone()
		c.GetConfigForClient, c.Certificates, c.ClientCAs = nil, []tls.Certificate{*certificate}, roots
		c.VerifyConnection = func(s tls.ConnectionState) error {
			who, err := clientOf(&s)
			if err == nil && f.cfg.Revoked(who.serial) {
				err = errors.New("the certificate is revoked")
			}
			if err != nil {
				f.cfg.Logger.Warn("refused a client of the Docker API", "client", who.name, "serial", who.serial, "error", err)
			}
			return err
		}
		return c, nil
	}
	return base
}

// equipment gives what a handshake needs, and raises a warning while it is not there.
func (f *Front) equipment() (*tls.Certificate, *x509.CertPool, error) {
	certificate, err := f.cfg.Certificate()
	if err != nil {
		return nil, nil, f.down("it has no certificate", err)
	}
	if leaf := certificate.Leaf; leaf != nil && time.Now().After(leaf.NotAfter) {
		return nil, nil, f.down("its certificate has ended", errors.New("it was not renewed since "+leaf.NotAfter.UTC().Format(time.RFC3339)))
	}
	roots, err := f.cfg.Roots()
	if err != nil {
		return nil, nil, f.down("it has no roots to know clients by", err)
	}
	f.cfg.Health.Clear(ruche.CodeDockerFrontDown, "tls")
	return certificate, roots, nil
}

func (f *Front) down(why string, err error) error {
	f.cfg.Health.Set(ruche.Warning{
		Code: ruche.CodeDockerFrontDown, Severity: ruche.SeverityError, Subject: "tls",
		Message: "the Docker API over TCP refuses everybody: " + why + ": " + err.Error(),
		Hint:    "\"ruche ca status\" on a control node shows the authority \"docker\"",
	})
	return fmt.Errorf("%s: %w", why, err)
}

// client is who has connected.
type client struct {
	name, serial string
	role         role
	until        time.Time // the certificate's end
}

// role is what a client may do.
type role string

// The roles, as they stand in certificates: as organizational unit.
const (
	roleRead role = "docker-read"
	roleFull role = "docker-full"
)

// clientOf reads who has connected from the certificate, which was verified.
func clientOf(s *tls.ConnectionState) (client, error) {
	if s == nil || len(s.PeerCertificates) == 0 {
		return client{}, errors.New("no certificate was shown")
	}
	cert := s.PeerCertificates[0]
	c := client{name: cert.Subject.CommonName, serial: serialText(cert.SerialNumber), until: cert.NotAfter}
	units := cert.Subject.OrganizationalUnit
	if len(units) != 1 || role(units[0]) != roleRead && role(units[0]) != roleFull {
		return c, fmt.Errorf("the certificate gives no role (the profiles %s and %s do)", roleRead, roleFull)
	}
	c.role = role(units[0])
	return c, nil
}

// serialText is a serial as the authority's log has it.
func serialText(n *big.Int) string { return fmt.Sprintf("%032x", n) }

// ServeHTTP hands a request on to the Engine, if its client may do that, and notes it.
func (f *Front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	who, err := clientOf(r.TLS)
	begin := time.Now()
	noted := &noter{ResponseWriter: w, note: func(status int) { f.note(r, who, status, begin) }}
	defer noted.end() // also when a client has gone away, for which the proxy panics
	switch {
	case err != nil || f.refused(who, begin): // since the handshake
		w.Header().Set("Connection", "close")
		refuse(noted, http.StatusForbidden, "this certificate is no longer good here")
	case who.role != roleFull && !mayRead(r):
		refuse(noted, http.StatusForbidden, fmt.Sprintf("the certificate of %s is good for looking alone (profile %s), and %s %s is more than that", who.name, roleRead, r.Method, r.URL.Path))
	default:
		running, done := f.streams.begin(r, who)
		defer done()
		f.proxy.ServeHTTP(noted, running)
	}
}

func (f *Front) unreachable(w http.ResponseWriter, r *http.Request, err error) {
	if r.Context().Err() != nil {
		return // the client has gone, or is no longer good
	}
	f.cfg.Logger.Warn("the Docker Engine does not answer", "error", err)
	refuse(w, http.StatusBadGateway, "the Docker Engine does not answer behind Ruche's front")
}

// refuse answers as the Engine does.
func refuse(w http.ResponseWriter, status int, why string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{"message": why})
}

// note writes the line of a request. The query is not in it: it may hold secrets, such as build arguments.
func (f *Front) note(r *http.Request, who client, status int, begin time.Time) {
	from, _ := netip.ParseAddrPort(r.RemoteAddr)
	f.cfg.Logger.Info("docker request", "client", who.name, "serial", who.serial, "role", string(who.role), "from", from.Addr().Unmap().String(),
		"method", r.Method, "path", r.URL.Path, "status", status, "took", time.Since(begin).Round(time.Millisecond))
}

// noter keeps the status of an answer, until it is noted.
type noter struct {
	http.ResponseWriter
	status int
	note   func(status int)
}

func (n *noter) end() {
	if n.note != nil {
		n.note(n.status)
		n.note = nil
	}
}

// Hijack is called when the Engine lets a stream begin. That may last for days, so it is noted now.
func (n *noter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	n.status = http.StatusSwitchingProtocols
	n.end()
	return http.NewResponseController(n.ResponseWriter).Hijack()
}

func (n *noter) WriteHeader(status int) {
	if n.status < http.StatusOK {
		n.status = status
	}
	n.ResponseWriter.WriteHeader(status)
}

func (n *noter) Write(b []byte) (int, error) {
	if n.status < http.StatusOK {
		n.status = http.StatusOK
	}
	return n.ResponseWriter.Write(b)
}

// Unwrap lets the proxy flush.
func (n *noter) Unwrap() http.ResponseWriter { return n.ResponseWriter }
