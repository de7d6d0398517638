package daemon

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"sync"
	"time"

	"github.com/ruche-project/ruche/internal/ca"
	"github.com/ruche-project/ruche/internal/ca/acmeserver"
	"github.com/ruche-project/ruche/internal/cluster"
	"github.com/ruche-project/ruche/internal/config"
)

// acmeServer is the authority's ACME server, with the certificate that it serves with.
type acmeServer struct {
	server   *acmeserver.Server
	held     *ca.Held
	listener net.Listener
	clients  *acmeClients
	http     *http.Server
}

// makeACMEServer makes the ACME server of the authority, where it is wanted, and what looks after its external account keys.
func (d *Daemon) makeACMEServer(cfg *config.Config) error {
	logger := d.logger.With("component", "acme-server")
	d.acmeKeys = acmeserver.NewKeys(cluster.NewBucket[acmeserver.Key](d.cluster, acmeserver.BucketKeys), d.seal, logger, nil)
	if cfg.CAAddr == config.Off {
		return nil
	}
	if cfg.CAACMEURL == "" {
		return errors.New("cannot serve ACME without the URL under which clients reach it (give --ca-acme-url, such as https://ca.example:8443)")
	}
	settings := acmeserver.Config{
		URL: cfg.CAACMEURL + "/acme", RequireKey: cfg.CARequireKey, Authority: d.ca, Keys: d.acmeKeys, Logger: logger, Health: d.health,
		Accounts: cluster.NewBucket[acmeserver.Account](d.cluster, acmeserver.BucketAccounts),
		Orders:   cluster.NewBucket[acmeserver.Order](d.cluster, acmeserver.BucketOrders),
	}
	if len(cfg.CAResolvers) > 0 {
		settings.Resolver = acmeserver.ResolverAt(cfg.CAResolvers...)
	}
	server, err := acmeserver.New(settings)
	if err != nil {
		return err
	}
	at, err := url.Parse(cfg.CAACMEURL)
	if err != nil {
		return err
	}
	held, err := d.ca.Hold(ca.ProfileServer, []string{at.Hostname()}, "acme-server:"+d.node)
	if err != nil {
		return err
	}
	kept := d.keptACME(cfg)
	held.Keep(kept.before(logger), kept.save)
	listener, err := d.sockets.Listen("acme", cfg.CAAddr)
	if err != nil {
		return fmt.Errorf("cannot listen for ACME clients: %w (choose another address with --ca-addr)", err)
	}
	clients := &acmeClients{Listener: listener, most: acmeConnections, health: d.health, logger: logger, by: map[netip.Addr]int{}}
	d.acmeServer = &acmeServer{server: server, held: held, listener: listener, clients: clients}
	d.acmeServer.http = d.acmeServer.over(d.ca, logger)
	return nil
}

// over makes the HTTP server: ACME, and beside it what everybody may have of the authority.
func (a *acmeServer) over(files http.Handler, logger *slog.Logger) *http.Server {
	mux := http.NewServeMux()
	mux.Handle("/", a.server)
	mux.Handle("/ca/", files)
	return &http.Server{
		Handler: mux, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 30 * time.Second, WriteTimeout: time.Minute, IdleTimeout: acmeIdle, MaxHeaderBytes: 16 << 10,
		ErrorLog: slog.NewLogLogger(logger.Handler(), slog.LevelDebug), // clients that hang up, scanners
		TLSConfig: &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return a.held.Certificate()
		}},
	}
}

// run serves, proves names, and renews the certificate, until ctx ends.
func (a *acmeServer) run(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var wait sync.WaitGroup
	defer wait.Wait()
	defer stop()
	wait.Go(func() { _ = a.held.Run(ctx) }) // it ends because it is told to
	served := make(chan error, 1)
	wait.Go(func() { served <- a.http.ServeTLS(a.clients, "", "") })
	followed := make(chan error, 1)
	wait.Go(func() { followed <- a.server.Run(ctx) })
	var err error
	select {
	case <-ctx.Done():
	case err = <-served:
	case err = <-followed:
	}
	drain, end := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer end()
	return errors.Join(err, a.http.Shutdown(drain))
}
