package certs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/ruche-project/ruche/internal/certs/vault"
	"github.com/ruche-project/ruche/internal/fsx"
)

const (
	// organization marks a certificate as self-signed by Ruche.
	organization = "Ruche self-signed"
	// life is how long a self-signed certificate is valid; it is replaced when a third is left.
	life = 90 * 24 * time.Hour
	// most bounds the certificates in memory: a wildcard host would otherwise let clients fill it with made-up names.
	most = 10_000
)

// selfSigned makes certificates for names, and keeps those of declared names on disk so that a browser's exception outlives a
// restart.
type selfSigned struct {
	dir    string
	safe   vault.Sealer // nil leaves keys on the disk in the clear
	logger *slog.Logger

	mu    sync.RWMutex
	cache map[string]*tls.Certificate
}

func newSelfSigned(stateDir string, safe vault.Sealer, logger *slog.Logger) *selfSigned {
	return &selfSigned{dir: filepath.Join(stateDir, "selfsigned"), safe: safe, logger: logger, cache: make(map[string]*tls.Certificate)}
}

// get returns the certificate of name. Those of exact, declared names are kept on disk.
func (s *selfSigned) get(name string, declared bool) (*tls.Certificate, error) {
	s.mu.RLock()
	certificate := s.cache[name]
	s.mu.RUnlock()
	if usable(certificate) {
		return certificate, nil
	}
	if err := checkName(name); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if certificate = s.cache[name]; usable(certificate) { // another handshake was faster
		return certificate, nil
	}
	if declared {
		certificate = s.read(name)
	}
	if !usable(certificate) {
		var err error
		if certificate, err = s.make(name, declared); err != nil {
			return nil, err
		}
	}
	for other := range s.cache {
		if len(s.cache) < most {
			break
		}
		delete(s.cache, other) // any one will do: it is made or read again when it is asked for
	}
	s.cache[name] = certificate
	return certificate, nil
}

func usable(certificate *tls.Certificate) bool {
	return certificate != nil && time.Until(certificate.Leaf.NotAfter) > life/3
}

// checkName refuses what is no host name: it comes from a client and becomes a file name.
func checkName(name string) error {
	if name == "" {
		return errors.New("the client named no host")
	}
	if net.ParseIP(name) != nil {
		return nil
	}
	if len(name) > 253 {
		return errors.New("the name is longer than 253 characters")
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 || strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return fmt.Errorf("%q is not a host name", name)
		}
	}
	return nil
}

func (s *selfSigned) paths(name string) (crt, key string) {
	name = strings.ReplaceAll(name, ":", "_") // IPv6
	return filepath.Join(s.dir, name+".crt"), filepath.Join(s.dir, name+".key")
}

// read returns the kept certificate, or nil.
func (s *selfSigned) read(name string) *tls.Certificate {
	crt, keyFile := s.paths(name)
	chain, err := os.ReadFile(crt)
	if err != nil && errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var key []byte
	if err == nil {
		key, err = os.ReadFile(keyFile)
	}
	bare := false
	if err == nil {
		key, bare, err = s.unseal(key)
	}
	var certificate tls.Certificate
	if err == nil {
		certificate, err = tls.X509KeyPair(chain, key)
	}
	if err == nil && bare && s.safe != nil { // it is of before there was a safe
		err = s.keepKey(keyFile, certificate.PrivateKey)
	}
	if err != nil {
		s.logger.Warn("cannot read a kept self-signed certificate, making another", "name", name, "error", err)
		return nil
	}
	return &certificate
}

const (
	// sealedKey is the type of a PEM block with a sealed key, sealedFor what that is sealed for.
	sealedKey = "RUCHE SEALED KEY"
	sealedFor = "key of a self-signed certificate"
)

// unseal gives the PEM of a kept key, and whether it was kept in the clear.
func (s *selfSigned) unseal(data []byte) (key []byte, bare bool, err error) {
	block, _ := pem.Decode(data)
	if block == nil || block.Type != sealedKey {
		return data, true, nil
	}
	if s.safe == nil {
		return nil, false, errors.New("its key is sealed")
	}
	der, err := s.safe.Open(sealedFor, block.Bytes)
	return encode("PRIVATE KEY", der), false, err
}

// keepKey writes a key.
func (s *selfSigned) keepKey(file string, key any) error {
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	kind := "PRIVATE KEY"
	if s.safe != nil {
		kind, secret = sealedKey, s.safe.Close(sealedFor, secret)
	}
	return fsx.WriteFile(file, encode(kind, secret), 0o600)
}

func (s *selfSigned) make(name string, keep bool) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("cannot make a key: %w", err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("cannot make a serial number: %w", err)
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{Organization: []string{organization}},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(life), // an hour for clients whose clock is behind
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, BasicConstraintsValid: true,
	}
	if len(name) <= 64 { // the bound of a common name (RFC 5280, appendix A.1)
		template.Subject.CommonName = name
	}
	if ip := net.ParseIP(name); ip != nil {
		template.IPAddresses = []net.IP{ip}
	} else {
		template.DNSNames = []string{name}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, fmt.Errorf("cannot sign: %w", err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("cannot read what was signed: %w", err)
	}
	if keep {
		if err := s.keep(name, der, key); err != nil { // it serves until the next restart all the same
			s.logger.Warn("cannot keep a self-signed certificate", "name", name, "error", err)
		}
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, nil
}

func (s *selfSigned) keep(name string, der []byte, key *ecdsa.PrivateKey) error {
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return err
	}
	crt, keyFile := s.paths(name)
	if err := s.keepKey(keyFile, key); err != nil {
		return err
	}
	return fsx.WriteFile(crt, encode("CERTIFICATE", der), 0o644)
}
