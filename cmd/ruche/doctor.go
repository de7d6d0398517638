package main

import (
	"errors"
	"io"

	"github.com/spf13/cobra"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/api"
	"github.com/ruche-project/ruche/internal/report"
)

func newDoctor() *cobra.Command {
	var q query
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Say what is wrong or weak in the installation, and what to do about it",
		Long: `Look at the whole installation: quorums, data centres, clocks, versions, ports between nodes, networks, sockets, single points of failure. It asks a
control node, or "ruche up", and changes nothing. docs/doctor.md explains each check.

The exit status is 1 when something is an error or nobody answers, and 0 otherwise.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			checkup, err := api.NewClient(q.adminAddr).Doctor(cmd.Context())
			if err != nil {
				return err
			}
			if err := q.write(cmd.OutOrStdout(), checkup, func(w io.Writer) error { return report.Checkup(w, checkup) }); err != nil {
				return err
			}
			if checkup.Count(ruche.LevelError) > 0 {
				return hintError{errors.New("something does not work in the installation"), `begin with the lines of level "error"; docs/doctor.md explains each check`}
			}
			return nil
		},
	}
	q.addFlags(cmd)
	return cmd
}
