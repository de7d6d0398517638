package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/api"
	"github.com/ruche-project/ruche/internal/fsx"
)

// issue is what "ruche ca issue" was asked for.
type issue struct {
	query
	request   ruche.SigningRequest
	key, csr  string // files; empty where a key is to be made
	dir       string
	validity  time.Duration
	generated []byte // the new key, in PEM
}

func newCAIssue() *cobra.Command {
	var i issue
	cmd := &cobra.Command{
		Use:   "issue NAME...",
		Short: "Issue a certificate: NAME.crt with its chain, NAME.key with a new key that does not leave this machine",
		Long: `Issue a certificate for names: DNS names, wildcards, IP addresses; for clients e-mail addresses. The first one names the files, NAME.crt with the whole chain and NAME.key.
The key is made here, and only its public part leaves this machine.

  server          45 days, for servers                     client        45 days, for people and machines as clients
  short           24 hours, for servers that renew often   docker-read   45 days, for who looks at the Docker Engine
  peer            45 days, server and client at once       docker-full   45 days, for who may do anything with it

  ruche ca issue www.corp.example 10.1.2.3 --out /etc/ssl/corp
  ruche ca issue ann@corp.example --profile client
  ruche ca issue --csr request.pem`,
		RunE: func(cmd *cobra.Command, args []string) error { return i.run(cmd, args) },
	}
	i.addFlags(cmd)
	cmd.Flags().StringVar(&i.request.Profile, "profile", "server", "the kind of certificate, see above")
	cmd.Flags().StringVar(&i.request.Subject, "subject", "", "the common name; by default the first name")
	cmd.Flags().DurationVar(&i.validity, "valid", 0, "how long it is good, such as 1h, where that is shorter than the profile has it")
	cmd.Flags().StringVar(&i.key, "key", "", "the file of a key to use instead of a new one, in PEM")
	cmd.Flags().StringVar(&i.csr, "csr", "", "the file of a request (PKCS #10), in PEM, from where the key is; without names, its own are taken")
	cmd.Flags().StringVar(&i.dir, "out", ".", "the directory to write to")
	return cmd
}

func (i *issue) run(cmd *cobra.Command, args []string) error {
	switch {
	case len(args) == 0 && i.csr == "":
		return hintError{fmt.Errorf("%s takes at least one name, none was given", cmd.CommandPath()), "ruche ca issue www.corp.example"}
	case i.key != "" && i.csr != "":
		return errors.New("--key and --csr do not go together: a request has its key already")
	case i.validity < 0:
		return errors.New("--valid must be positive")
	case i.validity > 0:
		i.request.NotAfter = time.Now().Add(i.validity)
	}
	i.request.Names = args
	if err := i.prepare(); err != nil {
		return err
	}
	signed, err := api.NewClient(i.adminAddr).SignCertificate(cmd.Context(), i.request)
	if err != nil {
		return err
	}
	crt, key, err := i.save(signed)
	if err != nil {
		return err
	}
	return i.write(cmd.OutOrStdout(), signed, func(w io.Writer) error {
		also := ""
		if key != "" {
			also = " and " + key
		}
		_, err := fmt.Fprintf(w, "%s%s: serial %s, good until %s.\n", crt, also, signed.Serial, signed.NotAfter.UTC().Format(time.RFC3339))
		return err
	})
}

// prepare makes the request that is sent, from the key or the request that there is, else from a new key.
func (i *issue) prepare() (err error) {
	if i.csr != "" {
		i.request.Request, err = readPEM(i.csr, "CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST")
		return err
	}
	var signer crypto.Signer
	if i.key != "" {
		signer, err = readKey(i.key)
	} else {
		signer, i.generated, err = makeKey()
	}
	if err != nil {
		return err
	}
	i.request.Request, err = x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, signer)
	return err
}

func makeKey() (crypto.Signer, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	return key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), err
}

func readPEM(file string, types ...string) ([]byte, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", file, err)
	}
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		for _, t := range types {
			if block.Type == t {
				return block.Bytes, nil
			}
		}
	}
	return nil, fmt.Errorf("cannot use %s: it has no %s in PEM", file, strings.ToLower(types[0]))
}

func readKey(file string) (crypto.Signer, error) {
	der, err := readPEM(file, "PRIVATE KEY", "EC PRIVATE KEY", "RSA PRIVATE KEY")
	if err != nil {
		return nil, err
	}
	for _, parse := range []func([]byte) (any, error){
		x509.ParsePKCS8PrivateKey,
		func(b []byte) (any, error) { return x509.ParseECPrivateKey(b) },
		func(b []byte) (any, error) { return x509.ParsePKCS1PrivateKey(b) },
	} {
		if key, err := parse(der); err == nil {
			if signer, ok := key.(crypto.Signer); ok {
				return signer, nil
			}
		}
	}
	return nil, fmt.Errorf("cannot use %s: it is no private key that can sign", file) // what is wrong with a secret is not told
}

// save writes the certificate, and the key if it was made here.
func (i *issue) save(signed ruche.SignedCertificate) (crt, key string, err error) {
	name := ""
	if len(i.request.Names) > 0 {
		name = i.request.Names[0]
	} else {
		name = strings.TrimSuffix(filepath.Base(i.csr), filepath.Ext(i.csr))
	}
	base := filepath.Join(i.dir, fileName(name))
	if err := os.MkdirAll(i.dir, 0o755); err != nil {
		return "", "", fmt.Errorf("cannot make the directory: %w", err)
	}
	if i.generated != nil {
		key = base + ".key"
		if err := fsx.WriteFile(key, i.generated, 0o600); err != nil {
			return "", "", fmt.Errorf("cannot keep the key: %w", err)
		}
	}
	crt = base + ".crt"
	if err := fsx.WriteFile(crt, signed.Chain, 0o644); err != nil {
		return "", "", fmt.Errorf("cannot keep the certificate: %w (its serial is %s)", err, signed.Serial)
	}
	return crt, key, nil
}

// fileName makes a name fit for a file.
func fileName(name string) string {
	return strings.TrimLeft(strings.NewReplacer("*", "_", "/", "_", ":", "_").Replace(name), ".-")
}

// exported gets a file of the authority in the format that is wanted.
func exported(cmd *cobra.Command, adminAddr, name, what, format string, crl bool) ([]byte, error) {
	client := api.NewClient(adminAddr)
	switch {
	case format != "pem" && format != "der":
		return nil, fmt.Errorf("--format %q: give pem or der", format)
	case format == "pem":
		return client.AuthorityFile(cmd.Context(), name)
	case crl:
		return client.AuthorityFile(cmd.Context(), what+".crl")
	}
	text, err := client.AuthorityFile(cmd.Context(), name)
	if err != nil {
		return nil, err
	}
	block, rest := pem.Decode(text)
	if block == nil {
		return nil, fmt.Errorf("the authority %s has no root", what)
	}
	if next, _ := pem.Decode(rest); next != nil {
		return nil, hintError{fmt.Errorf("the authority %s has several roots, of which DER holds one", what), "give --format pem, which holds them all"}
	}
	return block.Bytes, nil
}
