package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
)

// leaseSeconds is how long a leader that is gone without a word keeps others from leading.
const leaseSeconds = 5

// Lead runs fn while this member leads under name; of all members, one leads at a time. The token grows with every
// change of leader: who writes elsewhere with it can tell an old leader's write. Writes to this cluster with the context of fn are refused when
// leadership is lost (ErrNotLeading), whether this member knows that yet or not. That context ends when leadership is lost, or when ctx ends; fn must
// return then, and leadership is sought again. Lead returns fn's error, or nil, when fn returns
// although it leads, and nil when ctx ends. When the cluster is closed, the error wraps ErrClosed.
func (c *Cluster) Lead(ctx context.Context, name string, fn func(ctx context.Context, token int64) error) error {
	for {
		lost, err := c.leadOnce(ctx, name, fn)
		if ctx.Err() != nil {
			return nil
		}
		select {
		case <-c.closed:
			return fmt.Errorf("cannot lead %s: %w", name, ErrClosed)
		default:
		}
		if !lost {
			return err
		}
		level := slog.LevelWarn
		if err == nil || errors.Is(err, ErrNotLeading) {
			level = slog.LevelInfo // another one leads, and all is as it should be
		}
		c.logger.Log(ctx, level, "leadership is lost, seeking it again", slog.String("name", name), slog.Any("error", err))
		if err := errors.Join(c.pause(ctx), c.awaitQuorum(ctx)); errors.Is(err, ErrClosed) {
			return fmt.Errorf("cannot lead %s: %w", name, err)
		}
	}
}

// leadOnce seeks leadership once and runs fn under it. It reports lost when leadership was not won or did
// not last as long as fn.
func (c *Cluster) leadOnce(ctx context.Context, name string, fn func(context.Context, int64) error) (lost bool, err error) {
	m, err := c.held()
	if err != nil {
		return true, err
	}
	lease, err := m.client.Grant(ctx, leaseSeconds)
	if err != nil {
		return true, err
	}
	// The session must outlive ctx, so that leadership can be handed back when ctx ends.
	alive, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	session, err := concurrency.NewSession(m.client, concurrency.WithLease(lease.ID), concurrency.WithContext(alive))
	if err != nil {
		return true, err
	}
	defer func() {
		session.Orphan()
		handBack, cancel := context.WithTimeout(alive, closeTimeout)
		defer cancel()
		// When this fails, the lease runs out by itself.
		_, _ = m.client.Revoke(handBack, lease.ID)
	}()

	seeking, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		select {
		case <-session.Done():
			stop()
		case <-c.closed:
			stop()
		case <-m.over:
			stop()
		case <-seeking.Done():
		}
	}()
	const prefix = "/ruche-lead/"
	m.bury(seeking, prefix+name+"/", c.cfg.Name)
	election := concurrency.NewElection(session, prefix+name)
	if err := election.Campaign(seeking, c.cfg.Name); err != nil {
		return true, err
	}
	err = fn(fenced(seeking, fence{election.Key(), election.Rev(), stop}), election.Rev())
	return seeking.Err() != nil, err
}

// bury ends the terms of this member's former lives. A process that was killed has handed nothing back, and its lease would keep every member
// from leading until it runs out. When this fails, that is what happens.
func (m *member) bury(ctx context.Context, prefix, name string) {
	resp, err := m.client.Get(ctx, prefix, clientv3.WithPrefix(), clientv3.WithMaxCreateRev(m.born))
	if err != nil {
		return
	}
	for _, kv := range resp.Kvs {
		if string(kv.Value) == name {
			_, _ = m.client.Revoke(ctx, clientv3.LeaseID(kv.Lease))
		}
	}
}
