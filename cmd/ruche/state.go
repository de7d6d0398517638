package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/ruche-project/ruche/internal/api"
	"github.com/ruche-project/ruche/internal/cluster"
	"github.com/ruche-project/ruche/internal/daemon"
	"github.com/ruche-project/ruche/internal/fsx"
	"github.com/ruche-project/ruche/internal/report"
)

func newState() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "state",
		Short: "Look at the replicated state, back it up, bring it back",
		Long: `Look at the replicated state, back it up, bring it back. docs/state.md tells when to use which.

  ruche state status          its members, and whether a majority of them is up
  ruche state backup FILE     write all of it to a file
  ruche state check FILE      say whether a backup is whole, and of when it is
  ruche state restore FILE    begin anew with what a backup holds (Ruche must not run)
  ruche state reseal          seal private keys anew after the sealing key was replaced
  ruche state force-new       go on with this node alone when the majority is lost for good (Ruche must not run)`,
		Args: noSuchVerb,
		RunE: showHelp,
	}
	cmd.AddCommand(newStateStatus(), newStateBackup(), newStateCheck(), newStateRestore(), newStateReseal(), newStateForceNew())
	return cmd
}

func newStateStatus() *cobra.Command {
	var q query
	cmd := &cobra.Command{
		Use:   "status",
		Short: "List the members of the replicated state, and whether a majority of them is up",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			status, err := api.NewClient(q.adminAddr).State(cmd.Context())
			if err != nil {
				return err
			}
			return q.write(cmd.OutOrStdout(), status, func(w io.Writer) error { return report.State(w, status, time.Now()) })
		},
	}
	q.addFlags(cmd)
	return cmd
}

func newStateBackup() *cobra.Command {
	var adminAddr string
	cmd := &cobra.Command{
		Use:   "backup FILE",
		Short: "Write the whole replicated state to a file; - is standard output",
		Args:  oneFile("ruche state backup /var/backups/ruche-$(date +%F).state"),
		RunE: func(cmd *cobra.Command, args []string) error {
			client := api.NewClient(adminAddr)
			if args[0] == "-" {
				return client.Backup(cmd.Context(), cmd.OutOrStdout())
			}
			return backupTo(cmd.Context(), client, args[0], cmd.OutOrStdout())
		},
	}
	addAdminAddr(cmd, &adminAddr)
	return cmd
}

// backupTo writes a file that is there as a whole, checked, or not at all.
func backupTo(ctx context.Context, client *api.Client, path string, out io.Writer) error {
	if _, err := os.Lstat(path); err == nil {
		return hintError{fmt.Errorf("cannot write %s: it is there already", path), "choose another name; old backups are never overwritten"}
	}
	var info cluster.Backup
	err := fsx.Write(path, 0o600, func(w io.Writer) error {
		r, pipe := io.Pipe()
		checked := make(chan error, 1)
		go func() {
			var err error
			info, err = cluster.CheckBackup(r)
			r.CloseWithError(errors.Join(err, io.ErrClosedPipe))
			checked <- err
		}()
		err := client.Backup(ctx, io.MultiWriter(w, pipe))
		pipe.CloseWithError(err)
		if bad := <-checked; err == nil {
			err = bad
		}
		return err
	})
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "%s holds the state of %s, revision %d.\n", path, info.Taken.Format(time.RFC3339), info.Revision)
	return err
}

func newStateCheck() *cobra.Command {
	return &cobra.Command{
		Use:   "check FILE",
		Short: "Say whether a backup is whole, of when it is, and of which node; - is standard input",
		Args:  oneFile("ruche state check /var/backups/ruche-2026-11-22.state"),
		RunE: func(cmd *cobra.Command, args []string) error {
			in, end, err := openBackup(cmd, args[0])
			if err != nil {
				return err
			}
			defer end()
			info, err := cluster.CheckBackup(in)
			if err != nil {
				return hintError{fmt.Errorf("cannot use %s: %w", args[0], err), "keep the backups before it, and make another: ruche state backup FILE"}
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s is whole. It holds the state of %s, revision %d, taken by node %s.\n",
				args[0], info.Taken.Format(time.RFC3339), info.Revision, info.Member)
			return err
		},
	}
}

// openBackup opens a file to read; - is standard input. end closes it.
func openBackup(cmd *cobra.Command, path string) (in io.Reader, end func(), err error) {
	if path == "-" {
		return cmd.InOrStdin(), func() {}, nil
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot read the backup: %w", err)
	}
	return file, func() { _ = file.Close() }, nil
}

func newStateRestore() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "restore FILE",
		Short: "Begin anew with what a backup holds, in a data directory without state; - is standard input",
		Args:  oneFile("ruche state restore /var/backups/ruche-2026-11-22.state"),
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := loadConfig(cmd)
			if err != nil {
				return err
			}
			in, end, err := openBackup(cmd, args[0])
			if err != nil {
				return err
			}
			defer end()
			info, err := daemon.RestoreState(cfg.DataDir, cfg.NodeName, in, slog.New(logHandler(cfg, cmd.ErrOrStderr())))
			if err != nil {
				return stopFirst(err)
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "The state of %s (node %s) is in %s now. Start Ruche here; other control nodes must not have data of the old state.\n",
				info.Taken.Format(time.RFC3339), info.Member, cfg.DataDir)
			return err
		},
	}
	addSettings(cmd, named("config", "data-dir", "node-name"))
	return cmd
}

func newStateForceNew() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "force-new",
		Short: "Make this node the only member, when the majority is lost for good",
		Long: `Make this node the only member of the replicated state, when the majority of the members is lost for good. Do it on one node only, with all others down. What other
members had and this one has not is lost. The state is kept as it was beside the new one.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := loadConfig(cmd)
			if err != nil {
				return err
			}
			kept, err := daemon.ForceNewState(cmd.Context(), cfg.DataDir, slog.New(logHandler(cfg, cmd.ErrOrStderr())))
			if err != nil {
				return stopFirst(err)
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "This node is the only member now. Start Ruche here. The state as it was is in %s; remove that when all is well.\n", kept)
			return err
		},
	}
	addSettings(cmd, named("config", "data-dir"))
	return cmd
}

// stopFirst adds what to do when a running Ruche has the directory.
func stopFirst(err error) error {
	if errors.Is(err, fsx.ErrLocked) {
		return hintError{err, `stop Ruche on this node first, such as with "systemctl stop ruche"`}
	}
	if errors.Is(err, fs.ErrPermission) {
		return hintError{err, "run this as the user that Ruche runs as, mostly root"}
	}
	return err
}

func oneFile(example string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != 1 {
			return hintError{fmt.Errorf("%s takes one file, %d were given", cmd.CommandPath(), len(args)), example}
		}
		return nil
	}
}
