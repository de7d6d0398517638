package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/api"
	"github.com/ruche-project/ruche/internal/report"
	"github.com/ruche-project/ruche/internal/strictyaml"
)

func newCA() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ca",
		Short: "The installation's own certificate authority: make it, issue, revoke, export",
		Long: `The installation's own certificate authority. docs/ca.md tells how it works. All of it asks a control node, and what changes something is to be run on that node.

  ruche ca init --permit DOMAIN     make the authorities for services and clients
  ruche ca issue NAME...            issue a certificate: NAME.crt and NAME.key
  ruche ca list [NAME]              what was issued
  ruche ca revoke SERIAL|NAME       make a certificate bad from now on
  ruche ca replace --issuer ID      have certificates replaced before their turn
  ruche ca export                   the roots, for who is to trust them; or the lists of revoked certificates
  ruche ca status                   roots, intermediates, what comes next
  ruche ca eab add --names NAME     let somebody have certificates by ACME`,
		Args: noSuchVerb,
		RunE: showHelp,
	}
	cmd.AddCommand(newCAInit(), newCAIssue(), newCAList(), newCARevoke(), newCAReplace(), newCAExport(), newCAStatus(), newCAEAB())
	return cmd
}

// permitAny is what --permit has when no name is to be refused.
const permitAny = "any"

func newCAInit() *cobra.Command {
	var q query
	var r ruche.AuthorityRequest
	var chain string
	var yes bool
	cmd := &cobra.Command{
		Use:   "init [AUTHORITY...]",
		Short: "Make authorities: services and clients, where none is named; docker is made when it is needed",
		Long: `Make authorities: services and clients, where none is named; docker is made when it is needed.

Whoever trusts the root of services believes every certificate under it. --permit binds what may be under it, for good and for everybody who checks: to domains and all names
below them, and to networks. "--permit any" binds nothing: then who steals the key, which is sealed in the state, can pose as any site to those who trust the root.

  ruche ca init --organization Example --permit corp.example,10.0.0.0/8
  ruche ca init services --again --permit corp.example                    forget the authority and begin anew: it asks first, or wants --yes
  ruche ca init services --parent --permit corp.example > request.pem     have another authority sign the intermediate
  ruche ca init services --import chain.pem                               take what it has signed: intermediate, those above, root`,
		RunE: func(cmd *cobra.Command, args []string) error {
			r.Names = args
			if err := knownAuthorities(args); err != nil {
				return err
			}
			if chain != "" {
				return importChain(cmd, q.adminAddr, args, chain)
			}
			if len(args) == 0 {
				r.Names = []string{ruche.AuthorityServices, ruche.AuthorityClients}
			}
			return initAuthorities(cmd, q, r, yes)
		},
	}
	q.addFlags(cmd)
	cmd.Flags().StringVar(&r.Organization, "organization", "", "whose authority it is, as its certificates say")
	cmd.Flags().StringSliceVar(&r.Permit, "permit", nil, `what certificates may be for: domains, with all names below them, and networks; or "any"`)
	cmd.Flags().BoolVar(&r.Parent, "parent", false, "write a request for another organisation's authority to sign, instead of making a root")
	cmd.Flags().BoolVar(&r.Again, "again", false, "forget the authority that is there and begin anew: nothing that it has issued is believed under the new root, nor can be revoked any more")
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask, with --again")
	cmd.Flags().StringVar(&chain, "import", "", "the file with what that has signed, in PEM: the intermediate, those above it, the root")
	return cmd
}

// knownAuthorities refuses names that no authority can have.
func knownAuthorities(names []string) error {
	all := ruche.Authorities()
	for _, name := range names {
		if !slices.Contains(all, name) {
			return hintError{fmt.Errorf("there can be no authority %q: there are %s", name, strings.Join(all, ", ")),
				cmp.Or(strictyaml.DidYouMean(name, all), "ruche ca init without names makes services and clients; docker is made when it is needed")}
		}
	}
	return nil
}

func initAuthorities(cmd *cobra.Command, q query, r ruche.AuthorityRequest, yes bool) error {
	switch {
	case len(r.Permit) == 0 && !r.Parent:
		return hintError{errors.New("cannot make an authority without --permit: it says which names certificates may be for"),
			`give domains and networks, such as --permit corp.example,10.0.0.0/8, or "--permit any" when whoever trusts the root is to believe any name`}
	case len(r.Permit) == 1 && r.Permit[0] == permitAny:
		r.Permit = nil
	}
	client := api.NewClient(q.adminAddr)
	if r.Again && !yes {
		if err := confirmAgain(cmd, client, r.Names); err != nil {
			return err
		}
	}
	answer, err := client.BeginAuthorities(cmd.Context(), r)
	if err != nil {
		return err
	}
	return q.write(cmd.OutOrStdout(), answer, func(w io.Writer) error {
		if r.Parent {
			_, err := w.Write(answer.Request)
			return err
		}
		_, err := fmt.Fprintf(w, "The authorities %s are made. \"ruche ca export\" gives the root for who is to trust it; \"ruche ca issue NAME\" issues.\n", strings.Join(r.Names, " and "))
		return err
	})
}

