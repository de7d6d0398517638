package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"syscall"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/match"
)

func off(address string) bool { return address == "" || address == "off" }

func checkAddress(address string) error {
	if off(address) {
		return nil
	}
	if _, _, err := net.SplitHostPort(address); err != nil {
		return fmt.Errorf("cannot listen on %q: %w (write for example :80, or off)", address, err)
	}
	return nil
}

// listen opens the listeners and makes their servers. On an error nothing stays open.
func (p *Proxy) listen() ([]*server, error) {
	var servers []*server
	for _, l := range []struct {
		address string
		secure  bool
		where   *net.Listener
	}{
		{p.cfg.HTTPAddr, false, &p.plain},
		{p.cfg.HTTPSAddr, true, &p.secure},
	} {
		if off(l.address) {
			continue
		}
		listener, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", l.address)
		if err != nil {
			for _, s := range servers {
				_ = s.listener.Close()
			}
			return nil, listenError(l.address, err)
		}
		*l.where = listener
		servers = append(servers, p.server(listener, l.secure))
	}
	return servers, nil
}

func listenError(address string, err error) error {
	_, port, _ := net.SplitHostPort(address)
	hint := ""
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		hint = fmt.Sprintf(" (another program has the port: \"ss -ltnp 'sport = :%s'\" names it; stop it or choose another address)", port)
	case errors.Is(err, syscall.EACCES):
		hint = " (ports below 1024 need root or the capability CAP_NET_BIND_SERVICE)"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		hint = " (this host does not have the address: \"ip address\" lists those it has)"
	}
	return fmt.Errorf("cannot listen on %s: %w%s", address, err, hint)
}

func (p *Proxy) server(l net.Listener, secure bool) *server {
	t := p.cfg.Timeouts
	s := &server{listener: l, secure: secure}
	h := &handler{proxy: p, secure: secure, port: portOf(l.Addr())}
	s.http = &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			s.running.Add(1)
			defer s.running.Add(-1)
			h.ServeHTTP(w, r)
		}),
		ReadHeaderTimeout: t.ReadHeader,
		IdleTimeout:       t.Idle,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(p.cfg.Logger.Handler(), slog.LevelDebug),
		TLSConfig:         p.tlsConfig(),
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: 250, SendPingTimeout: t.Body, PingTimeout: t.ReadHeader},
		// An asterisk is a target like others here: endpoints answer it.
		DisableGeneralOptionsHandler: true,
	}
	return s
}

// serve returns nil after a Shutdown, else why the listener failed.
func (s *server) serve() error {
	serve := s.http.Serve
	if s.secure {
		serve = func(l net.Listener) error { return s.http.ServeTLS(l, "", "") }
	}
	if err := serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("cannot go on listening on %s: %w", s.listener.Addr(), err)
	}
	return nil
}

// tlsConfig has no certificate of its own: where GetCertificate returns none, the client gets the alert
// unrecognized_name (RFC 6066 section 3), as from nginx.
func (p *Proxy) tlsConfig() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: p.certificate}
}

func (p *Proxy) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if p.cfg.Certificates == nil {
		return nil, nil
	}
	certificate, _ := p.cfg.Certificates.Certificate(p.query(hello.ServerName))
	return certificate, nil
}

// query says by what the certificate for a server name is chosen.
func (p *Proxy) query(serverName string) ruche.CertificateQuery {
	name, ok := match.CanonicalHost(serverName)
	if !ok {
		return ruche.CertificateQuery{}
	}
	q, ok := p.current.Load().table.Certificate(name)
	if !ok || q.Mode == ruche.TLSOff {
		// Nothing is served by HTTPS under this name.
		return ruche.CertificateQuery{ServerName: name}
	}
	return q
}
