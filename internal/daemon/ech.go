package daemon

import (
	"context"
	"slices"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/certs/acme"
	"github.com/ruche-project/ruche/internal/certs/dns"
	"github.com/ruche-project/ruche/internal/certs/ech"
	"github.com/ruche-project/ruche/internal/certs/vault"
	"github.com/ruche-project/ruche/internal/cluster"
	"github.com/ruche-project/ruche/internal/discovery"
)

// echRoutes has a certificate ordered for the public name of Encrypted Client Hello, as for the name of a route.
func echRoutes(publicName string) []ruche.Route {
	if publicName == "" {
		return nil
	}
	return []ruche.Route{{Source: "--ech-public-name", Match: ruche.Match{Host: publicName}}}
}

// ECH tells which HTTPS records are to be published for the names of the routes, and what DNS has of them.
func (c *certificates) ECH(ctx context.Context) (ruche.ECHStatus, error) {
	resolver, err := dns.NewResolver()
	if err != nil {
		return ruche.ECHStatus{}, err
	}
	names, err := c.echNames(ctx)
	if err != nil {
		return ruche.ECHStatus{}, err
	}
	return ech.Status(ctx, cluster.NewBucket[vault.ECH](c.cluster, vault.BucketECH), names, resolver)
}

// echNames are the names of HTTP routes with HTTPS, sorted.
func (c *certificates) echNames(ctx context.Context) ([]string, error) {
	all, err := cluster.NewBucket[ruche.Declaration](c.cluster, discovery.BucketDeclarations).List(ctx)
	if err != nil {
		return nil, err
	}
	names := []string{}
	for _, e := range all {
		for _, r := range e.Value.Routes {
			if e.Value.GoneSince.IsZero() && r.Protocol == "" && r.TLS != ruche.TLSOff && r.HTTPSMethod != ruche.HTTPSNoHTTPS {
				names = append(names, acme.RouteNames(r)...)
			}
		}
	}
	names = slices.DeleteFunc(names, func(n string) bool { return n == c.echName }) // which is not hidden
	slices.Sort(names)
	return slices.Compact(names), nil
}
