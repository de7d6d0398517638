package main

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/api"
	"github.com/ruche-project/ruche/internal/daemon"
	"github.com/ruche-project/ruche/internal/report"
)

func newCerts() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "certs",
		Short: "Look after certificates: list, show, renew, revoke, import and check them",
		Long: `Look after certificates.

  ruche certs list              list all, and how they are doing
  ruche certs show NAME         show all that is known of one
  ruche certs renew NAME        renew it out of turn
  ruche certs revoke NAME       replace it, and have its CA revoke it
  ruche certs import PATH...    take over certificates and CA accounts of another product
  ruche certs check HOST        say whether the certificate that a server shows is good
  ruche certs ech               print the DNS records by which browsers hide the name that they ask for`,
		Args: noSuchVerb,
		RunE: showHelp,
	}
	cmd.AddCommand(newCertsList(), newCertsShow(), newCertsRenew(), newCertsRevoke(), newCertsImport(), newCertsCheck(), newCertsECH())
	return cmd
}

func newCertsImport() *cobra.Command {
	var q query
	var dryRun bool
	cmd := &cobra.Command{
		Use:   "import PATH...",
		Short: "Take over certificates, keys and CA accounts of another product, so that nothing has to be ordered anew",
		Long: `Take over certificates, keys and CA accounts that another product keeps:

  Traefik            its acme.json
  acme-companion     /etc/nginx/certs, and /etc/acme.sh for the accounts
  Caddy              its storage: /var/lib/caddy/.local/share/caddy, or the volume at /data
  certbot            /etc/letsencrypt
  acme.sh            ~/.acme.sh
  anything else      a PEM file, or a directory with PEM files

Files are only read. What is here already and ends later stays. It can be repeated. docs/migrate-certificates.md goes through it step by step.`,
		Args: somePaths,
		RunE: func(cmd *cobra.Command, args []string) error {
			list, problems, err := daemon.ReadCertificates(args)
			if err != nil {
				return hintError{err, "name a file or directory that this host, or this container, has"}
			}
			result := daemon.PlanImport(list)
			if !dryRun && len(list) > 0 {
				if result, err = api.NewClient(q.adminAddr).Import(cmd.Context(), list); err != nil {
					return err
				}
			}
			if result.Problems = problems; problems == nil {
				result.Problems = []ruche.ImportProblem{}
			}
			if err := q.write(cmd.OutOrStdout(), result, func(w io.Writer) error { return report.Import(w, result, time.Now()) }); err != nil {
				return err
			}
			return importFailure(result)
		},
	}
	q.addFlags(cmd)
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only say what would be imported; no Ruche needs to run")
	return cmd
}

// importFailure is an error where something was to be imported and could not be. What is wrong in what was read was told, and is none.
func importFailure(r ruche.ImportResult) error {
	refused := 0
	for _, list := range [][]ruche.ImportedItem{r.Certificates, r.Accounts} {
		for _, i := range list {
			if i.Outcome == ruche.ImportRefused {
				refused++
			}
		}
	}
	if refused > 0 {
		return fmt.Errorf("%d of what was read could not be imported", refused)
	}
	if len(r.Certificates)+len(r.Accounts) == 0 {
		return hintError{errors.New("there is nothing to import"), `name what the other product keeps its certificates in; "ruche certs import --help" lists the places`}
	}
	return nil
}

func somePaths(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return hintError{fmt.Errorf("%s takes a file or directory, none was given", cmd.CommandPath()), "ruche certs import /etc/nginx/certs /etc/acme.sh"}
	}
	return nil
}
