package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/ruche-project/ruche/internal/config"
	"github.com/ruche-project/ruche/internal/daemon"
	"github.com/ruche-project/ruche/internal/lines"
)

// nodeVerb is a command that starts a node.
type nodeVerb struct {
	roles       config.Role
	short, long string
}

// nodeVerbs are the commands that start a node.
func nodeVerbs() []nodeVerb {
	return []nodeVerb{
		{config.All, "Serve what runs on this host, until it is told to stop", `Serve what runs on this host: containers with VIRTUAL_HOST or Traefik labels, services of a Swarm, and route files.`},
		{config.Control, "Keep the state of several nodes, and look after the services of a Swarm", `Keep the state together with the other control nodes, look after the services of the Swarm, and tell edges what to serve. It
runs on the managers of the Swarm.`},
		{config.Edge, "Serve visitors, by what control nodes tell", `Serve visitors, by what control nodes tell. It needs no Docker socket, and goes on with what it knows while no control node
answers.`},
		{config.Agent, "Tell the control nodes what runs on this host", `Tell the control nodes what runs on this host: containers, and route files.`},
	}
}

func newNode(v nodeVerb) *cobra.Command {
	cmd := &cobra.Command{
		Use:   v.roles.Verb(),
		Short: v.short,
		Long: v.long + ` Every
flag is also an environment variable (--data-dir is RUCHE_DATA_DIR) and a key of the file that --config names.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := loadConfig(cmd)
			if err != nil {
				return err
			}
			return runNode(cmd.Context(), v.roles, cfg)
		},
	}
	addSettings(cmd, func(s config.Setting) bool { return s.For(v.roles) })
	return cmd
}

// addSettings makes flags of settings.
func addSettings(cmd *cobra.Command, wanted func(config.Setting) bool) {
	for _, s := range config.Settings() {
		if !wanted(s) {
			continue
		}
		help := strings.ReplaceAll(s.Help, "`", `"`) // pflag would take what stands in backquotes for the value's name
		if s.Bool {
			cmd.Flags().Bool(s.Name, false, help)
			continue
		}
		cmd.Flags().String(s.Name, s.Default, help)
	}
}

func named(names ...string) func(config.Setting) bool {
	return func(s config.Setting) bool { return slices.Contains(names, s.Name) }
}

// loadConfig reads the settings of a command whose flags addSettings has made.
func loadConfig(cmd *cobra.Command) (*config.Config, error) {
	given := make(map[string]string)
	cmd.Flags().Visit(func(f *pflag.Flag) { given[f.Name] = f.Value.String() })
	return config.Load(given, os.Environ())
}

func runNode(ctx context.Context, roles config.Role, cfg *config.Config) error {
	// Each loop of the proxy keeps a processor as long as it has something to do. One more lets the rest go on meanwhile: HTTP/3, the state.
	runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + 1)
	logger, endLog := newLogger(cfg, os.Stderr)
	defer endLog()
	slog.SetDefault(logger) // what libraries log by themselves gets the same form
	// Whoever reads standard output may go away: that costs log lines, not the sites.
	signal.Ignore(syscall.SIGPIPE)
	file, err := openAccessLog(cfg.AccessLog)
	if err != nil {
		return err
	}
	var accessLog io.Writer // a nil *os.File must not become a writer
	if file != nil {
		accessLog = file
		defer func() { _ = file.Close() }()
	}
	d, err := daemon.New(ctx, roles, cfg, version, logger, accessLog)
	switch {
	case err != nil && ctx.Err() != nil: // it may wait for others long
		logger.Info("ruche has stopped before it began")
		return nil
	case err != nil:
		return err
	}
	logger.Info("ruche starts", "as", roles.Verb(), "version", version, "node", d.Node(), "admin", d.AdminAddr(), "data_dir", cfg.DataDir)
	if err := d.Run(ctx); err != nil {
		return err
	}
	logger.Info("ruche has stopped")
	return nil
}

// newLogger makes a logger that makes nobody wait: a request that logs would hold up all others of its loop. end writes what is left.
func newLogger(cfg *config.Config, w io.Writer) (logger *slog.Logger, end func()) {
	plain := slog.New(logHandler(cfg, w))
	buffer := lines.New(w, 0, func(dropped int, _ error) {
		if dropped > 0 {
			plain.Warn("lines of the log were dropped: what reads standard error does not keep up", "lines", dropped)
		}
	})
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		buffer.Run(ctx)
	}()
	return slog.New(logHandler(cfg, buffer)), func() {
		stop()
		select {
		case <-ended:
		case <-time.After(logEnd):
		}
	}
}

// logEnd is how long the end of the process waits for what reads the log.
const logEnd = 2 * time.Second

func logHandler(cfg *config.Config, w io.Writer) slog.Handler {
	options := &slog.HandlerOptions{Level: cfg.LogLevel}
	if cfg.LogFormat == config.LogJSON {
		return slog.NewJSONHandler(w, options)
	}
	return slog.NewTextHandler(w, options)
}

// openAccessLog opens what --access-log names; nil means that nobody wants one. A file is appended to, so that logrotate's
// copytruncate works.
func openAccessLog(name string) (*os.File, error) {
	switch name {
	case config.Off:
		return nil, nil //nolint:nilnil // off is not a mistake
	case config.AccessLogStdout:
		return os.Stdout, nil
	}
	f, err := os.OpenFile(name, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o640)
	if err != nil {
		return nil, fmt.Errorf("cannot open the access log: %w (choose another with --access-log)", err)
	}
	return f, nil
}
