package ca

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/ruche-project/ruche"
)

// NodeRequest asks for the certificate with which a node that has not the state serves the API of its Engine.
type NodeRequest struct {
	Node      string
	PublicKey crypto.PublicKey
	// Own are names that the node has for certain. Those that the authority may not issue for are left out.
	Own []string
	// Asked are names that the node asks for beside them. Which they are is not for the node alone to say: a name that another node has is refused.
	Asked []string
	// Others are the names of the other nodes.
	Others []string
}

// ErrTooMany tells that a node has had so many certificates lately that it has to wait.
var ErrTooMany = errors.New("too many certificates in the last hour")

const (
	// frontRequester begins the requester of certificates for the Docker API; the node's name follows.
	frontRequester = "docker-front:"
	// maxAsked bounds the names that a node may ask for, maxHourly its certificates in an hour: each is in the log for a month.
	maxAsked  = 16
	maxHourly = 20
)

// IssueForNode signs a certificate of ProfileDockerServer for a node, and makes the authority if it is not there. Errors are those of Issue, and ErrTooMany.
func (a *Authority) IssueForNode(ctx context.Context, r NodeRequest) (Issued, error) {
	fail := func(err error) (Issued, error) {
		return Issued{}, fmt.Errorf("cannot issue a certificate for node %q: %w", r.Node, err)
	}
	p, err := a.profile(ProfileDockerServer)
	if err == nil {
		err = a.Ensure(ctx, p.Authority)
	}
	if err != nil {
		return fail(err)
	}
	if len(r.Asked) > maxAsked {
		return fail(fmt.Errorf("%w: it asks for %d names, at most %d are given", ErrRefused, len(r.Asked), maxAsked))
	}
	log, err := a.cfg.Issued.List(ctx)
	if err != nil {
		return fail(fmt.Errorf("cannot read the log of what was issued: %w", err))
	}
	if err := r.checkAsked(log, a.now()); err != nil {
		return fail(err)
	}
	own, err := a.permitted(ctx, p, r.Own)
	if err != nil {
		return fail(err)
	}
	return a.Issue(ctx, Request{PublicKey: r.PublicKey, Names: slices.Concat(own, r.Asked), Profile: p.Name, Requester: frontRequester + r.Node})
}

// checkAsked refuses names that are another node's: its own, and those in a certificate for the Docker API that another node has had and that is good. Of two nodes that ask for one
// name, so, the first one has it.
func (r NodeRequest) checkAsked(log map[string]ruche.Entry[Entry], now time.Time) error {
	taken := map[string]string{}
	for _, name := range r.Others {
		taken[strings.ToLower(name)] = name
	}
	lately := 0
	for _, e := range log {
		node, ok := strings.CutPrefix(e.Value.Requester, frontRequester)
		switch {
		case !ok || e.Value.Profile != ProfileDockerServer:
		case node == r.Node:
			if now.Sub(e.Value.Issued) < time.Hour {
				lately++
			}
		case e.Value.Revoked == nil && now.Before(e.Value.NotAfter):
			for _, name := range e.Value.Names {
				taken[name] = node
			}
		}
	}
	if lately >= maxHourly {
		return ErrTooMany
	}
	for _, text := range r.Asked {
		_, name, err := classify(text)
		if err != nil {
			return fmt.Errorf("%w: the name %q: %w", ErrRefused, text, err)
		}
		if node, ok := taken[name]; ok && !everyHosts(name) {
			return fmt.Errorf("%w: the name %s is that of node %s (take it out of --docker-tls-names of one of them; if that node is gone, revoke its certificate with \"ruche ca revoke\")", ErrRefused, name, node)
		}
	}
	return nil
}

// everyHosts reports whether a name stands for whichever host it is used on.
func everyHosts(name string) bool {
	ip, err := netip.ParseAddr(name)
	return name == "localhost" || err == nil && ip.IsLoopback()
}

// permitted are the names that the authority may issue for. Which ones a host has is not asked of people, so one too many must not cost them all.
func (a *Authority) permitted(ctx context.Context, p Profile, list []string) ([]string, error) {
	record, err := a.read(ctx, p.Authority)
	if err != nil {
		return nil, err
	}
	by, err := record.Value.active(a.now())
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(slices.Clone(list), func(name string) bool {
		n, err := parseNames([]string{name}, p.names)
		return err != nil || n.allowedBy(by.cert) != nil
	}), nil
}
