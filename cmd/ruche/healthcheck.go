package main

import (
	"github.com/spf13/cobra"

	"github.com/ruche-project/ruche/internal/api"
)

// newHealthcheck is for the Engine: images of Ruche hold nothing else that could ask.
func newHealthcheck() *cobra.Command {
	var adminAddr string
	cmd := &cobra.Command{
		Use:   "healthcheck",
		Short: "Exit with 0 if the Ruche here is ready, else with 1: for the HEALTHCHECK of a container",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return api.NewClient(adminAddr).Ready(cmd.Context())
		},
	}
	addAdminAddr(cmd, &adminAddr)
	return cmd
}
