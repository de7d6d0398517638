package main

import (
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/ruche-project/ruche/internal/api"
	"github.com/ruche-project/ruche/internal/report"
)

func newCertsECH() *cobra.Command {
	var q query
	cmd := &cobra.Command{
		Use:   "ech",
		Short: "Print the DNS records by which browsers hide the name that they ask for (Encrypted Client Hello)",
		Long: `Print the HTTPS records by which browsers hide the name that they ask for (Encrypted Client Hello), for each published name, as lines of a zone file,
and whether DNS has them. --ech-public-name switches it on. It asks a control node.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			status, err := api.NewClient(q.adminAddr).ECH(cmd.Context())
			if err != nil {
				return err
			}
			return q.write(cmd.OutOrStdout(), status, func(w io.Writer) error { return report.ECH(w, status, time.Now()) })
		},
	}
	q.addFlags(cmd)
	return cmd
}
