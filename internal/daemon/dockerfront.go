package daemon

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/ruche-project/ruche/internal/config"
	"github.com/ruche-project/ruche/internal/docker"
	"github.com/ruche-project/ruche/internal/dockerfront"
)

// dockerFront is the Engine's API over TCP, with the certificate that it serves with.
type dockerFront struct {
	front    *dockerfront.Front
	own      ownCertificate
	engine   *docker.Client
	listener net.Listener
	stop     func() // has it drain, before it is told to end
	stopping chan struct{}
}

// ownCertificate is what a front serves with, and knows its clients by; Run renews it.
type ownCertificate interface {
	Certificate() (*tls.Certificate, error)
	Roots() (*x509.CertPool, error)
	Run(ctx context.Context) error
}

func (d *Daemon) newDockerFront(cfg *config.Config, own ownCertificate, revoked func(serial string) bool) (f *dockerFront, err error) {
	f = &dockerFront{own: own, stopping: make(chan struct{})}
	f.stop = sync.OnceFunc(func() { close(f.stopping) })
	if f.engine, err = docker.Open(cfg.DockerHost); err != nil {
		return nil, err
	}
	if f.listener, err = d.sockets.Listen("docker-tls", cfg.DockerTLSAddr); err != nil {
		return nil, errors.Join(fmt.Errorf("cannot listen for clients of the Docker Engine: %w (choose another address with --docker-tls-addr)", err), f.engine.Close())
	}
	f.front = dockerfront.New(dockerfront.Config{
		Listener: f.listener, Dial: f.engine.Dial, Certificate: own.Certificate, Roots: own.Roots, Revoked: revoked, Drain: cfg.DrainTimeout,
		Logger: d.logger.With("component", "docker-front"), Health: d.health,
	})
	return f, nil
}

// run serves, and renews the certificate, until ctx ends. What runs when the node is told to stop drains while the proxy does, so that a stop takes no longer.
func (f *dockerFront) run(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	serving, end := context.WithCancel(ctx)
	defer end()
	var wait sync.WaitGroup
	defer wait.Wait()
	defer stop()
	wait.Go(func() { _ = f.own.Run(ctx) }) // it ends because it is told to
	wait.Go(func() {
		select {
		case <-f.stopping:
			end()
		case <-ctx.Done():
		}
	})
	err := errors.Join(f.front.Run(serving), f.engine.Close())
	if err == nil {
		<-ctx.Done()
	}
	return err
}

// close gives back what newDockerFront opened, when it was not run.
func (f *dockerFront) close() error { return errors.Join(f.listener.Close(), f.engine.Close()) }

// ownNames are the names and addresses by which clients reach the Docker API on this host: those that were given, its own, and those of the address it listens on.
func ownNames(node string, cfg *config.Config) []string {
	list := append(givenNames(cfg), strings.ToLower(node), "localhost")
	if host, err := os.Hostname(); err == nil {
		list = append(list, strings.ToLower(host))
	}
	if listenHost(cfg) != "" {
		return list
	}
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return list
	}
	for _, a := range addresses {
		if prefix, err := netip.ParsePrefix(a.String()); err == nil && !prefix.Addr().IsLinkLocalUnicast() && len(list) < maxOwnNames {
			list = append(list, prefix.Addr().Unmap().String())
		}
	}
	return list
}

// maxOwnNames bounds them: a host with many bridges has many addresses.
const maxOwnNames = 64

// givenNames are those that people have given.
func givenNames(cfg *config.Config) []string {
	list := slices.Clone(cfg.DockerTLSNames)
	if host := listenHost(cfg); host != "" {
		list = append(list, host)
	}
	return list
}

// listenHost is the name or address that the Docker API is served at; empty when it is served at all of them.
func listenHost(cfg *config.Config) string {
	host, _, _ := net.SplitHostPort(cfg.DockerTLSAddr)
	if ip, err := netip.ParseAddr(host); err == nil && ip.IsUnspecified() {
		return ""
	}
	return host
}