// confirmAgain asks before authorities are forgotten that are there.
func confirmAgain(cmd *cobra.Command, client *api.Client, names []string) error {
	list, err := client.Authorities(cmd.Context())
	if err != nil {
		return err
	}
	var there []string
	good := 0
	for _, a := range list.Authorities {
		if slices.Contains(names, a.Name) {
			there, good = append(there, a.Name), good+a.Live
		}
	}
	if len(there) == 0 {
		return nil
	}
	return confirm(cmd, fmt.Sprintf("would forget %s with the root, of which %d certificates are good now", strings.Join(there, " and "), good),
		"who is to trust the new ones needs the new root (ruche ca export), from the first moment: those of routes are replaced at once, clients of the ACME server renew when they next ask, "+
			"what people have issued they issue again; none of the old ones can be revoked any more")
}

func importChain(cmd *cobra.Command, adminAddr string, args []string, file string) error {
	if len(args) != 1 {
		return hintError{fmt.Errorf("%s --import takes one authority, %d were given", cmd.CommandPath(), len(args)), "ruche ca init services --import chain.pem"}
	}
	chain, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("cannot read the chain: %w", err)
	}
	if err := api.NewClient(adminAddr).ImportIntermediate(cmd.Context(), ruche.ParentChain{Authority: args[0], Chain: chain}); err != nil {
		return err
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "The authority %s signs with the new intermediate.\n", args[0])
	return err
}

func newCAList() *cobra.Command {
	var q query
	cmd := &cobra.Command{
		Use:   "list [NAME|SERIAL]",
		Short: "List what the authority has issued, the newest first",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			list, err := api.NewClient(q.adminAddr).IssuedCertificates(cmd.Context(), strings.Join(args, ""))
			if err != nil {
				return err
			}
			return q.write(cmd.OutOrStdout(), list, func(w io.Writer) error { return report.Issued(w, list, time.Now()) })
		},
	}
	q.addFlags(cmd)
	return cmd
}

func newCARevoke() *cobra.Command {
	var q query
	var r ruche.RevocationRequest
	cmd := &cobra.Command{
		Use:   "revoke SERIAL|NAME",
		Short: "Make a certificate bad from now on: it is put into the list of revoked certificates at once",
		Args:  oneName("serial or name", `"ruche ca list" lists them`),
		RunE: func(cmd *cobra.Command, args []string) error {
			r.What = args[0]
			list, err := api.NewClient(q.adminAddr).RevokeIssued(cmd.Context(), r)
			if err != nil {
				return err
			}
			return q.write(cmd.OutOrStdout(), list, func(w io.Writer) error {
				for _, c := range list.Certificates {
					if _, err := fmt.Fprintf(w, "%s is revoked.\n", c.Serial); err != nil {
						return err
					}
				}
				return nil
			})
		},
	}
	q.addFlags(cmd)
	cmd.Flags().StringVar(&r.Reason, "reason", "", "why: keyCompromise, affiliationChanged, superseded, cessationOfOperation, privilegeWithdrawn")
	cmd.Flags().BoolVar(&r.All, "all", false, "all certificates with the name that are good, where there are several")
	return cmd
}

func newCAReplace() *cobra.Command {
	var q query
	var r ruche.ReplacementRequest
	cmd := &cobra.Command{
		Use:   "replace [SERIAL|NAME]",
		Short: "Have certificates replaced before their turn, by what renews them; they stay good",
		Long: `Have certificates replaced before their turn, by what renews them. Routes with "tls: internal" and what control nodes serve with have new ones at once, clients of the ACME
server when they next ask it when to renew (ARI). What people have issued they have to issue again. The old ones stay good until their end, or "ruche ca revoke".

  ruche ca replace --issuer services-i3 --spread 6h
  ruche ca replace --all`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			r.What = strings.Join(args, "")
			list, err := api.NewClient(q.adminAddr).ReplaceIssued(cmd.Context(), r)
			if err != nil {
				return err
			}
			return q.write(cmd.OutOrStdout(), list, func(w io.Writer) error { return report.Issued(w, list, time.Now()) })
		},
	}
	q.addFlags(cmd)
	cmd.Flags().StringVar(&r.Issuer, "issuer", "", "all that are good of this intermediate, such as services-i3 (ruche ca status shows them)")
	cmd.Flags().BoolVar(&r.All, "all", false, "all that are good")
	cmd.Flags().DurationVar(&r.Spread, "spread", 0, "the time over which they are spread, such as 6h; 0 is at once")
	return cmd
}

func newCAExport() *cobra.Command {
	var adminAddr, format string
	var crl bool
	cmd := &cobra.Command{
		Use:   "export [AUTHORITY|ISSUER]",
		Short: "Write the roots of an authority, services by default, or with --crl its lists of revoked certificates",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			what := ruche.AuthorityServices
			if len(args) == 1 {
				what = args[0]
			}
			name := what + ".pem"
			if crl {
				name = what + ".crl.pem"
			}
			content, err := exported(cmd, adminAddr, name, what, format, crl)
			if err == nil {
				_, err = cmd.OutOrStdout().Write(content)
			}
			return err
		},
	}
	addAdminAddr(cmd, &adminAddr)
	cmd.Flags().StringVar(&format, "format", "pem", "pem, or der for a single one; of lists that is an issuer's, such as services-i2")
	cmd.Flags().BoolVar(&crl, "crl", false, "the lists of revoked certificates instead of the roots")
	return cmd
}

func newCAStatus() *cobra.Command {
	var q query
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show roots, intermediates, what comes next, and how many certificates are good",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			list, err := api.NewClient(q.adminAddr).Authorities(cmd.Context())
			if err != nil {
				return err
			}
			return q.write(cmd.OutOrStdout(), list, func(w io.Writer) error { return report.Authorities(w, list, time.Now()) })
		},
	}
	q.addFlags(cmd)
	return cmd
}
