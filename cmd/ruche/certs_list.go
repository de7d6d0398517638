package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/api"
	"github.com/ruche-project/ruche/internal/daemon"
	"github.com/ruche-project/ruche/internal/report"
	"github.com/ruche-project/ruche/internal/strictyaml"
)

func newCertsList() *cobra.Command {
	var q query
	var names bool
	var states []string
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List all certificates: those stored, wanted, and served from files",
		Long: `List all certificates that are stored, wanted or served from files, how they are doing, and which edges serve them. It asks a control node.

  ruche certs list --state failing,due     those alone that are in one of these states
  ruche certs list --names                 by name instead: what each published or watched name is served with`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			list, err := api.NewClient(q.adminAddr).Certificates(cmd.Context())
			if err != nil {
				return err
			}
			if list.Certificates, err = inStates(list.Certificates, states); err != nil {
				return err
			}
			write := report.Certificates
			switch {
			case names:
				write = report.CertificateNames
			case len(states) > 0 && len(list.Certificates) == 0:
				write = func(w io.Writer, _ ruche.CertificateList, _ time.Time) error {
					_, err := fmt.Fprintln(w, "No certificate is in such a state.")
					return err
				}
			}
			return q.write(cmd.OutOrStdout(), list, func(w io.Writer) error { return write(w, list, time.Now()) })
		},
	}
	q.addFlags(cmd)
	cmd.Flags().BoolVar(&names, "names", false, "list names instead of certificates")
	cmd.Flags().StringSliceVar(&states, "state", nil, "list those in these states: valid, retired, due, pending, failing, expired, revoked")
	cmd.MarkFlagsMutuallyExclusive("names", "state")
	return cmd
}

// inStates gives the certificates that are in one of the states; without any, all.
func inStates(all []ruche.CertificateInfo, states []string) ([]ruche.CertificateInfo, error) {
	for _, s := range states {
		if !slices.Contains(ruche.CertificateStates(), ruche.CertificateState(s)) {
			return nil, fmt.Errorf("--state %q: there are valid, retired, due, pending, failing, expired and revoked", s)
		}
	}
	if len(states) == 0 {
		return all, nil
	}
	return slices.DeleteFunc(all, func(c ruche.CertificateInfo) bool { return !slices.Contains(states, string(c.State)) }), nil
}

func newCertsShow() *cobra.Command {
	var q query
	cmd := &cobra.Command{
		Use:   "show ID|NAME",
		Short: "Show all that is known of a certificate, by its ID or a name in it",
		Args:  oneName("ID or name", `"ruche certs list" lists them`),
		RunE: func(cmd *cobra.Command, args []string) error {
			list, err := api.NewClient(q.adminAddr).Certificates(cmd.Context())
			if err != nil {
				return err
			}
			var found []ruche.CertificateInfo
			for _, c := range list.Certificates {
				if c.ID == args[0] || slices.Contains(c.Names, strings.ToLower(args[0])) {
					found = append(found, c)
				}
			}
			if len(found) == 0 {
				return hintError{fmt.Errorf("no certificate has the ID or name %q", args[0]), `"ruche certs list" lists them`}
			}
			return q.write(cmd.OutOrStdout(), found, func(w io.Writer) error { return report.CertificateDetails(w, found, time.Now()) })
		},
	}
	q.addFlags(cmd)
	return cmd
}

// addSelection adds the flags that say which certificates a command is about.
func addSelection(cmd *cobra.Command, s *ruche.CertificateSelection) {
	cmd.Flags().StringVar(&s.Issuer, "issuer", "", "those of an issuer: its configured name, or a part of the CA's common name")
	cmd.Flags().StringVar(&s.Serial, "serial", "", "the one with a serial number, in hexadecimal digits")
	cmd.Flags().StringVar(&s.Fingerprint, "fingerprint", "", "the one with a SHA-256 fingerprint, in hexadecimal digits")
	cmd.Flags().StringVar(&s.Key, "key", "", "those with a key, by the SHA-256 of its public half in hexadecimal digits")
	cmd.Flags().BoolVar(&s.All, "all", false, "all that are not retired")
}

func newCertsRenew() *cobra.Command {
	var q query
	var r ruche.RenewRequest
	cmd := &cobra.Command{
		Use:   "renew [ID|NAME...]",
		Short: "Renew certificates out of turn; the old ones are served until the new ones are there",
		Long: `Renew certificates out of turn. The old ones are served until the new ones are there.

  ruche certs renew shop.example
  ruche certs renew --issuer default --spread 2h     all of an issuer, spread over two hours`,
		RunE: func(cmd *cobra.Command, args []string) error {
			r.IDs = args
			tasks, err := api.NewClient(q.adminAddr).RenewCertificates(cmd.Context(), r)
			if err != nil {
				return err
			}
			return q.tasks(cmd, tasks, "renewed", r.CertificateSelection)
		},
	}
	q.addFlags(cmd)
	addSelection(cmd, &r.CertificateSelection)
	cmd.Flags().DurationVar(&r.Spread, "spread", 0, "the time over which they are spread, such as 2h; 0 is at once")
	cmd.Flags().StringVar(&r.Reason, "reason", "", "why, for the listing")
	return cmd
}

