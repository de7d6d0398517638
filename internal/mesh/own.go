package mesh

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/ruche-project/ruche/internal/health"
)

// ownIssuer gives certificates to the node in whose process the state is.
type ownIssuer struct {
	registry *Registry
	keeper   *keeper
	address  string
}

// newOwnKeeper makes the keeper of such a node, with the identity that is in dir.
func newOwnKeeper(registry *Registry, dir, name string, roles []Role, address string, member *Member, logger *slog.Logger, health *health.Registry) (*keeper, error) {
	roles, err := checkRoles(roles)
	if err != nil {
		return nil, err
	}
	// An identity of another authority, from before the state was begun anew, is none.
	k := &keeper{dir: dir, name: name, roles: roles, pin: keyHash(registry.authority.root.PublicKey), now: registry.now, timing: defaultTiming(), logger: logger, health: health}
	if member != nil {
		k.member, k.safe = member, member.safe
	}
	k.issuer = ownIssuer{registry, k, address}
	return k, k.load()
}

func (o ownIssuer) enrol(ctx context.Context, request []byte) (grant, error) {
	return o.admit(ctx, request, "")
}

func (o ownIssuer) renew(ctx context.Context, request []byte) (grant, error) {
	held, _ := o.keeper.current()
	return o.admit(ctx, request, held.hash)
}

func (o ownIssuer) admit(ctx context.Context, request []byte, oldKey string) (grant, error) {
	return o.registry.admitOwn(ctx, enrolment{Name: o.keeper.name, Roles: o.keeper.roles, Address: o.address, Request: request}, oldKey)
}

// EnrolOwn makes the certificates of the control node in whose process the state is, in the member's directory: anew, for address (host:port), whatever is there.
// Other members of the state know it by them.
func EnrolOwn(ctx context.Context, registry *Registry, member *Member, name, address string, logger *slog.Logger, health *health.Registry) error {
	k, err := newOwnKeeper(registry, member.dir, name, []Role{RoleControl}, address, member, logger, health)
	if err == nil {
		err = k.obtain(ctx, false)
	}
	if err != nil {
		return fmt.Errorf("cannot make the certificate of this control node: %w", err)
	}
	return nil
}
