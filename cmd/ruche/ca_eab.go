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

func newCAEAB() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "eab",
		Short: "External account keys: who may have which certificates by ACME",
		Long: `External account keys say who may have which certificates of the authority's ACME server. docs/acme-server.md tells how clients use them.

  ruche ca eab add --names '*.dept.example' --comment 'the department'
  ruche ca eab list
  ruche ca eab remove ID`,
		Args: noSuchVerb,
		RunE: showHelp,
	}
	cmd.AddCommand(newCAEABAdd(), newCAEABList(), newCAEABRemove())
	return cmd
}

func newCAEABAdd() *cobra.Command {
	var q query
	var spec ruche.ACMEKeySpec
	var life time.Duration
	cmd := &cobra.Command{
		Use:   "add --names PATTERN,...",
		Short: "Make a key, and show its secret, which is not shown again",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if life < 0 {
				return hintError{errors.New("cannot make a key that has ended already"), "give a duration such as --expires 8760h, which is a year"}
			}
			if life > 0 {
				spec.Expires = time.Now().Add(life)
			}
			key, err := api.NewClient(q.adminAddr).MakeACMEKey(cmd.Context(), spec)
			if err != nil {
				return err
			}
			return q.write(cmd.OutOrStdout(), key, func(w io.Writer) error {
				_, err := fmt.Fprintf(w, "key ID:   %s\nHMAC key: %s\n\nThe HMAC key is not shown again. Any number of accounts can be opened by it:\n  certbot certonly --server URL --eab-kid %s --eab-hmac-key %s ...\n", key.ID, key.Secret, key.ID, key.Secret)
				return err
			})
		},
	}
	q.addFlags(cmd)
	cmd.Flags().StringSliceVar(&spec.Names, "names", nil, "what its accounts may have: www.a.example, '*.a.example' (all below it), 10.1.0.0/16, or '*' (all that the authority permits)")
	cmd.Flags().StringSliceVar(&spec.Profiles, "profiles", nil, "the profiles that they may ask for; none: all")
	cmd.Flags().StringVar(&spec.Comment, "comment", "", "whose key it is")
	cmd.Flags().DurationVar(&life, "expires", 0, "after how long the key and the rights of its accounts end; 0: never")
	return cmd
}

func newCAEABList() *cobra.Command {
	var q query
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the keys, and what they allow",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			list, err := api.NewClient(q.adminAddr).ACMEKeys(cmd.Context())
			if err != nil {
				return err
			}
			return q.write(cmd.OutOrStdout(), list, func(w io.Writer) error { return report.ACMEKeys(w, list, time.Now()) })
		},
	}
	q.addFlags(cmd)
	return cmd
}

func newCAEABRemove() *cobra.Command {
	var adminAddr string
	cmd := &cobra.Command{
		Use:   "remove ID",
		Short: "End a key: its accounts can order nothing more; the certificates that they have stay good",
		Args:  oneName("ID", `"ruche ca eab list" lists them`),
		RunE: func(cmd *cobra.Command, args []string) error {
			return api.NewClient(adminAddr).RemoveACMEKey(cmd.Context(), args[0])
		},
	}
	addAdminAddr(cmd, &adminAddr)
	return cmd
}
