package daemon

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/ruche-project/ruche/internal/ca"
	"github.com/ruche-project/ruche/internal/cluster"
	"github.com/ruche-project/ruche/internal/config"
	"github.com/ruche-project/ruche/internal/docker"
	"github.com/ruche-project/ruche/internal/dockerfront"
)

// makeAuthority makes the installation's own authority, on a node that has the state.
func (d *Daemon) makeAuthority(cfg *config.Config) (err error) {
	if d.cluster == nil {
		return nil
	}
	if d.seal == nil {
		if d.seal, err = openSeal(cfg); err != nil {
			return err
		}
	}
	d.ca = ca.New(ca.Config{
		Authorities: cluster.NewBucket[ca.Record](d.cluster, ca.BucketAuthorities),
		Issued:      cluster.NewBucket[ca.Entry](d.cluster, ca.BucketIssued),
		CRLs:        cluster.NewBucket[ca.CRL](d.cluster, ca.BucketCRLs),
		Sealer:      d.seal, URL: cfg.CAURL, Lead: d.cluster.Lead, Logger: d.logger.With("component", "ca"), Health: d.health,
	})
	if cfg.DockerTLSAddr == config.Off {
		return nil
	}
	d.dockerFront, err = d.newDockerFront(cfg)
	return err
}

// dockerFront is the Engine's API over TCP, with the certificate that it serves with.
type dockerFront struct {
	front    *dockerfront.Front
	held     *ca.Held
	engine   *docker.Client
	listener net.Listener
}

func (d *Daemon) newDockerFront(cfg *config.Config) (f *dockerFront, err error) {
	logger := d.logger.With("component", "docker-front")
	f = &dockerFront{}
	if f.held, err = d.ca.Hold(ca.ProfileDockerServer, ownNames(d.node, cfg), "docker-front:"+d.node); err != nil {
		return nil, err
	}
	if f.engine, err = docker.Open(cfg.DockerHost); err != nil {
		return nil, err
	}
	if f.listener, err = d.sockets.Listen("docker-tls", cfg.DockerTLSAddr); err != nil {
		return nil, errors.Join(fmt.Errorf("cannot listen for clients of the Docker Engine: %w (choose another address with --docker-tls-addr)", err), f.engine.Close())
	}
	f.front = dockerfront.New(dockerfront.Config{
		Listener: f.listener, Dial: f.engine.Dial, Certificate: f.held.Certificate, Roots: f.held.Roots, Revoked: d.ca.Revoked(), Logger: logger, Health: d.health,
	})
	return f, nil
}

// run serves, and renews the certificate, until ctx ends.
func (f *dockerFront) run(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var wait sync.WaitGroup
	defer wait.Wait()
	defer stop()
	wait.Go(func() { _ = f.held.Run(ctx) }) // it ends because it is told to
	return errors.Join(f.front.Run(ctx), f.engine.Close())
}

// close gives back what newDockerFront opened, when it was not run.
func (f *dockerFront) close() error { return errors.Join(f.listener.Close(), f.engine.Close()) }

// ownNames are the names and addresses by which clients reach the Docker API on this host: those that were given, its own, and those of the address it listens on.
func ownNames(node string, cfg *config.Config) []string {
	list := append(slices.Clone(cfg.DockerTLSNames), strings.ToLower(node), "localhost")
	if host, err := os.Hostname(); err == nil {
		list = append(list, strings.ToLower(host))
	}
	host, _, _ := net.SplitHostPort(cfg.DockerTLSAddr)
	listen, err := netip.ParseAddr(host)
	if err == nil && !listen.IsUnspecified() || err != nil && host != "" {
		return append(list, host)
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
