// Package daemon joins the parts: from a config to components, from components to a running node, and
// back. It is the only place where subsystems meet.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/api"
	"github.com/ruche-project/ruche/internal/ca"
	"github.com/ruche-project/ruche/internal/ca/acmeserver"
	"github.com/ruche-project/ruche/internal/certs"
	"github.com/ruche-project/ruche/internal/certs/acme"
	"github.com/ruche-project/ruche/internal/cluster"
	"github.com/ruche-project/ruche/internal/config"
	"github.com/ruche-project/ruche/internal/discovery"
	"github.com/ruche-project/ruche/internal/health"
	"github.com/ruche-project/ruche/internal/mesh"
	"github.com/ruche-project/ruche/internal/proxy"
)

// Daemon is one node: its parts, made but not yet running. Those that its roles do not need are nil.
type Daemon struct {
	roles  config.Role
	logger *slog.Logger
	health *health.Registry
	node   string

	cluster *cluster.Cluster
	members atomic.Pointer[[]ruche.Member] // as they were found last
	site    location                       // of a control node
	seal    *mesh.Seal                     // of a node with the state
	member  *mesh.Member                   // of a control node
	control *control                       // for other nodes
	client  *mesh.Client                   // of control nodes, where the state is elsewhere
	safe    mesh.Safe                      // keeps private keys in the data directory
	certs   *certs.Certs
	// ca is the installation's own authority, where the state is; dockerFront is nil where nobody wants it.
	ca          *ca.Authority
	dockerFront *dockerFront
	acmeKeys    *acmeserver.Keys
	acmeServer  *acmeServer // nil where nobody wants it
	// issuing has certificates issued by issuers, certificates answers for all of them; on nodes with the state.
	issuers      *issuers
	issuing      *acme.Engine
	certificates *certificates
	leadsCerts   atomic.Bool // this node has certificates issued
	echName      string      // the public name of Encrypted Client Hello, as this node is told
	trust        *trust      // of an edge
	// challenges is the revision of those that this edge answers CAs with.
	challenges *mark
	// discover finds what runs; found is closed when it has looked once.
	discover func(context.Context) error
	finder   *finder
	found    chan struct{}
	proxy    *proxy.Proxy
	api      *api.Server

	stopping   atomic.Bool
	succession // see upgrade.go
}

// New makes the parts of a node with these roles. What it opens (the data directory, addresses) is closed by Run, or here when an error is returned.
func New(ctx context.Context, roles config.Role, cfg *config.Config, version string, logger *slog.Logger, accessLog io.Writer) (_ *Daemon, err error) {
	d := &Daemon{
		roles: roles, logger: logger, health: &health.Registry{}, challenges: newMark(), found: make(chan struct{}), succession: newSuccession(cfg.DataDir, version),
	}
	defer func() {
		if err != nil {
			d.close()
		}
	}()
	if err := os.MkdirAll(cfg.DataDir, 0o700); err != nil {
		return nil, fmt.Errorf("cannot make the data directory: %w (choose another with --data-dir)", err)
	}
	_, unknown := os.Stat(meshDir(cfg)) // the directory of its identity
	if d.node, err = nodeName(cfg.DataDir, cfg.NodeName, roles == config.Control && errors.Is(unknown, fs.ErrNotExist)); err != nil {
		return nil, err
	}
	if roles&config.Edge != 0 {
		if err := d.takeOver(ctx); err != nil {
			return nil, err
		}
	}
	if err := d.join(ctx, cfg); err != nil {
		return nil, err
	}
	if err := d.makeAuthority(cfg); err != nil {
		return nil, err
	}
	d.makeDiscovery(cfg)
	if roles&config.Edge != 0 {
		if err := d.makeEdge(cfg, accessLog); err != nil {
			return nil, err
		}
	}
	return d, d.makeAPI(cfg)
}

// join opens the state of this node, or makes what speaks to the control nodes.
func (d *Daemon) join(ctx context.Context, cfg *config.Config) (err error) {
	if d.roles&config.Control == 0 {
		role := mesh.RoleAgent
		if d.roles == config.Edge {
			role = mesh.RoleEdge
		}
		d.client, err = d.newClient(ctx, cfg, role, "", nil)
		return err
	}
	if err := d.openState(ctx, cfg); err != nil {
		return err
	}
	if d.roles != config.All {
		if d.control, err = d.newControl(ctx, cfg); err != nil {
			return err
		}
	}
	return d.makeIssuing(cfg)
}

