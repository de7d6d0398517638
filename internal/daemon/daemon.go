// Package daemon joins the parts: from a config to components, from components to a running node, and
// back. It is the only place where subsystems meet.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/api"
	"github.com/ruche-project/ruche/internal/certs"
	"github.com/ruche-project/ruche/internal/cluster"
	"github.com/ruche-project/ruche/internal/config"
	"github.com/ruche-project/ruche/internal/health"
	"github.com/ruche-project/ruche/internal/metrics"
	"github.com/ruche-project/ruche/internal/proxy"
)

// Daemon is one node: its parts, made but not yet running.
type Daemon struct {
	logger *slog.Logger
	health *health.Registry
	node   string

	cluster *cluster.Cluster
	certs   *certs.Certs
	finder  *finder
	proxy   *proxy.Proxy
	api     *api.Server

	stopping   atomic.Bool
	succession // see upgrade.go
}

// New makes the parts of a node with every role. What it opens (the data directory, the admin address) is
// closed by Run, or here when an error is returned.
func New(ctx context.Context, cfg *config.Config, version string, logger *slog.Logger, accessLog io.Writer) (_ *Daemon, err error) {
	d := &Daemon{logger: logger, health: &health.Registry{}, succession: newSuccession(cfg.DataDir, version)}
	defer func() {
		if err != nil {
			d.close()
		}
	}()
	if err := os.MkdirAll(cfg.DataDir, 0o700); err != nil {
		return nil, fmt.Errorf("cannot make the data directory: %w (choose another with --data-dir)", err)
	}
	if d.node, err = nodeName(cfg.DataDir, cfg.NodeName); err != nil {
		return nil, err
	}
	if err := d.takeOver(ctx); err != nil {
		return nil, err
	}
	d.cluster, err = cluster.Open(ctx, cluster.Config{
		Dir: stateDir(cfg.DataDir), Name: d.node, Logger: logger.With("component", "cluster"),
	})
	if err != nil {
		return nil, err
	}
	declarations := cluster.NewBucket[ruche.Declaration](d.cluster, "declarations")
	endpoints := cluster.NewBucket[ruche.Endpoint](d.cluster, "endpoints")

	d.certs = certs.New(certs.Config{
		Dir: cfg.CertsDir, StateDir: cfg.DataDir, PasswordsDir: filepath.Join(filepath.Dir(cfg.CertsDir), "htpasswd"),
		Logger: logger.With("component", "certs"), Health: d.health,
	})
	d.finder = newFinder(cfg, d.node, d.cluster, logger, d.health)
	settings := proxySettings(cfg)
	settings.AccessLog, settings.Declarations, settings.Endpoints, settings.Certificates = accessLog, declarations, endpoints, d.certs
	settings.Listen, settings.ListenUDP = d.sockets.Listen, d.sockets.ListenUDP
	settings.Logger, settings.Health = logger.With("component", "proxy"), d.health
	settings.Successor = d.predecessor != nil
	d.proxy, err = proxy.New(settings)
	if err != nil {
		return nil, err
	}
	d.api, err = api.New(api.Config{
		Addr: cfg.AdminAddr, Listen: func(addr string) (*net.TCPListener, error) { return d.sockets.Listen("admin", addr) },
		Edge: d.proxy, Metrics: metrics.Handler(d.proxy, version), State: d.cluster.Status, Backup: d.backup,
		NotReady: d.notReady, Logger: logger.With("component", "api"),
	})
	if err != nil {
		return nil, err
	}
	return d, nil
}

// proxySettings are the proxy's, in which the zero value means the default and a negative one none.
func proxySettings(cfg *config.Config) proxy.Config {
	none := func(n int) int {
		if n == 0 {
			return -1
		}
		return n
	}
	entryPoints := make([]proxy.EntryPoint, len(cfg.EntryPoints))
	for i, e := range cfg.EntryPoints {
		entryPoints[i] = proxy.EntryPoint(e)
	}
	return proxy.Config{
		HTTPAddr: cfg.HTTPAddr, HTTPSAddr: cfg.HTTPSAddr, EntryPoints: entryPoints, HTTP3: cfg.HTTP3,
		Timeouts:     proxy.Timeouts{Drain: max(cfg.DrainTimeout, 1), Hold: time.Duration(none(int(cfg.Hold)))},
		Loops:        max(1, runtime.GOMAXPROCS(0)-1), // see cmd/ruche/up.go
		MaxBodyBytes: cfg.MaxBodyBytes, UnknownHostStatus: cfg.UnknownHostStatus,
		TrustedProxies: cfg.TrustedProxies, ProxyProtocol: cfg.ProxyProtocol,
		MaxConnections: cfg.MaxConnections, MaxConnectionsPerAddress: none(cfg.MaxConnectionsPerAddress),
	}
}

// Run starts the node, and stops it in order when ctx ends or another process has taken over. It returns nil after a clean stop.
func (d *Daemon) Run(ctx context.Context) error {
	defer d.endSuccession()
	context.AfterFunc(ctx, func() {
		d.stopping.Store(true)
		d.notifyStopping()
	})
	ctx, d.finish = context.WithCancel(ctx)
	defer d.finish()
	s := supervisor{logger: d.logger, health: d.health, backoff: time.Second}
	return s.run(ctx, d.table(), roleAll)
}

// table lists the components in the order in which they start. They stop in reverse: the proxy drains
// first, the cluster closes last.
func (d *Daemon) table() []component {
	return []component{
		{name: "cluster", roles: roleControl, run: d.cluster.Run},
		{name: "quorum", roles: roleControl, run: d.watchQuorum},
		{name: "certs", roles: roleEdge, run: d.certs.Run},
		{name: "discovery", roles: roleAgent, run: d.finder.run},
		{name: "api", roles: roleAll, observer: true, run: d.runAPI},
		{name: "proxy", roles: roleEdge, run: d.runProxy},
		{name: "upgrades", roles: roleAll, run: d.runUpgrades},
	}
}

// runProxy opens the listeners only after the first look at what runs, so that a start never answers 503 for a host
// that is there. When the Engine does not answer, the look ends without it and what the last run knew is served.
func (d *Daemon) runProxy(ctx context.Context) error {
	select {
	case <-d.finder.synced:
	case <-ctx.Done():
		return nil
	}
	return d.proxy.Run(ctx)
}

func (d *Daemon) notReady() []string {
	if d.stopping.Load() {
		return []string{"stopping"}
	}
	select {
	case <-d.proxy.Ready():
		return nil
	default:
	}
	select {
	case <-d.finder.synced:
		return []string{"proxy"}
	default:
		return []string{"discovery", "proxy"}
	}
}

// Ready is closed when the listeners are open and serve what was found, and the process that did so before, if there was one, has handed over.
func (d *Daemon) Ready() <-chan struct{} { return d.inCharge }

// Node is this node's name.
func (d *Daemon) Node() string { return d.node }

// AdminAddr is the address that the admin API listens on.
func (d *Daemon) AdminAddr() string { return d.api.Addr().String() }

// close gives back what New opened when it fails half-way.
func (d *Daemon) close() {
	var errs []error
	if d.api != nil {
		errs = append(errs, d.api.Close())
	}
	if d.cluster != nil {
		errs = append(errs, d.cluster.Close())
	}
	d.endSuccession()
	if err := errors.Join(errs...); err != nil {
		d.logger.Warn("cannot close everything after a failed start", "error", err)
	}
}
