// Command ruche publishes what Docker runs.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	_ "golang.org/x/crypto/x509roots/fallback" // the image has no authorities of a system, by which CAs' own servers are trusted

	"github.com/ruche-project/ruche/internal/api"
)

// version is set by the linker (make build).
var version = "dev"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// The second signal ends the process at once: NotifyContext swallows it only until stop.
	context.AfterFunc(ctx, stop)

	if cmd, err := newRoot().ExecuteContextC(ctx); err != nil {
		var status exitStatus
		if errors.As(err, &status) {
			os.Exit(int(status))
		}
		printError(os.Stderr, cmd, err)
		os.Exit(1)
	}
}

// exitStatus ends the process with a status of its own, after all was said.
type exitStatus int

func (e exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "ruche",
		Short: "Publish what Docker runs, by name, with TLS",
		Long: `Ruche finds the containers of this host that declare a name (VIRTUAL_HOST, Traefik labels) and the
route files, and serves them by that name over HTTP and HTTPS.

  ruche up                       serve what runs on this host
  ruche control, edge, agent     the same on several hosts, each with its part
  ruche routes                   what is published, and what is wrong with the rest
  ruche explain https://HOST/    why that URL is answered as it is
  ruche doctor                   what is wrong or weak in the installation
  ruche certs                    certificates: take over those of another product, check a server
  ruche state                    the replicated state: members, backup, restore
  ruche ca                       the installation's own certificate authority
  ruche stack                    all of it on a Docker Swarm: begin, deploy, upgrade`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Version:       version,
	}
	root.SetVersionTemplate("ruche {{.Version}}\n")
	root.CompletionOptions.HiddenDefaultCmd = true
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return hintError{err, fmt.Sprintf("%q lists the flags", cmd.CommandPath()+" --help")}
	})
	for _, v := range nodeVerbs() {
		root.AddCommand(newNode(v))
	}
	root.AddCommand(newRoutes(), newExplain(), newNodes(), newDoctor(), newCerts(), newCA(), newState(), newStack(), newHealthcheck(), newVersion())
	return root
}

// noSuchVerb is for commands whose arguments could only be verbs of theirs.
func noSuchVerb(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return hintError{fmt.Errorf("unknown command %q for %q", args[0], cmd.CommandPath()), fmt.Sprintf("%q lists the commands", cmd.CommandPath()+" --help")}
}

// showHelp is what commands do that do nothing but have verbs.
func showHelp(cmd *cobra.Command, _ []string) error { return cmd.Help() }

// hinter is an error that knows what to do about it.
type hinter interface{ Hint() string }

// hintError adds what to do next to an error.
type hintError struct {
	error
	hint string
}

func (e hintError) Hint() string  { return e.hint }
func (e hintError) Unwrap() error { return e.error }

// printError writes the error of a command once, and what to do next.
func printError(w io.Writer, cmd *cobra.Command, err error) {
	for line := range strings.SplitSeq(err.Error(), "\n") { // several mistakes of a configuration come as lines
		_, _ = fmt.Fprintf(w, "error: %s\n", line)
	}
	var h hinter
	switch {
	case errors.As(err, &h) && h.Hint() != "":
		_, _ = fmt.Fprintf(w, "hint: %s\n", h.Hint())
	case errors.Is(err, api.ErrNotRunning) && cmd.Name() != "healthcheck": // which runs where it is to run
		part, verb := "control", usage(cmd)
		if n := cmd.Name(); n == "routes" || n == "explain" {
			part = "edge"
		}
		_, _ = fmt.Fprintf(w, "hint: where Ruche runs as a stack: docker exec $(docker ps -qf name=ruche_%s) /%s\n", part, verb)
		_, _ = fmt.Fprintf(w, "hint: where it runs in another container: docker exec CONTAINER /%s\n", verb)
		_, _ = fmt.Fprintln(w, `hint: if it listens elsewhere, name its admin address with --admin-addr; if nothing runs here at all, "ruche up" starts it`)
	}
}

// usage is how a command is called, without flags: "ruche explain URL".
func usage(cmd *cobra.Command) string {
	if cmd.HasParent() {
		return cmd.Parent().CommandPath() + " " + cmd.Use
	}
	return cmd.Use
}
