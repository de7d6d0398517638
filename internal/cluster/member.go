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
	born   int64  // the revision when it was opened
	news   *news
	// over is closed when another one takes this one's place.
	over chan struct{}
}

func openMember(ctx context.Context, cfg Config, refused *refusals) (*member, error) {
	news := &news{logger: cfg.Logger, refused: refused}
	ec, err := etcdConfig(cfg, news)
	if err != nil {
		return nil, fmt.Errorf("cannot open cluster state: %w", err)
	}
	lock, err := lockDir(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("cannot open cluster state: %w", err)
	}
	etcd, err := startEtcd(ctx, ec, news)
	if err != nil {
		_ = lock.Unlock()
		return nil, fmt.Errorf("cannot open cluster state in %s: %w", cfg.Dir, err)
	}
	news.started.Store(true)
	return &member{
		lock: lock, etcd: etcd, client: v3client.New(etcd.Server), self: uint64(etcd.Server.MemberID()), born: etcd.Server.KV().Rev(),
		news: news, over: make(chan struct{}),
	}, nil
}

// lockDir makes a member's directory, as far as it is missing, and locks it.
func lockDir(dir string) (*fsx.Lock, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return nil, err
	}
	return fsx.LockDir(dir)
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

// get reads keys. A member that stops closes its database under whoever reads just then, which is a panic in etcd.
func (m *member) get(ctx context.Context, key string, opts ...clientv3.OpOption) (resp *clientv3.GetResponse, err error) {
	defer func() {
		if p := recover(); p != nil {
			if !m.stopping() {
				panic(p)
			}
			resp, err = nil, m.news.orElse(ErrClosed)
		}
	}()
	if m.stopping() {
		return nil, m.news.orElse(ErrClosed)
	}
	return m.client.Get(ctx, key, opts...)
}

func (m *member) stopping() bool {
	select {
	case <-m.etcd.Server.StoppingNotify():
		return true
	default:
		return false
	}
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
	if m.news.err() == nil { // else it would wait for goroutines that have ended in the middle of their work
		m.etcd.Close()
	}
	return errors.Join(err, m.lock.Unlock())
}

// ErrReleased tells that another process may have the directory now.
var ErrReleased = errors.New("the cluster state is released to another process")

// held returns the member, or an error while the directory is released, or when the cluster was closed.
func (c *Cluster) held() (*member, error) {
	select {
	case <-c.closed:
		return nil, ErrClosed
	default:
	}
	m := c.current.Load()
	if m.etcd == nil {
		return nil, ErrReleased
	}
	return m, nil
}

// Release stops the member and gives its directory free, so that another process can open it. Until Reopen, reads and writes fail with ErrReleased;
// watches wait, and leaders have lost their leadership. Other members go on without this one meanwhile. A member that has failed
// is not released: the error says so.
func (c *Cluster) Release() error {
	c.changing.Lock()
	defer c.changing.Unlock()
	m, err := c.held()
	if err == nil {
		err = m.news.err()
	}
	if err != nil {
		return fmt.Errorf("cannot release cluster state in %s: %w", c.cfg.Dir, err)
	}
	c.replace(&member{news: m.news})
	return m.stop()
}

// Reopen takes the directory back after Release. While another process has it, the error wraps fsx.ErrLocked. Watches go on with the whole content.
func (c *Cluster) Reopen(ctx context.Context) error {
	c.changing.Lock()
	defer c.changing.Unlock()
	if _, err := c.held(); !errors.Is(err, ErrReleased) {
		return err
	}
	m, err := openMember(ctx, c.cfg, c.refused)
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