func (d *Daemon) makeDiscovery(cfg *config.Config) {
	if d.client == nil {
		d.finder = newFinder(cfg, d.roles, d.node, d.cluster, d.seal, d.logger, d.health)
		d.discover, d.found = d.finder.run, d.finder.synced
		return
	}
	d.discover = func(ctx context.Context) error { return d.runAgent(ctx, cfg, d.logger.With("component", "discovery")) }
}

// makeEdge makes what faces the internet.
func (d *Daemon) makeEdge(cfg *config.Config, accessLog io.Writer) (err error) {
	d.trust = d.newTrust()
	d.certs = certs.New(d.certsConfig(cfg))
	settings := proxySettings(cfg)
	if d.client == nil {
		settings.Declarations = cluster.NewBucket[ruche.Declaration](d.cluster, discovery.BucketDeclarations)
		settings.Endpoints = cluster.NewBucket[ruche.Endpoint](d.cluster, discovery.BucketEndpoints)
		settings.Ingress = cluster.NewBucket[ruche.Ingress](d.cluster, discovery.BucketIngress)
	} else {
		settings.Declarations = mesh.Follow[ruche.Declaration](d.client, discovery.BucketDeclarations)
		settings.Endpoints = mesh.Follow[ruche.Endpoint](d.client, discovery.BucketEndpoints)
		settings.Ingress = mesh.Follow[ruche.Ingress](d.client, discovery.BucketIngress)
		close(d.found) // what is found comes with what is followed
	}
	settings.AccessLog, settings.Certificates, settings.Challenges = accessLog, d.certs, d.certs
	settings.Listen, settings.ListenUDP = d.sockets.Listen, d.sockets.ListenUDP
	settings.Logger, settings.Health = d.logger.With("component", "proxy"), d.health
	settings.Successor = d.predecessor != nil
	d.proxy, err = proxy.New(settings)
	return err
}

func (d *Daemon) makeAPI(cfg *config.Config) (err error) {
	settings := api.Config{
		Addr: cfg.AdminAddr, Listen: func(addr string) (*net.TCPListener, error) { return d.sockets.Listen("admin", addr) },
		NotReady: d.notReady, Without: d.without, Logger: d.logger.With("component", "api"),
	}
	switch {
	case d.proxy == nil:
		b := bystander{health: d.health}
		settings.Edge, settings.Metrics = b, d.metrics(b)
	case d.client != nil:
		settings.Edge, settings.Metrics = replicaEdge{d.proxy, d.replica}, d.metrics(d.proxy)
	default:
		settings.Edge, settings.Metrics = d.proxy, d.metrics(d.proxy)
	}
	if d.cluster != nil {
		settings.State, settings.Backup, settings.Doctor = d.cluster.Status, d.backup, newExaminer(d, cfg).look
		settings.Importer, settings.Seals = d.importer(), d.resealer()
	}
	if d.ca != nil {
		settings.Authority, settings.Files, settings.ACMEKeys = authority{d.ca, d.issuing}, d.ca, d.acmeKeys
	}
	if d.control != nil {
		settings.Nodes = d.control
	}
	if d.certificates != nil {
		settings.Certificates, settings.ECH = d.certificates, d.certificates
	}
	d.api, err = api.New(settings)
	return err
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
		HTTPAddr: cfg.HTTPAddr, HTTPSAddr: cfg.HTTPSAddr, EntryPoints: entryPoints, HTTP3: cfg.HTTP3, MinTLS: cfg.MinTLS,
		Timeouts:     proxy.Timeouts{Drain: max(cfg.DrainTimeout, 1), Hold: time.Duration(none(int(cfg.Hold)))},
		Loops:        max(1, runtime.GOMAXPROCS(0)-1), // see cmd/ruche/node.go
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
	if d.dockerFront != nil {
		context.AfterFunc(ctx, d.dockerFront.stop)
	}
	s := supervisor{logger: d.logger, health: d.health, backoff: time.Second}
	return s.run(ctx, d.table(), d.roles)
}

