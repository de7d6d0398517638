package daemon

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/ca"
	"github.com/ruche-project/ruche/internal/certs"
	"github.com/ruche-project/ruche/internal/certs/acme"
	"github.com/ruche-project/ruche/internal/certs/dns"
	"github.com/ruche-project/ruche/internal/certs/ech"
	"github.com/ruche-project/ruche/internal/certs/vault"
	"github.com/ruche-project/ruche/internal/cluster"
	"github.com/ruche-project/ruche/internal/config"
	"github.com/ruche-project/ruche/internal/discovery"
	"github.com/ruche-project/ruche/internal/health"
)

// makeIssuing makes what has certificates issued, on a node with the state.
func (d *Daemon) makeIssuing(cfg *config.Config) error {
	logger := d.logger.With("component", "certs")
	d.issuers = &issuers{cfg: cfg, logger: logger, warnings: health.Group{Registry: d.health}}
	d.issuers.look()
	solver, err := dns.New(logger, dns.Options{})
	if err != nil {
		return fmt.Errorf("cannot look up names for the challenge dns-01: %w", err)
	}
	resolver, err := dns.NewResolver()
	if err != nil {
		return fmt.Errorf("cannot look up CAA records: %w", err)
	}
	d.issuing = acme.New(acme.Config{
		Buckets: acme.Buckets{
			Specs:        cluster.NewBucket[ruche.CertificateSpecs](d.cluster, vault.BucketSpecs),
			Declarations: cluster.NewBucket[ruche.Declaration](d.cluster, discovery.BucketDeclarations),
			Served:       cluster.NewBucket[vault.Served](d.cluster, vault.BucketServed),
			Certificates: cluster.NewBucket[vault.Record](d.cluster, vault.BucketCertificates),
			States:       cluster.NewBucket[vault.State](d.cluster, vault.BucketStates),
			Orders:       cluster.NewBucket[vault.Order](d.cluster, vault.BucketOrders),
			Accounts:     cluster.NewBucket[vault.Account](d.cluster, vault.BucketAccounts),
			Challenges:   cluster.NewBucket[vault.Challenge](d.cluster, vault.BucketChallenges),
			Issuances:    cluster.NewBucket[vault.Issuance](d.cluster, vault.BucketIssuances),
		},
		Internal: d.issueInternally, RevokeInternal: d.revokeInternally, Issuers: d.issuers.now, Routes: echRoutes(cfg.ECHPublicName), Seal: d.seal,
		Published: d.Published, DNS: solver, Records: resolver, Logger: logger, Health: d.health,
	})
	d.certificates, d.echName = d.newCertificates(cfg.WatchCertificates), cfg.ECHPublicName
	return nil
}

// issueInternally has a certificate for a route made by the installation's own authority.
func (d *Daemon) issueInternally(ctx context.Context, spec ruche.CertificateSpec, request *x509.CertificateRequest) ([][]byte, error) {
	profile := cmp.Or(spec.Profile, ca.ProfileServer)
	// Workloads say what they want, and edges get the keys: certificates by which people and machines are let in are not to be had that way.
	if !slices.ContainsFunc(d.ca.Profiles(), func(p ca.Profile) bool { return p.Name == profile && p.Authority == ruche.AuthorityServices }) {
		return nil, fmt.Errorf("cannot issue a certificate for a route: its profile %q is not one of servers (server, short and peer are)", profile)
	}
	issued, err := d.ca.Issue(ctx, ca.Request{PublicKey: request.PublicKey, Names: spec.Names, Profile: profile, Requester: "routes: " + spec.Source})
	return issued.Chain, err
}

// revokeInternally has a certificate of a route revoked by the installation's own authority. One that is not in its log has ended, or is of an authority that was forgotten.
func (d *Daemon) revokeInternally(ctx context.Context, cert *x509.Certificate, reason int) error {
	err := d.ca.Revoke(ctx, fmt.Sprintf("%x", cert.SerialNumber), reason, "routes")
	if errors.Is(err, ca.ErrRevoked) || errors.Is(err, ruche.ErrNotFound) {
		return nil
	}
	return err
}

// leadCerts does what one of the control nodes does for certificates.
func (d *Daemon) leadCerts(ctx context.Context) error {
	logger := d.logger.With("component", "certs")
	return d.cluster.Lead(ctx, "certs", func(ctx context.Context, _ int64) error {
		d.leadsCerts.Store(true)
		defer d.leadsCerts.Store(false)
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		tasks := []func(context.Context) error{
			d.issuing.Run, d.publishTrust, d.certificates.warn, d.certificates.watch,
			func(ctx context.Context) error {
				return certs.RotateTickets(ctx, cluster.NewBucket[vault.Tickets](d.cluster, vault.BucketTickets), d.seal, logger)
			},
			func(ctx context.Context) error {
				return ech.Rotate(ctx, cluster.NewBucket[vault.ECH](d.cluster, vault.BucketECH), d.seal, d.echName, logger)
			},
		}
		return together(ctx, cancel, tasks)
	})
}

// together runs tasks until all have ended. When one fails, the others are told to end, and its error is returned.
func together(ctx context.Context, cancel context.CancelFunc, tasks []func(context.Context) error) error {
	var running sync.WaitGroup
	errs := make([]error, len(tasks))
	for i, task := range tasks {
		running.Go(func() {
			if errs[i] = task(ctx); errs[i] != nil {
				cancel()
			}
		})
	}
	running.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