// revocationReasons are those that CAs take from subscribers.
func revocationReasons() map[string]int {
	return map[string]int{"unspecified": 0, "keyCompromise": 1, "superseded": 4, "cessationOfOperation": 5}
}

func newCertsRevoke() *cobra.Command {
	var q query
	var r ruche.RevokeRequest
	var reason string
	var yes bool
	cmd := &cobra.Command{
		Use:   "revoke [ID|NAME...]",
		Short: "Replace certificates, then have their CA revoke the old ones",
		Long: `Replace certificates by new ones with new keys, wait until the edges serve them, and then have the CA revoke the old ones. Those that
nobody wants any more are revoked without being replaced. Where several are chosen otherwise than by their names, it asks first; --yes is the answer of who cannot be asked.

  ruche certs revoke shop.example --reason keyCompromise
  ruche certs revoke --issuer default --spread 1h`,
		RunE: func(cmd *cobra.Command, args []string) error {
			r.IDs = args
			n, known := revocationReasons()[reason]
			if !known {
				return errors.New("--reason is one of unspecified, keyCompromise, superseded, cessationOfOperation")
			}
			r.Reason = n
			client := api.NewClient(q.adminAddr)
			if err := confirmRevoke(cmd, client, r, yes); err != nil {
				return err
			}
			tasks, err := client.RevokeCertificates(cmd.Context(), r)
			if err != nil {
				return err
			}
			return q.tasks(cmd, tasks, "revoked", r.CertificateSelection)
		},
	}
	q.addFlags(cmd)
	addSelection(cmd, &r.CertificateSelection)
	cmd.Flags().StringVar(&reason, "reason", "superseded", "unspecified, keyCompromise, superseded or cessationOfOperation")
	cmd.Flags().DurationVar(&r.Spread, "spread", 0, "the time over which they are spread, such as 2h; 0 is at once")
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return cmd
}

// confirmRevoke asks before several certificates are revoked that nobody has named.
func confirmRevoke(cmd *cobra.Command, client *api.Client, r ruche.RevokeRequest, yes bool) error {
	if yes || len(r.IDs) > 0 {
		return nil
	}
	list, err := client.Certificates(cmd.Context())
	if err != nil {
		return err
	}
	chosen, err := daemon.SelectCertificates(list.Certificates, r.CertificateSelection)
	if err != nil {
		return err
	}
	var names []string
	for _, c := range chosen {
		if c.Fingerprint != "" && c.Revoked.IsZero() {
			names = append(names, append(slices.Clone(c.Names), c.ID)[0])
		}
	}
	if len(names) < 2 {
		return nil
	}
	when, better := "at once", "with --spread 2h it takes two hours, so that what goes wrong shows with the first ones"
	if r.Spread > 0 {
		when, better = "over "+r.Spread.String(), "new ones are served first, but for those that nobody wants any more"
	}
	return confirm(cmd, fmt.Sprintf("would replace and revoke %d certificates %s: %s", len(names), when, report.Some(names, 5)), better)
}

// errTasks tells that some of what was asked for will not be done; the table has said why.
var errTasks = errors.New("not all of it will be done")

// noneFits tells that a selection is about no certificate, which whoever wrote it did not mean.
func (q *query) noneFits(cmd *cobra.Command, s ruche.CertificateSelection) error {
	hint := `"ruche certs list --output json" has issuers, serial numbers and fingerprints`
	if list, err := api.NewClient(q.adminAddr).Certificates(cmd.Context()); err == nil && s.Issuer != "" && len(list.Certificates) > 0 {
		var issuers, quoted []string
		for _, c := range list.Certificates {
			for _, name := range []string{c.Issuer, c.CA} {
				if name != "" && !slices.Contains(issuers, name) {
					issuers, quoted = append(issuers, name), append(quoted, strconv.Quote(name))
				}
			}
		}
		hint = cmp.Or(strictyaml.DidYouMean(s.Issuer, issuers), "there are certificates of "+report.Some(quoted, 10))
	}
	return hintError{errors.New("nothing was done: no certificate fits"), hint}
}

func (q *query) tasks(cmd *cobra.Command, tasks []ruche.CertificateTask, done string, s ruche.CertificateSelection) error {
	err := q.write(cmd.OutOrStdout(), tasks, func(w io.Writer) error { return report.CertificateTasks(w, tasks, done, time.Now()) })
	if err == nil && len(tasks) == 0 {
		err = q.noneFits(cmd, s)
	}
	if err == nil && slices.ContainsFunc(tasks, func(t ruche.CertificateTask) bool { return t.Error != "" }) {
		err = errTasks
	}
	return err
}
