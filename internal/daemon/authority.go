package daemon

import (
	"context"
	"errors"
	"strings"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/ca"
	"github.com/ruche-project/ruche/internal/cluster"
	"github.com/ruche-project/ruche/internal/config"
	"github.com/ruche-project/ruche/internal/mesh"
)

// makeAuthority makes the installation's own authority, on a node that has the state, and what serves by it.
func (d *Daemon) makeAuthority(cfg *config.Config) (err error) {
	if d.roles == config.Agent && cfg.DockerTLSAddr != config.Off {
		own := d.newAgentCertificate(cfg)
		d.dockerFront, err = d.newDockerFront(cfg, own, own.Revoked)
		return err
	}
	if d.cluster == nil {
		return nil
	}
	d.ca = ca.New(ca.Config{
		Authorities: cluster.NewBucket[ca.Record](d.cluster, ca.BucketAuthorities),
		Issued:      cluster.NewBucket[ca.Entry](d.cluster, ca.BucketIssued),
		CRLs:        cluster.NewBucket[ca.CRL](d.cluster, ca.BucketCRLs),
		Sealer:      d.seal, URL: cfg.CAURL, Lead: d.cluster.Lead, Logger: d.logger.With("component", "ca"), Health: d.health,
	})
	if err := d.makeACMEServer(cfg); err != nil {
		return err
	}
	if cfg.DockerTLSAddr == config.Off {
		return nil
	}
	held, err := d.ca.Hold(ca.ProfileDockerServer, ownNames(d.node, cfg), "docker-front:"+d.node)
	if err != nil {
		return err
	}
	kept := d.keptFront(cfg)
	held.Keep(kept.before(d.logger), kept.save)
	d.dockerFront, err = d.newDockerFront(cfg, held, d.ca.Revoked())
	return err
}

// dockerCertificate makes the certificate with which an agent serves the API of its Engine: for its own name, where it asks from, and of what it asks for that which no other node has.
func (d *Daemon) dockerCertificate(ctx context.Context, nodes *cluster.Bucket[mesh.Node], r mesh.DockerRequest) ([][]byte, error) {
	all, err := nodes.List(ctx)
	if err != nil {
		return nil, err
	}
	asked := ca.NodeRequest{Node: r.Node, PublicKey: r.Key, Own: []string{strings.ToLower(r.Node), "localhost", r.From.String()}, Asked: r.Names}
	for name := range all {
		if name != r.Node {
			asked.Others = append(asked.Others, name)
		}
	}
	issued, err := d.ca.IssueForNode(ctx, asked)
	switch {
	case errors.Is(err, ca.ErrTooMany):
		return nil, mesh.Refuse(mesh.ReasonRate, err.Error())
	case errors.Is(err, ca.ErrRefused):
		return nil, mesh.Refuse(mesh.ReasonNotOwner, err.Error())
	}
	return issued.Chain, err
}

// followedByAgent are the buckets that an agent needs.
func followedByAgent(cfg *config.Config) []string {
	if cfg.DockerTLSAddr == config.Off {
		return nil
	}
	return []string{ruche.BucketTrust}
}
