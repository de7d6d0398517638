package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/api"
	"github.com/ruche-project/ruche/internal/daemon"
	"github.com/ruche-project/ruche/internal/report"
)

func newCertsCheck() *cobra.Command {
	var q query
	var t ruche.CheckTarget
	cmd := &cobra.Command{
		Use:   "check HOST[:PORT]",
		Short: "Say whether the certificate that a server shows is good, and how it speaks TLS",
		Long: `Connect to a server as a client does, and say whether its certificate is good: chain, name, time left, key, revocation, CAA records; and how it speaks TLS: versions, key
exchange, resumption. The server may be any; no Ruche needs to run. Where a control node, or "ruche up", answers here or at --admin-addr, what is served is held against what it has stored
for the name.

  ruche certs check shop.example
  ruche certs check shop.example --address 192.0.2.1:443     one edge of several, or before the DNS leads there
  ruche certs check mail.example --starttls smtp             a mail server
  SSL_CERT_FILE=ca.pem ruche certs check intern.example      with a CA of your own

The exit status is 0 when all is good, 1 when there are warnings, and 2 when something is bad.`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return hintError{fmt.Errorf("%s takes one host, %d were given", cmd.CommandPath(), len(args)), "ruche certs check shop.example"}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if t.Host, t.Port, err = splitTarget(args[0]); err != nil {
				return hintError{err, "give HOST or HOST:PORT, such as shop.example or [2001:db8::1]:8443"}
			}
			if !slices.Contains([]string{"", "smtp", "imap"}, t.StartTLS) {
				return fmt.Errorf("--starttls %q: give smtp or imap", t.StartTLS)
			}
			if _, _, err := net.SplitHostPort(t.Address); t.Address != "" && err != nil {
				return fmt.Errorf("--address %q: give IP:PORT", t.Address)
			}
			check := daemon.CheckCertificate(cmd.Context(), t)
			check.Findings = append(check.Findings, compareStored(cmd, q.adminAddr, check)...)
			if err := q.write(cmd.OutOrStdout(), check, func(w io.Writer) error { return report.CertificateCheck(w, check, time.Now()) }); err != nil {
				return err
			}
			switch check.Worst() {
			case ruche.LevelError:
				return exitStatus(2)
			case ruche.LevelWarning:
				return exitStatus(1)
			}
			return nil
		},
	}
	q.addFlags(cmd)
	cmd.Flags().StringVar(&t.Address, "address", "", "connect to IP:PORT instead of where HOST leads")
	cmd.Flags().StringVar(&t.ServerName, "server-name", "", "ask for this name instead of HOST")
	cmd.Flags().StringVar(&t.StartTLS, "starttls", "", "begin TLS by a command: smtp, imap")
	return cmd
}

// storeWait is how long a control node may take to say what is stored: the check does not depend on it.
const storeWait = 5 * time.Second

// compareStored holds what a server shows against what a control node has stored for the name. That none answers is worth a word only where somebody has said where it is.
func compareStored(cmd *cobra.Command, adminAddr string, check ruche.CertificateCheck) []ruche.Finding {
	if len(check.Chain) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), storeWait)
	defer cancel()
	list, err := api.NewClient(adminAddr).Certificates(ctx)
	switch {
	case err == nil:
		if f, ok := daemon.CompareCertificate(list, check); ok {
			return []ruche.Finding{f}
		}
	case cmd.Flags().Changed("admin-addr"):
		return []ruche.Finding{{Check: "stored", Level: ruche.LevelNote, Subject: check.Target.ServerName, Message: "what is stored for the name is not known: " + err.Error(), Hint: "name the admin address of a control node, or leave --admin-addr away"}}
	}
	return nil
}

// splitTarget reads HOST, HOST:PORT, or an address with or without brackets. A URL is taken for its host.
func splitTarget(arg string) (host string, port int, err error) {
	if rest, ok := strings.CutPrefix(arg, "https://"); ok {
		arg, _, _ = strings.Cut(rest, "/")
	}
	if net.ParseIP(arg) != nil {
		return arg, 0, nil
	}
	host, text, err := net.SplitHostPort(arg)
	if err != nil {
		host, text = strings.Trim(arg, "[]"), "0"
	}
	if port, err = strconv.Atoi(text); err != nil || port < 0 || port > 65535 {
		return "", 0, fmt.Errorf("%q is not a port", text)
	}
	if host == "" || strings.ContainsAny(host, "/ @") || strings.Contains(host, ":") && net.ParseIP(host) == nil {
		return "", 0, fmt.Errorf("%q is not a host", arg)
	}
	return strings.TrimSuffix(strings.ToLower(host), "."), port, nil
}
