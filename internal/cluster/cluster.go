package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"

	"github.com/ruche-project/ruche/internal/fsx"
)

// ErrClosed tells that the cluster was closed, or its member stopped.
var ErrClosed = errors.New("the cluster member is closed")

// Config says where a member keeps its data and how others reach it.
type Config struct {
	// Dir is the member's own directory; it is created if needed, gets mode 0700, and is locked.
	Dir string
	// Name is the member's name, unique in the cluster.
	Name string
	// Peer is the URL at which other members reach this one: "unix://node-1:1" for the socket "node-1:1" in the working
	// directory. When it is empty the member is alone, and opens no socket and no port.
	Peer string
	// Join makes a member without data join the cluster that gave the invitation. With data it is ignored.
	Join   *Invitation
	Logger *slog.Logger
}

// Cluster is one running member. It is safe for concurrent use.
type Cluster struct {
	name   string
	logger *slog.Logger
	lock   *fsx.Lock
	etcd   *embed.Etcd
	client *clientv3.Client
	self   uint64 // this member's ID
	dir    string
	end    *fatalEnd

	close  sync.Once
	closed chan struct{}
}

// Open starts the member, with the data in cfg.Dir if there is any, and returns when it takes part in its cluster. A
// member of several waits for a majority of them until ctx ends. The caller must call Close, or
// Run, which does.
func Open(ctx context.Context, cfg Config) (*Cluster, error) {
	end := &fatalEnd{logger: cfg.Logger}
	ec, err := etcdConfig(cfg, end)
	if err != nil {
		return nil, fmt.Errorf("cannot open cluster state: %w", err)
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("cannot open cluster state: %w", err)
	}
	if err := os.Chmod(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("cannot open cluster state: %w", err)
	}
	lock, err := fsx.LockDir(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("cannot open cluster state: %w", err)
	}
	etcd, err := startEtcd(ctx, ec)
	if err != nil {
		_ = lock.Unlock()
		return nil, fmt.Errorf("cannot open cluster state in %s: %w", cfg.Dir, err)
	}
	end.started.Store(true)
	c := &Cluster{
		name:   cfg.Name,
		dir:    cfg.Dir,
		end:    end,
		logger: cfg.Logger,
		lock:   lock,
		etcd:   etcd,
		client: v3client.New(etcd.Server),
		self:   uint64(etcd.Server.MemberID()),
		closed: make(chan struct{}),
	}
	if err := c.takePart(ctx, cfg); err != nil {
		return nil, errors.Join(fmt.Errorf("cannot open cluster state in %s: %w", cfg.Dir, err), c.Close())
	}
	return c, nil
}

// Run keeps the member until ctx ends or Close is called, closes it and returns nil. It returns an error when the
// member stops by itself, but not when its disk made it fail: then the process is to serve on what it knows.
func (c *Cluster) Run(ctx context.Context) error {
	var why error
	select {
	case <-ctx.Done():
		return c.Close()
	case <-c.closed:
		return nil
	case why = <-c.etcd.Err():
	case <-c.etcd.Server.StopNotify():
		why = errors.New("it was removed from the cluster, or its data is damaged")
	}
	select {
	case <-c.closed: // Close stopped it
		return nil
	default:
		if c.end.err() != nil { // that was told, and the rest of the process goes on without it
			<-ctx.Done()
			return c.Close()
		}
		return errors.Join(fmt.Errorf("cluster member %s stopped: %w", c.name, why), c.Close())
	}
}

// Close stops the member and gives its directory free. It hands leadership to another member if
// there is one. Watches and leaders end. A second call does nothing.
func (c *Cluster) Close() error {
	var err error
	c.close.Do(func() {
		close(c.closed)
		if e := c.client.Close(); e != nil && !errors.Is(e, context.Canceled) {
			err = fmt.Errorf("cannot close cluster state: %w", e)
		}
		if c.end.err() == nil { // else it would wait for goroutines that have ended in the middle of their work
			c.etcd.Close()
		}
		err = errors.Join(err, c.lock.Unlock())
	})
	return err
}

// leaderKnown reports whether this member knows a leader, which means that a majority of members is
// up and that writes go through.
func (c *Cluster) leaderKnown() bool { return c.etcd.Server.Leader() != 0 }

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
