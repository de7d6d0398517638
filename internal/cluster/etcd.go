package cluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"go.etcd.io/bbolt"
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

// memberName keeps names usable in etcd's "name=url,name=url" list.
func memberName(name string) error {
	if !regexp.MustCompile(`^[A-Za-z0-9._-]{1,253}$`).MatchString(name) {
		return fmt.Errorf("the member name %q must be letters, digits, dots, dashes and underscores", name)
	}
	return nil
}

// peerURL parses the URL at which members reach each other.
func peerURL(s string) (url.URL, error) {
	u, err := url.Parse(s)
	if err != nil {
		return url.URL{}, fmt.Errorf("peer address: %w", err)
	}
	// etcd puts the socket's name where a host and its port stand, so it must look like these.
	if u.Scheme != "unix" || u.Port() == "" || u.Path != "" {
		return url.URL{}, fmt.Errorf(`the peer address %q must have the form "unix://name:number"`, s)
	}
	if len(u.Host) > maxSocketPath {
		return url.URL{}, fmt.Errorf("the socket name %q has %d bytes, and the system takes at most %d: choose a shorter one", u.Host, len(u.Host), maxSocketPath)
	}
	return *u, nil
}

// alone is the peer URL of a member that nobody else reaches.
func alone(name string) url.URL { return url.URL{Scheme: "unix", Host: name + ":0"} }

func etcdConfig(cfg Config) (*embed.Config, error) {
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
	ec.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zapLogger(cfg.Logger))

	// Clients call the member's functions and need no listener; nor do peers while there are none.
	ec.ListenClientUrls, ec.AdvertiseClientUrls = nil, nil
	ec.ListenPeerUrls, ec.AdvertisePeerUrls = nil, []url.URL{alone(cfg.Name)}
	if cfg.Peer != "" {
		u, err := peerURL(cfg.Peer)
		if err != nil {
			return nil, err
		}
		ec.ListenPeerUrls, ec.AdvertisePeerUrls = []url.URL{u}, []url.URL{u}
	}

	ec.InitialClusterToken = "ruche"
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

// damaged says what to do about data that cannot be read.
func damaged(cause any) error {
	return fmt.Errorf("the stored state is damaged: %v; restore the directory from a backup, or remove it to start empty", cause)
}

// checkDatabase opens the database file for a look. etcd opens it in a goroutine of its own, where nobody could recover from the
// panic that follows a damaged one.
func checkDatabase(dir string) error {
	path := filepath.Join(dir, "member", "snap", "db")
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true, Timeout: time.Second})
	if err != nil {
		return damaged(err)
	}
	return db.Close()
}

// startEtcd starts the member and waits until it takes part. What etcd considers fatal in stored
// data becomes an error.
func startEtcd(ctx context.Context, ec *embed.Config) (e *embed.Etcd, err error) {
	defer func() {
		if p := recover(); p != nil {
			e, err = nil, damaged(p)
		}
	}()
	if err := checkDatabase(ec.Dir); err != nil {
		return nil, err
	}
	e, err = embed.StartEtcd(ec)
	if err != nil {
		return nil, startError(err)
	}
	select {
	case <-e.Server.ReadyNotify():
		return e, nil
	case <-ctx.Done():
		err = fmt.Errorf("%w while waiting for a majority of the members", context.Cause(ctx))
	case err = <-e.Err():
	case <-e.Server.StopNotify():
		err = errors.New("the member stopped while it started")
	}
	e.Close()
	return nil, err
}

// startError adds what to do to errors that people meet.
func startError(err error) error {
	switch m := err.Error(); {
	case strings.Contains(m, "member count is unequal"), strings.Contains(m, "unmatched member"):
		return fmt.Errorf("the invitation is out of date: %w; ask for a new one", err)
	case strings.Contains(m, "no space left"):
		return fmt.Errorf("%w; about 130 MB must be free", err)
	}
	return err
}

// closeTimeout bounds what is told to the cluster on the way out.
const closeTimeout = time.Second
