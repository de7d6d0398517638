package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// ErrClosed tells that the cluster was closed, or its member stopped.
var ErrClosed = errors.New("the cluster member is closed")

// ErrRemoved tells that the other members removed this one. Its data is of no use any more: SetAside makes room for joining again.
var ErrRemoved = errors.New("this member was removed from its cluster")

// ErrInvitation tells that the members are others than the invitation says: a new one is needed.
var ErrInvitation = errors.New("the invitation is out of date")

// Config says where a member keeps its data and how others reach it.
type Config struct {
	// Dir is the member's own directory; it is created if needed, gets mode 0700, and is locked.
	Dir string
	// Name is the member's name, unique in the cluster.
	Name string
	// Peer is the URL at which other members reach this one: "https://192.0.2.1:8902", with PeerTLS; or, within one host, "unix://node-1:1" for the
	// socket "node-1:1" in the working directory. When it is empty the member is alone, and opens no socket and no port. A member with
	// data may get one, or another one, when it is opened.
	Peer    string
	PeerTLS *PeerTLS
	// Join makes a member without data join the cluster that gave the invitation. With data it is ignored.
	Join   *Invitation
	Logger *slog.Logger
}

// Cluster is one running member. It is safe for concurrent use.
type Cluster struct {
	cfg    Config
	logger *slog.Logger

	changing sync.Mutex // held while the member is released, reopened or closed
	current  atomic.Pointer[member]
	refused  *refusals
	quorum   *quorum
	close    sync.Once
	closed   chan struct{}
	follower sync.WaitGroup // of the quorum
}

// Open starts the member, with the data in cfg.Dir if there is any, and returns when it takes part in its cluster. A
// member of several waits for a majority of them until ctx ends. The caller must call Close, or
// Run, which does.
func Open(ctx context.Context, cfg Config) (*Cluster, error) {
	c := &Cluster{cfg: cfg, logger: cfg.Logger, closed: make(chan struct{}), refused: newRefusals(cfg.Logger), quorum: newQuorum()}
	m, err := openMember(ctx, cfg, c.refused)
	if err != nil {
		return nil, err
	}
	c.current.Store(m)
	c.follower.Go(c.followQuorum)
	if err := c.takePart(ctx, cfg); err != nil {
		return nil, errors.Join(fmt.Errorf("cannot open cluster state in %s: %w", cfg.Dir, err), c.Close())
	}
	return c, nil
}

// Run keeps the member until ctx ends or Close is called, closes it and returns nil. It returns an error when the
// member stops by itself, but not when its disk made it fail: then the process is to serve on what it knows.
func (c *Cluster) Run(ctx context.Context) error {
	for {
		m := c.current.Load()
		var why error
		select {
		case <-ctx.Done():
			return c.Close()
		case <-c.closed:
			return nil
		case <-m.over:
			continue
		case why = <-m.failed():
		case <-m.stopped():
			why = m.news.orElse(errors.New("its data is damaged"))
		}
		select {
		case <-c.closed: // Close stopped it
			return nil
		case <-m.over: // Release did
			continue
		default:
		}
		if m.news.err() != nil { // that was told, and the rest of the process goes on without it
			<-ctx.Done()
			return c.Close()
		}
		return errors.Join(fmt.Errorf("cluster member %s stopped: %w", c.cfg.Name, why), c.Close())
	}
}

// Close stops the member and gives its directory free. It hands leadership to another member if
// there is one. Watches and leaders end. A second call does nothing.
func (c *Cluster) Close() error {
	var err error
	c.close.Do(func() {
		close(c.closed)
		c.follower.Wait()
		c.changing.Lock()
		defer c.changing.Unlock()
		err = c.current.Load().stop()
	})
	return err
}

// leaderKnown reports whether this member knows a leader, which means that a majority of members is
// up and that writes go through.
func (c *Cluster) leaderKnown() bool {
	m, err := c.held()
	return err == nil && m.etcd.Server.Leader() != 0
}

// retryPause is the time between two tries of what the cluster refuses for the moment.
const retryPause = 100 * time.Millisecond

// pause waits for retryPause. It gives an error when ctx or the cluster ended.
func (c *Cluster) pause(ctx context.Context) error {
	t := time.NewTimer(retryPause)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-c.closed:
		return ErrClosed
	case <-t.C:
		return nil
	}
}
