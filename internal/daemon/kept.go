package daemon

import (
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/ruche-project/ruche/internal/config"
	"github.com/ruche-project/ruche/internal/fsx"
	"github.com/ruche-project/ruche/internal/mesh"
)

// keptCertificate is a certificate that this node serves with, on its disk, so that a start needs no other one. Its key is sealed.
type keptCertificate struct {
	file string
	what string // the key is sealed for
	safe mesh.Safe
}

// keptFront is that of the front of the Docker API, keptACME that of the ACME server.
func (d *Daemon) keptFront(cfg *config.Config) keptCertificate {
	return keptCertificate{filepath.Join(cfg.DataDir, "docker-front.pem"), "key of the Docker front", d.safe}
}

func (d *Daemon) keptACME(cfg *config.Config) keptCertificate {
	return keptCertificate{filepath.Join(cfg.DataDir, "acme-server.pem"), "key of the ACME server", d.safe}
}

// before gives what was kept; nil where that cannot be used.
func (k keptCertificate) before(logger *slog.Logger) *tls.Certificate {
	cert, err := k.load()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		logger.Warn("cannot use the certificate of before, asking for another", "file", k.file, "error", err)
	}
	return cert
}

// pair joins a key and the chain that is for it.
func pair(key *ecdsa.PrivateKey, chain [][]byte) (*tls.Certificate, error) {
	if len(chain) == 0 {
		return nil, errors.New("there is none")
	}
	leaf, err := x509.ParseCertificate(chain[0])
	if err != nil {
		return nil, err
	}
	if !key.PublicKey.Equal(leaf.PublicKey) {
		return nil, errors.New("it is for another key")
	}
	return &tls.Certificate{Certificate: chain, PrivateKey: key, Leaf: leaf}, nil
}

func (k keptCertificate) save(cert *tls.Certificate) error {
	der, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		return err
	}
	all := k.safe.Block(k.what, der)
	for _, c := range cert.Certificate {
		all = append(all, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c})...)
	}
	return fsx.WriteFile(k.file, all, 0o600)
}

// load reads what save wrote.
func (k keptCertificate) load() (*tls.Certificate, error) {
	data, err := os.ReadFile(k.file)
	if err != nil {
		return nil, err
	}
	var key *ecdsa.PrivateKey
	var chain [][]byte
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if block.Type == "CERTIFICATE" {
			chain = append(chain, block.Bytes)
			continue
		}
		der, err := k.safe.Unblock(k.what, block)
		if err != nil {
			return nil, err
		}
		private, _ := x509.ParsePKCS8PrivateKey(der)
		key, _ = private.(*ecdsa.PrivateKey)
	}
	if key == nil {
		return nil, errors.New("the file is damaged")
	}
	return pair(key, chain)
}
