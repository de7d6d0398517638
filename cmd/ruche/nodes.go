package main

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/api"
	"github.com/ruche-project/ruche/internal/report"
)

func newNodes() *cobra.Command {
	var q query
	cmd := &cobra.Command{
		Use:   "nodes",
		Short: "List the nodes of the installation; let nodes in, and remove them",
		Long: `List the nodes that have joined, and how they are. It asks a control node.

  ruche nodes token --role edge,agent    make a join token
  ruche nodes remove NAME                forget a node: what it holds is good no more`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			list, err := api.NewClient(q.adminAddr).Nodes(cmd.Context())
			if err != nil {
				return err
			}
			return q.write(cmd.OutOrStdout(), list, func(w io.Writer) error { return report.Nodes(w, list, time.Now()) })
		},
	}
	q.addFlags(cmd)
	cmd.AddCommand(newNodesToken(), newNodesRemove())
	return cmd
}

func newNodesToken() *cobra.Command {
	var adminAddr string
	var r ruche.TokenRequest
	var ttl time.Duration
	cmd := &cobra.Command{
		Use:   "token",
		Short: "Make a join token and print it; it is kept nowhere",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if ttl > 0 {
				r.Expires = time.Now().Add(ttl)
			}
			token, err := api.NewClient(adminAddr).MakeToken(cmd.Context(), r)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), token)
			return err
		},
	}
	addAdminAddr(cmd, &adminAddr)
	cmd.Flags().StringSliceVar(&r.Roles, "role", []string{"edge", "agent"}, "what nodes may be that join by it: edge, agent")
	cmd.Flags().IntVar(&r.Uses, "uses", -1, "how many nodes may join by it; -1 is any number")
	cmd.Flags().DurationVar(&ttl, "ttl", 0, "how long it is good, such as 1h; 0 is for ever")
	return cmd
}

func newNodesRemove() *cobra.Command {
	var adminAddr string
	cmd := &cobra.Command{
		Use:   "remove NAME",
		Short: "Forget a node: its certificate is refused from now on",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return api.NewClient(adminAddr).RemoveNode(cmd.Context(), args[0])
		},
	}
	addAdminAddr(cmd, &adminAddr)
	return cmd
}
