package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/etcd/etcdutl/v3/snapshot"

	"github.com/ruche-project/ruche/internal/fsx"
)

// revisionBump is how much later than the backup's the revisions of a restored state begin: later than any that the lost state can have reached, so that
// tokens of leaders and revisions in watchers' hands never come twice.
const revisionBump = 1_000_000_000

// Restore makes the directory of a new member, alone, from a backup. Of cfg it takes Dir, Name and Logger. It refuses a directory that has data; leases are dropped.
func Restore(cfg Config, r io.Reader) (Backup, error) {
	b, err := restore(cfg, r)
	if err != nil {
		return Backup{}, fmt.Errorf("cannot restore the state into %s: %w", cfg.Dir, err)
	}
	return b, nil
}

func restore(cfg Config, r io.Reader) (b Backup, err error) {
	if err := memberName(cfg.Name); err != nil {
		return Backup{}, err
	}
	lock, err := lockDir(cfg.Dir)
	if err != nil {
		return Backup{}, err
	}
	defer func() { err = errors.Join(err, lock.Unlock()) }()
	if HasData(cfg.Dir) {
		return Backup{}, errors.New("it has data, which is not overwritten; move it away, or choose another directory")
	}
	temp, err := os.MkdirTemp(cfg.Dir, "restore-")
	if err != nil {
		return Backup{}, err
	}
	defer func() { _ = os.RemoveAll(temp) }() // what was restored has left it
	file, u := filepath.Join(temp, "snapshot"), alone(cfg.Name)
	if err := fsx.Write(file, 0o600, func(w io.Writer) error {
		b, err = readBackup(r, w)
		return err
	}); err != nil {
		return Backup{}, err
	}
	err = unpanicked(func() error {
		return snapshot.NewV3(zapLogger(cfg.Logger, &news{logger: cfg.Logger})).Restore(snapshot.RestoreConfig{
			SnapshotPath: file, Name: cfg.Name, OutputDataDir: filepath.Join(temp, "data"),
			PeerURLs: []string{u.String()}, InitialCluster: cfg.Name + "=" + u.String(), InitialClusterToken: newToken(),
			RevisionBump: revisionBump, MarkCompacted: true,
		})
	})
	if err != nil {
		return Backup{}, err
	}
	return b, os.Rename(filepath.Join(temp, "data", "member"), filepath.Join(cfg.Dir, "member"))
}

// unpanicked makes an error of what etcd considers fatal.
func unpanicked(do func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v", ErrBackup, p)
		}
	}()
	return do()
}

// forcedData is where ForceNew keeps the data as it was, in the directory of the member.
const forcedData = "member.before-force-new"

// ForceNew makes the data of one member a cluster of its own, of that member alone, when the majority is lost for good. It must not be open. The others, should they come back,
// learn from it that they were removed. Of cfg it takes Dir, Name and Logger. It keeps a copy of the data and returns where.
func ForceNew(ctx context.Context, cfg Config) (kept string, err error) {
	if kept, err = forceNew(ctx, cfg); err != nil {
		return "", fmt.Errorf("cannot make the state in %s a cluster of its own: %w", cfg.Dir, err)
	}
	return kept, nil
}

func forceNew(ctx context.Context, cfg Config) (kept string, err error) {
	if !HasData(cfg.Dir) {
		return "", errors.New("there is none")
	}
	lock, err := fsx.LockDir(cfg.Dir)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, lock.Unlock()) }()
	kept = filepath.Join(cfg.Dir, forcedData)
	if err := os.RemoveAll(kept); err != nil {
		return "", err
	}
	if err := os.CopyFS(kept, os.DirFS(filepath.Join(cfg.Dir, "member"))); err != nil {
		return "", errors.Join(err, os.RemoveAll(kept))
	}
	cfg.Peer, cfg.Join = "", nil
	news := &news{logger: cfg.Logger, refused: newRefusals(cfg.Logger)}
	ec, err := etcdConfig(cfg, news)
	if err != nil {
		return "", err
	}
	ec.ForceNewCluster = true
	etcd, err := startEtcd(ctx, ec, news)
	if err != nil {
		return "", err
	}
	defer etcd.Close()
	ticker := time.NewTicker(retryPause)
	defer ticker.Stop()
	for len(etcd.Server.Cluster().Members()) > 1 { // that the others are gone is being applied
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return "", context.Cause(ctx)
		}
	}
	return kept, nil
}
