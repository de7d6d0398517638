package dns

import (
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"strings"

	wire "github.com/miekg/dns"
)

// probeLabel is a name that nobody has, so that what DNS answers for it is a wildcard's (RFC 4592).
const probeLabel = "_ruche-looks-for-wildcards"

// sibling gives a name that nobody has beside name.
func sibling(name string) string {
	_, above, _ := strings.Cut(name, ".")
	return probeLabel + "." + above
}

// cname gives where the CNAME of a name leads, "" if there is none.
func (r *Resolver) cname(ctx context.Context, name string) (string, error) {
	answer, err := r.lookup(ctx, name, wire.TypeCNAME)
	if err != nil {
		return "", err
	}
	for _, rr := range answer.Answer {
		if c, ok := rr.(*wire.CNAME); ok && plain(c.Hdr.Name) == name {
			return plain(c.Target), nil
		}
	}
	return "", nil
}

// passing reports whether the CNAME from name to target goes away when something is written at name, and may: it comes from a wildcard ("*.shop.example CNAME shop.example" is no
// delegation of _acme-challenge.shop.example). Where the name above is that wildcard's, too, it must stay: a record below a name ends what the wildcard says of that name.
func (r *Resolver) passing(ctx context.Context, name, target string) (bool, error) {
	beside, err := r.cname(ctx, sibling(name))
	if err != nil || beside != target {
		return false, err
	}
	_, above, _ := strings.Cut(name, ".")
	beside, err = r.cname(ctx, sibling(above))
	return beside != target, err
}

// warnIfHidden tells of a name that DNS answers by a wildcard, and will not while the record below it stands.
func (s *Solver) warnIfHidden(ctx context.Context, r record) {
	_, above, _ := strings.Cut(r.name, ".")
	if above == r.zone || !within(above, r.zone) {
		return
	}
	below, err := s.resolver.Addresses(ctx, sibling(r.name))
	if err != nil || len(below) == 0 {
		return
	}
	beside, err := s.resolver.Addresses(ctx, sibling(above))
	if err != nil || !slices.Equal(sorted(below), sorted(beside)) {
		return
	}
	s.log.Warn("a name that DNS answers by a wildcard is hidden as long as the record for the CA stands (give the name a record of its own, or order a certificate for the wildcard)",
		slog.String("hidden", above), slog.String("record", r.name))
}

func sorted(list []netip.Addr) []netip.Addr {
	return slices.SortedFunc(slices.Values(list), netip.Addr.Compare)
}
