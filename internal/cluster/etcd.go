package cluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"go.etcd.io/bbolt"
	"go.etcd.io/etcd/client/pkg/v3/tlsutil"
	"go.etcd.io/etcd/server/v3/embed"
)

const (
	// tick and election are in milliseconds. They fit members in one data centre: a lost leader is replaced
	// in about a second.
	tick     = 50
	election = 500

	// history is how long old revisions are kept. Watches that fall behind further list again.
	history = "5m"

	// quota is the most the state may take on disk, in bytes.
	quota = 2 << 30

	// maxOps is what etcd allows in one transaction, maxValue what it allows in one request less room for the key.
	maxOps   = 128
	maxValue = 1_500_000

	// maxSocketPath is the longest path of a unix socket that Linux takes, in bytes.
	maxSocketPath = 107
)

func etcdConfig(cfg Config, news *news) (*embed.Config, error) {
	if err := memberName(cfg.Name); err != nil {
		return nil, err
	}
	ec := embed.NewConfig()
	ec.Name, ec.Dir = cfg.Name, cfg.Dir
	ec.TickMs, ec.ElectionMs = tick, election
	ec.AutoCompactionMode, ec.AutoCompactionRetention = embed.CompactorModePeriodic, history
	ec.QuotaBackendBytes = quota
	ec.MaxTxnOps = maxOps
	ec.BootstrapDefragThresholdMegabytes = 64
	ec.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zapLogger(cfg.Logger, news))

	// Clients call the member's functions and need no listener; nor do peers while there are none.
	ec.ListenClientUrls, ec.AdvertiseClientUrls = nil, nil
	ec.ListenPeerUrls, ec.AdvertisePeerUrls = nil, []url.URL{alone(cfg.Name)}
	if cfg.Peer != "" {
		u, err := ownPeer(cfg)
		if err != nil {
			return nil, err
		}
		ec.ListenPeerUrls, ec.AdvertisePeerUrls = []url.URL{u}, []url.URL{u}
		ec.PeerTLSInfo, ec.TlsMinVersion = cfg.PeerTLS.info(), string(tlsutil.TLSVersion13)
	}

	ec.InitialClusterToken = newToken()
	ec.InitialCluster = cfg.Name + "=" + ec.AdvertisePeerUrls[0].String()
	if cfg.Join != nil {
		if cfg.Peer == "" {
			return nil, errors.New("a member that joins others needs a peer address")
		}
		ec.ClusterState = embed.ClusterStateFlagExisting
		ec.InitialCluster = cfg.Join.cluster(cfg.Name, cfg.Peer)
	}
	return ec, nil
}

const (
	// reserve is what must be free on the disk for a write, so that etcd, which ends the process when it runs out in the middle
	// of one, never does.
	reserve = 64 << 20
	// startRoom is what must be free for a start: etcd allocates its log in pieces of 64 MB.
	startRoom = 130 << 20
)

// checkRoom returns an error when less than need bytes are free on the disk of dir.
func checkRoom(dir string, need uint64) error {
	var disk syscall.Statfs_t
	if syscall.Statfs(dir, &disk) != nil {
		return nil // whoever writes will learn why
	}
	if free := disk.Bavail * uint64(disk.Bsize); free < need {
		return fmt.Errorf("the disk of %s is nearly full: %d MB are free, %d MB must be", dir, free>>20, need>>20)
	}
	return nil
}

// damaged says what to do about data that cannot be read. With a full disk it is most likely not damaged.
func damaged(dir string, cause any) error {
	if full := checkRoom(dir, startRoom); full != nil {
		return fmt.Errorf("%w (%v)", full, cause)
	}
	return fmt.Errorf("the stored state is damaged: %v; restore the directory from a backup, or remove it to start empty", cause)
}

// checkDatabase opens the database file for a look, or sees whether there is room for a new one. etcd opens it in a goroutine of its own, where nobody could recover from the
// panic that follows a damaged one.
func checkDatabase(dir string) error {
	path := filepath.Join(dir, "member", "snap", "db")
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return checkRoom(dir, startRoom)
	}
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true, Timeout: time.Second})
	if err != nil {
		return damaged(dir, err)
	}
	return db.Close()
}

// startEtcd starts the member and waits until it takes part. What etcd considers fatal in stored
// data becomes an error.
func startEtcd(ctx context.Context, ec *embed.Config, news *news) (e *embed.Etcd, err error) {
	defer func() {
		if p := recover(); p != nil {
			e, err = nil, damaged(ec.Dir, p)
		}
	}()
	if err := checkDatabase(ec.Dir); err != nil {
		return nil, err
	}
	e, err = embed.StartEtcd(ec)
	if err != nil {
		return nil, startError(ec.Dir, err)
	}
	select {
	case <-e.Server.ReadyNotify():
		return e, nil
	case <-ctx.Done():
		err = fmt.Errorf("%w while waiting for a majority of the members", context.Cause(ctx))
	case err = <-e.Err():
	case <-e.Server.StopNotify():
		err = news.orElse(errors.New("the member stopped while it started"))
	}
	e.Close()
	return nil, err
}

// startError adds what to do to errors that people meet.
func startError(dir string, err error) error {
	full := checkRoom(dir, startRoom)
	switch m := err.Error(); {
	case strings.Contains(m, "member count is unequal"), strings.Contains(m, "unmatched member"):
		return fmt.Errorf("%w (%w)", ErrInvitation, err)
	case full != nil:
		return fmt.Errorf("%w (%w)", full, err)
	}
	return err
}

// closeTimeout bounds what is told to the cluster on the way out.
const closeTimeout = time.Second
