package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"

	wire "github.com/miekg/dns"
)

// maxCNAMEs bounds how far a name is followed; resolvers stop at about as many.
const maxCNAMEs = 10

// record is a TXT record at the place where it is to be written.
type record struct {
	asked string // the name that the CA looks under
	name  string // where CNAMEs lead from there
	zone  string // the zone that name is in
	value string
}

// relative gives the record's name within its zone, "" at the top of it.
func (r record) relative() string { return relativeTo(r.name, r.zone) }

func relativeTo(name, zone string) string {
	return strings.TrimSuffix(strings.TrimSuffix(name, zone), ".")
}

func within(name, zone string) bool { return name == zone || strings.HasSuffix(name, "."+zone) }

// follow gives the name that a chain of CNAMEs ends at, which is where a CA looks for a TXT record (RFC 8555 section 8.4).
func (r *Resolver) follow(ctx context.Context, name string) (string, error) {
	seen := []string{name}
	for range maxCNAMEs {
		next, err := r.cname(ctx, name)
		if err != nil {
			return "", err
		}
		if next == "" {
			return name, nil
		}
		if passing, err := r.passing(ctx, name, next); err != nil || passing {
			return name, err
		}
		if slices.Contains(seen, next) {
			return "", fmt.Errorf("cannot follow the CNAME of %s: it leads back to %s", seen[0], next)
		}
		seen, name = append(seen, next), next
	}
	return "", fmt.Errorf("cannot follow the CNAME of %s: there are more than %d one after the other", seen[0], maxCNAMEs)
}

// zoneOf finds the zone that a name is in: the nearest name above with a SOA record.
func (r *Resolver) zoneOf(ctx context.Context, name string) (string, error) {
	for rest := name; rest != ""; _, rest, _ = strings.Cut(rest, ".") {
		answer, err := r.lookup(ctx, rest, wire.TypeSOA)
		if err != nil {
			return "", err
		}
		// Where there is none the answer says, beside, which zone there is (RFC 2308 section 3).
		for _, rr := range append(answer.Answer, answer.Ns...) {
			if soa, ok := rr.(*wire.SOA); ok && soa.Hdr.Name != "." && within(rest, plain(soa.Hdr.Name)) {
				return plain(soa.Hdr.Name), nil
			}
		}
	}
	return "", fmt.Errorf("cannot find the zone of %s: no name above it has a SOA record (is the domain registered, and do the resolvers know it?)", name)
}

// nameServers gives the addresses of all name servers of a zone, each with the port.
func (r *Resolver) nameServers(ctx context.Context, zone, port string) ([]string, error) {
	answer, err := r.lookup(ctx, zone, wire.TypeNS)
	if err != nil {
		return nil, err
	}
	var found []string
	var last error
	for _, rr := range answer.Answer {
		ns, ok := rr.(*wire.NS)
		if !ok {
			continue
		}
		addresses, err := r.Addresses(ctx, plain(ns.Ns))
		if err != nil {
			last = err
			continue
		}
		for _, a := range addresses {
			if s := net.JoinHostPort(a.String(), port); !slices.Contains(found, s) {
				found = append(found, s)
			}
		}
	}
	if len(found) == 0 {
		return nil, errors.Join(fmt.Errorf("cannot find the name servers of the zone %s", zone), last)
	}
	return found, nil
}
