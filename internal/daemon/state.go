package daemon

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/cluster"
)

// stateDir is where the replicated state is in a data directory.
func stateDir(dataDir string) string { return filepath.Join(dataDir, "cluster") }

func (d *Daemon) backup(ctx context.Context, w io.Writer) error {
	info, err := d.cluster.Backup(ctx, w)
	if err == nil {
		d.logger.Info("gave a backup of the state", "revision", info.Revision)
	}
	return err
}

// watchQuorum raises a warning while no majority of the members is up, and keeps for metrics which members are.
func (d *Daemon) watchQuorum(ctx context.Context) error {
	const code, subject = ruche.CodeClusterUnavailable, "quorum"
	var wait sync.WaitGroup
	defer wait.Wait()
	wait.Go(func() { d.watchMembers(ctx) })
	wait.Go(func() { d.certificates.watchInventory(ctx) })
	d.cluster.WatchQuorum(ctx, func(q cluster.Quorum) {
		if q.OK {
			if d.health.Clear(code, subject) {
				d.logger.Info("a majority of the members of the state is up again")
			}
			return
		}
		w := ruche.Warning{
			Code: code, Severity: ruche.SeverityError, Subject: subject,
			Message: fmt.Sprintf("no majority of the state's members is up since %s: what is known is served, changes wait", q.Since.UTC().Format(time.RFC3339)),
			Hint:    `bring the other control nodes up ("ruche state status" lists them); if they are lost for good, docs/state.md has the way out`,
		}
		d.health.Set(w)
		d.logger.Error(w.Message, "hint", w.Hint)
	})
	<-ctx.Done()
	return nil
}

// stateConfig is that of the state in a data directory whose node does not run. The node is named as it was, else as given, else after its host.
func stateConfig(dataDir, givenName string, logger *slog.Logger) (cluster.Config, error) {
	name, err := nodeName(dataDir, givenName, false)
	return cluster.Config{Dir: stateDir(dataDir), Name: name, Logger: logger}, err
}

// RestoreState makes a data directory without state that of a node which has what the backup holds.
func RestoreState(dataDir, givenName string, backup io.Reader, logger *slog.Logger) (cluster.Backup, error) {
	if err := os.MkdirAll(dataDir, 0o700); err != nil {
		return cluster.Backup{}, fmt.Errorf("cannot make the data directory: %w (choose another with --data-dir)", err)
	}
	cfg, err := stateConfig(dataDir, givenName, logger)
	if err != nil {
		return cluster.Backup{}, err
	}
	return cluster.Restore(cfg, backup)
}

// ForceNewState makes the node of a data directory the only member of its cluster, and returns where the state is kept as it was.
func ForceNewState(ctx context.Context, dataDir string, logger *slog.Logger) (kept string, err error) {
	if _, err := os.Stat(stateDir(dataDir)); err != nil {
		return "", fmt.Errorf("cannot find the state of a node: %w (name its data directory with --data-dir)", err)
	}
	cfg, err := stateConfig(dataDir, "", logger)
	if err != nil {
		return "", err
	}
	return cluster.ForceNew(ctx, cfg)
}
