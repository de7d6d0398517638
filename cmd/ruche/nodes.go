package main

import (
	"errors"
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

  ruche nodes token --role edge          make a join token
  ruche nodes token list                 list those that there are
  ruche nodes token remove ID            end one: nobody joins by it any more
  ruche nodes remove NAME                forget a node: what it holds is good no more`,
		Args: noSuchVerb,
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
		Short: "Make a join token and print it; it is kept nowhere. List those that there are, and end them",
		Args:  noSuchVerb,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cmd.Flags().Changed("ttl") {
				if ttl <= 0 {
					return errors.New("--ttl must be positive; leave it away for a token without end")
				}
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
	cmd.Flags().StringSliceVar(&r.Roles, "role", []string{"edge"}, "what nodes may be that join by it: edge, agent, control; an edge's should be good for edges alone")
	cmd.Flags().IntVar(&r.Uses, "uses", -1, "how many nodes may join by it; -1 is any number")
	cmd.Flags().DurationVar(&ttl, "ttl", 0, "how long it is good, such as 1h; without it, it has no end")
	cmd.AddCommand(newNodesTokenList(), newNodesTokenRemove())
	return cmd
}

func newNodesTokenList() *cobra.Command {
	var q query
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the join tokens: their IDs, and what they are good for",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			list, err := api.NewClient(q.adminAddr).Tokens(cmd.Context())
			if err != nil {
				return err
			}
			return q.write(cmd.OutOrStdout(), list, func(w io.Writer) error { return report.Tokens(w, list, time.Now()) })
		},
	}
	q.addFlags(cmd)
	return cmd
}

func newNodesTokenRemove() *cobra.Command {
	var adminAddr string
	cmd := &cobra.Command{
		Use:   "remove ID",
		Short: "End a join token: nobody joins by it any more; who has joined stays",
		Args:  oneName("ID", `"ruche nodes token list" lists them`),
		RunE: func(cmd *cobra.Command, args []string) error {
			return api.NewClient(adminAddr).RemoveToken(cmd.Context(), args[0])
		},
	}
	addAdminAddr(cmd, &adminAddr)
	return cmd
}

func newNodesRemove() *cobra.Command {
	var adminAddr string
	cmd := &cobra.Command{
		Use:   "remove NAME",
		Short: "Forget a node: its certificate is refused from now on",
		Args:  oneName("name", `"ruche nodes" lists them`),
		RunE: func(cmd *cobra.Command, args []string) error {
			return api.NewClient(adminAddr).RemoveNode(cmd.Context(), args[0])
		},
	}
	addAdminAddr(cmd, &adminAddr)
	return cmd
}

func oneName(what, hint string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != 1 || args[0] == "" {
			return hintError{fmt.Errorf("%s takes one %s, %d were given", cmd.CommandPath(), what, len(args)), hint}
		}
		return nil
	}
}
