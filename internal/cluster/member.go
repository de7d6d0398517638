package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"

	"github.com/ruche-project/ruche/internal/fsx"
)

// member is an opened directory with etcd on it, or, while the directory is released, neither.
type member struct {
	lock   *fsx.Lock
	etcd   *embed.Etcd // nil while the directory is released
	client *clientv3.Client
	self   uint64 // the member's ID
	end    *fatalEnd
	// over is closed when another one takes this one's place.
	over chan struct{}
}

func openMember(ctx context.Context, cfg Config) (*member, error) {
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
	return &member{
		lock: lock, etcd: etcd, client: v3client.New(etcd.Server), self: uint64(etcd.Server.MemberID()),
		end: end, over: make(chan struct{}),
	}, nil
}

// failed and stopped tell that etcd has ended. Both wait for ever while the directory is released.
func (m *member) failed() <-chan error {
	if m.etcd == nil {
		return nil
	}
	return m.etcd.Err()
}

func (m *member) stopped() <-chan struct{} {
	if m.etcd == nil {
		return nil
	}
	return m.etcd.Server.StopNotify()
}

// stop ends etcd and gives the directory free.
func (m *member) stop() error {
	if m.etcd == nil {
		return nil
	}
	var err error
	if e := m.client.Close(); e != nil && !errors.Is(e, context.Canceled) {
		err = fmt.Errorf("cannot close cluster state: %w", e)
	}
	if m.end.err() == nil { // else it would wait for goroutines that have ended in the middle of their work
		m.etcd.Close()
	}
	return errors.Join(err, m.lock.Unlock())
}

// ErrReleased tells that another process may have the directory now.
var ErrReleased = errors.New("the cluster state is released to another process")

// held returns the member, or an error while the directory is released.
func (c *Cluster) held() (*member, error) {
	m := c.current.Load()
	if m.etcd == nil {
		return nil, ErrReleased
	}
	return m, nil
}

// Release stops the member and gives its directory free, so that another process can open it. Until Reopen, reads and writes fail with ErrReleased;
// watches wait, and leaders have lost their leadership. A member that has failed, or that others reach, is not released: the error says so.
func (c *Cluster) Release() error {
	c.changing.Lock()
	defer c.changing.Unlock()
	m, err := c.held()
	if err == nil {
		err = m.end.err()
	}
	select {
	case <-c.closed:
		err = ErrClosed
	default:
	}
	if err == nil && c.cfg.Peer != "" {
		err = errors.New("it is one member of several")
	}
	if err != nil {
		return fmt.Errorf("cannot release cluster state in %s: %w", c.cfg.Dir, err)
	}
	c.replace(&member{end: m.end})
	return m.stop()
}

// Reopen takes the directory back after Release. While another process has it, the error wraps fsx.ErrLocked. Watches go on with the whole content.
func (c *Cluster) Reopen(ctx context.Context) error {
	c.changing.Lock()
	defer c.changing.Unlock()
	select {
	case <-c.closed:
		return ErrClosed
	default:
	}
	if _, err := c.held(); err == nil {
		return nil
	}
	m, err := openMember(ctx, c.cfg)
	if err != nil {
		return err
	}
	c.replace(m)
	return nil
}

// replace puts a member in the place of the one before.
func (c *Cluster) replace(m *member) {
	if m.over == nil {
		m.over = make(chan struct{})
	}
	close(c.current.Swap(m).over)
}
