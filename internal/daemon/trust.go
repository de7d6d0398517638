package daemon

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"sync/atomic"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/ca"
	"github.com/ruche-project/ruche/internal/cluster"
	"github.com/ruche-project/ruche/internal/mesh"
)

// publishTrust writes what edges and agents verify certificates of the authority by, whenever that changes, until ctx ends.
func (d *Daemon) publishTrust(ctx context.Context) error {
	changed := make(chan struct{}, 1)
	poke := func(ruche.Update[json.RawMessage]) {
		select {
		case changed <- struct{}{}:
		default:
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	watch := func(name string) func(context.Context) error {
		return func(ctx context.Context) error {
			return cluster.NewBucket[json.RawMessage](d.cluster, name).Watch(ctx, poke)
		}
	}
	write := func(ctx context.Context) error {
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-changed:
			}
			if err := d.writeTrust(ctx); err != nil && ctx.Err() == nil {
				d.logger.Warn("cannot tell other nodes what they verify certificates of the internal authority by, trying on", "error", err)
				if !pauseFor(ctx, trustRetry) {
					return nil
				}
				poke(ruche.Update[json.RawMessage]{})
			}
		}
	}
	authorities := func(ctx context.Context) error {
		return cluster.NewBucket[json.RawMessage](d.cluster, ca.BucketAuthorities).Watch(ctx, func(u ruche.Update[json.RawMessage]) {
			poke(u)
			d.issuing.AuthorityChanged()
		})
	}
	return together(ctx, cancel, []func(context.Context) error{authorities, watch(ca.BucketCRLs), write})
}

// writeTrust writes what is new of it.
func (d *Daemon) writeTrust(ctx context.Context) error {
	var errs []error
	for _, name := range []string{ruche.AuthorityServices, ruche.AuthorityClients, ruche.AuthorityDocker} {
		errs = append(errs, d.writeTrustOf(ctx, name))
	}
	return errors.Join(errs...)
}

// writeTrustOf writes what is to be known of an authority, if it is something new.
func (d *Daemon) writeTrustOf(ctx context.Context, authority string) error {
	var t ruche.Trust
	var err error
	if t.Authorities, err = d.ca.Bundle(ctx, authority); errors.Is(err, ruche.ErrNotFound) {
		return nil
	}
	if err == nil {
		t.Revoked, err = d.ca.CRLs(ctx, authority)
	}
	if err != nil {
		return err
	}
	bucket := cluster.NewBucket[ruche.Trust](d.cluster, ruche.BucketTrust)
	there, err := bucket.Get(ctx, authority)
	if err != nil && !errors.Is(err, ruche.ErrNotFound) {
		return err
	}
	if bytes.Equal(there.Value.Authorities, t.Authorities) && bytes.Equal(there.Value.Revoked, t.Revoked) {
		return nil
	}
	_, err = bucket.CompareAndSet(ctx, authority, t, there.Revision)
	return err
}

// trust is what this edge verifies certificates of the authorities by.
type trust struct {
	watch             func(context.Context, func(ruche.Update[ruche.Trust])) error
	services, clients atomic.Pointer[ruche.Trust]
}

func (t *trust) of(authority string) *atomic.Pointer[ruche.Trust] {
	if authority == ruche.AuthorityClients {
		return &t.clients
	}
	return &t.services
}

func (d *Daemon) newTrust() *trust {
	t := &trust{}
	if d.client == nil {
		t.watch = cluster.NewBucket[ruche.Trust](d.cluster, ruche.BucketTrust).Watch
	} else {
		t.watch = mesh.Follow[ruche.Trust](d.client, ruche.BucketTrust).Watch
	}
	return t
}

// run follows it until ctx ends.
func (t *trust) run(ctx context.Context) error {
	return t.watch(ctx, func(u ruche.Update[ruche.Trust]) {
		for _, name := range []string{ruche.AuthorityServices, ruche.AuthorityClients} {
			if now, ok := u.Puts[name]; ok {
				t.of(name).Store(&now)
			}
		}
	})
}

// known gives it, or nothing.
func (t *trust) known(authority string) (authorities, revoked []byte) {
	if now := t.of(authority).Load(); now != nil {
		return now.Authorities, now.Revoked
	}
	return nil, nil
}

// trustRetry is the time between two tries to write it.
const trustRetry = 10 * time.Second