// table lists the components in the order in which they start. They stop in reverse: the proxy drains
// first, the cluster closes last.
func (d *Daemon) table() []component {
	table := []component{
		{name: "cluster", roles: config.Control, run: d.cluster.Run},
		{name: "quorum", roles: config.Control, run: d.watchQuorum},
		{name: "seals", roles: config.Control, observer: true, run: d.watchSeals},
		{name: "certs", roles: config.Edge, run: d.certs.Run},
		{name: "trust", roles: config.Edge, observer: true, run: d.trust.run},
		{name: "issuers", roles: config.Control, observer: true, run: d.followIssuers},
		{name: "certs-leader", roles: config.Control, observer: true, run: d.leadCerts},
		{name: "discovery", roles: config.Control | config.Agent, run: d.discover},
		{name: "api", roles: config.All, observer: true, run: d.runAPI},
		{name: "proxy", roles: config.Edge, run: d.runProxy},
		{name: "served", roles: config.Edge, observer: true, run: d.reportServed},
		{name: "sights", roles: config.Edge, observer: true, run: d.lookAtPassedThrough},
		{name: "upgrades", roles: config.Edge, run: d.runUpgrades},
	}
	switch {
	case d.control != nil: // other nodes hear of what the cluster holds
		table = slices.Insert(table, 1,
			component{name: "mesh", roles: config.Control, run: d.control.server.Run},
			component{name: "members", roles: config.Control, run: d.control.candidates.run})
	case d.client != nil:
		table = slices.Insert(table, 0, component{name: "mesh", roles: config.All, run: d.client.Run})
	}
	if d.ca != nil {
		table = append(table, component{name: "ca", roles: config.Control, run: d.ca.Run})
	}
	if d.dockerFront != nil { // before the proxy: both drain at once, and this one is waited for after that
		at := slices.IndexFunc(table, func(c component) bool { return c.name == "api" })
		table = slices.Insert(table, at, component{name: "docker-front", roles: config.Control | config.Agent, run: d.dockerFront.run})
	}
	if d.acmeServer != nil {
		table = append(table, component{name: "acme-server", roles: config.Control, run: d.acmeServer.run})
	}
	if d.roles&config.Edge == 0 {
		table = append(table, component{name: "start", roles: config.All, run: d.runStart})
	}
	return table
}

// runProxy opens the listeners only after the first look at what runs, so that a start never answers 503 for a host
// that is there. When the Engine does not answer, the look ends without it and what the last run knew is served.
func (d *Daemon) runProxy(ctx context.Context) error {
	select {
	case <-d.found:
	case <-ctx.Done():
		return nil
	}
	d.awaitCertificates(ctx)
	return d.proxy.Run(ctx)
}

// bystander is a node that serves no visitors, as the admin address shows it.
type bystander struct{ health *health.Registry }

func (b bystander) Routes() ruche.RouteList {
	return ruche.RouteList{
		Elsewhere: askEdge("routes"), Routes: []ruche.RouteStatus{}, Diagnostics: []ruche.Diagnostic{}, Warnings: b.health.List(),
	}
}

func (b bystander) Explain(rawURL string) (ruche.Explanation, error) {
	e := ruche.Explanation{URL: rawURL, Elsewhere: askEdge("explain URL"), Reasons: []string{}, Warnings: b.health.List()}
	e.Answer = e.Elsewhere.Error
	return e, nil
}

// askEdge tells who answers what is asked with a verb.
func askEdge(verb string) *ruche.Elsewhere {
	return &ruche.Elsewhere{Error: "this node serves no visitors", Hint: "ask an edge: docker exec $(docker ps -qf name=ruche_edge) /ruche " + verb}
}

func (b bystander) Counts() []ruche.RouteCount         { return nil }
func (b bystander) Connections() ruche.ConnectionCount { return ruche.ConnectionCount{} }
func (b bystander) Streams() []ruche.StreamCount       { return nil }

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
	if d.dockerFront != nil {
		errs = append(errs, d.dockerFront.close())
	}
	if d.acmeServer != nil {
		errs = append(errs, d.acmeServer.listener.Close())
	}
	if d.control != nil {
		errs = append(errs, d.control.close())
	}
	if d.cluster != nil {
		errs = append(errs, d.cluster.Close())
	}
	d.endSuccession()
	if err := errors.Join(errs...); err != nil {
		d.logger.Warn("cannot close everything after a failed start", "error", err)
	}
}
