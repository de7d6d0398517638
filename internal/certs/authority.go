package certs

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/ruche-project/ruche"
)

const (
	authoritySuffix  = ".ca.crt"
	revocationSuffix = ".crl.pem"
)

// authorityFile is one NAME.ca.crt. With an error it was never good, and nobody is accepted by it.
type authorityFile struct {
	path, print string
	roots       *x509.CertPool
	err         error
}

// revocationFile is one NAME.crl.pem; likewise.
type revocationFile struct {
	path, print string
	*revocations
	err error
}

// loadPeers reads the files by which peers are verified, taking over those that have not changed. Names are in lower case; the one of all hosts is empty.
func (c *Certs) loadPeers(entries []os.DirEntry, found, old *files) {
	found.authorities, found.revoked = make(map[string]*authorityFile), make(map[string]*revocationFile)
	for _, entry := range entries {
		name := strings.ToLower(entry.Name())
		if base, ok := authorityBase(name); ok {
			found.authorities[base] = c.loadAuthority(filepath.Join(c.cfg.Dir, entry.Name()), old.authorities[base])
		} else if base, ok := strings.CutSuffix(name, revocationSuffix); ok && base != "" {
			found.revoked[base] = c.loadRevoked(filepath.Join(c.cfg.Dir, entry.Name()), old.revoked[base])
		}
	}
}

// authorityBase returns what a file of authorities is for: its name without the suffix, everyHost for ca.crt.
func authorityBase(name string) (string, bool) {
	if name == "ca.crt" {
		return everyHost, true
	}
	base, ok := strings.CutSuffix(name, authoritySuffix)
	return base, ok && base != ""
}

func (c *Certs) loadAuthority(path string, last *authorityFile) *authorityFile {
	looks := fingerprint(path)
	if last != nil && last.print == looks {
		return last
	}
	data, err := os.ReadFile(path)
	a := &authorityFile{path: path, print: looks}
	if err == nil {
		a.roots, err = parseAuthorities(data)
	}
	if err == nil {
		c.cfg.Health.Clear(ruche.CodeCertInvalid, path)
		c.cfg.Logger.Info("authorities read", "file", path)
		return a
	}
	stays := "what is verified by it is closed"
	if last != nil && last.err == nil {
		stays = "the last good version is used"
	}
	c.complain(ruche.CodeCertInvalid, path, fmt.Sprintf("it cannot be used: %v; %s", err, stays),
		"it holds the certificates of the authorities, PEM; a corrected file is picked up by itself")
	if last != nil && last.err == nil {
		return last
	}
	a.err = fmt.Errorf("%s cannot be used: %w", path, err)
	return a
}

// parseAuthorities reads certificates, PEM.
func parseAuthorities(data []byte) (*x509.CertPool, error) {
	pool, found := x509.NewCertPool(), false
	for rest := data; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("it holds a %s, not a CERTIFICATE", block.Type)
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		pool.AddCert(certificate)
		found = true
	}
	if !found {
		return nil, errors.New("it holds no certificate")
	}
	return pool, nil
}

func (c *Certs) loadRevoked(path string, last *revocationFile) *revocationFile {
	looks := fingerprint(path)
	if last != nil && last.print == looks {
		return last
	}
	data, err := os.ReadFile(path)
	r := &revocationFile{path: path, print: looks}
	if err == nil {
		r.revocations, err = parseRevocations(data)
	}
	if err == nil {
		c.cfg.Health.Clear(ruche.CodeRevocationListInvalid, path)
		c.warnListExpiry(r)
		c.cfg.Logger.Info("revocation list read", "file", path)
		return r
	}
	stays := "what is verified by it is closed"
	if last != nil && last.err == nil {
		stays = "the last good version is used, as long as it is valid"
	}
	c.complain(ruche.CodeRevocationListInvalid, path, fmt.Sprintf("it cannot be used: %v; %s", err, stays),
		"it holds full revocation lists of the authorities, PEM; a corrected file is picked up by itself")
	if last != nil && last.err == nil {
		return last
	}
	r.err = fmt.Errorf("%s cannot be used: %w", path, err)
	return r
}

func (c *Certs) complain(code ruche.Code, path, message, hint string) {
	if c.cfg.Health.Set(ruche.Warning{Code: code, Severity: ruche.SeverityError, Subject: path, Message: message, Hint: hint}) {
		c.cfg.Logger.Error("a file by which peers are verified is of no use", "file", path, "problem", message)
	}
}

// warnListExpiry raises a warning when a sixth of the list's life is left.
func (c *Certs) warnListExpiry(r *revocationFile) {
	if r.revocations == nil {
		return
	}
	first := r.expiry()
	if first == nil {
		return
	}
	left, life := time.Until(first.NextUpdate), first.NextUpdate.Sub(first.ThisUpdate)
	w := ruche.Warning{
		Code: ruche.CodeRevocationListInvalid, Subject: r.path, Severity: ruche.SeverityWarning,
		Hint: "have the authority write a new one; it is picked up by itself",
	}
	end := first.NextUpdate.UTC().Format(time.RFC3339)
	switch {
	case left <= 0:
		w.Severity = ruche.SeverityError
		w.Message = fmt.Sprintf("the list of %s ended at %s, so everybody who is verified by it is refused", first.Issuer, end)
	case left < life/6:
		w.Message = fmt.Sprintf("the list of %s ends at %s; from then on everybody who is verified by it is refused", first.Issuer, end)
	default:
		return
	}
	if c.cfg.Health.Set(w) {
		c.cfg.Logger.Warn("a revocation list needs renewal", "file", r.path, "next_update", first.NextUpdate)
	}
}

// newPeerCheck joins authorities with what they have revoked; r may be nil.
func newPeerCheck(a *authorityFile, r *revocationFile) *ruche.PeerCheck {
	v := verifier{roots: a.roots}
	source := filepath.Base(a.path)
	if r != nil {
		source += " and " + filepath.Base(r.path)
		v.revoked = r.revocations
	}
	return &ruche.PeerCheck{Source: source, CAs: a.roots, Check: v.check}
}

// verifier checks chains by what was read at one time.
type verifier struct {
	roots   *x509.CertPool // nil: those of the system
	revoked *revocations   // nil: nothing is looked up
}

func (v *verifier) check(chain []*x509.Certificate, use x509.ExtKeyUsage) error {
	if len(chain) == 0 {
		return &ruche.CertificateRefused{Brief: "there is none", Err: errors.New("the peer has shown no certificate")}
	}
	now := time.Now()
	options := x509.VerifyOptions{Roots: v.roots, Intermediates: x509.NewCertPool(), KeyUsages: []x509.ExtKeyUsage{use}, CurrentTime: now}
	for _, c := range chain[1:] {
		options.Intermediates.AddCert(c)
	}
	chains, err := chain[0].Verify(options)
	if err != nil {
		return refused(err)
	}
	if v.revoked == nil {
		return nil
	}
	for _, c := range chains {
		if err = v.revoked.check(c, now); err == nil {
			return nil
		}
	}
	return refused(err)
}

// refused puts into few words why a certificate is not accepted.
func refused(err error) error {
	r := &ruche.CertificateRefused{Brief: "it is not valid", Err: err}
	var foreign x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	switch {
	case errors.As(err, &foreign):
		r.Foreign, r.Brief = true, "it is of an authority that is not accepted here"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		r.Brief = "it is expired or not valid yet"
	case errors.As(err, &invalid) && invalid.Reason == x509.IncompatibleUsage:
		r.Brief = "it is for another use"
	case errors.Is(err, errRevoked):
		r.Brief = "it was revoked"
	case errors.Is(err, errNoList):
		r.Brief = "whether it was revoked cannot be told"
	}
	return r
}

// forgotten reports whether the warning is about a file that is no longer there.
func forgotten(w ruche.Warning) bool {
	switch w.Code {
	case ruche.CodeCertInvalid, ruche.CodeAccessUnsupported, ruche.CodeRevocationListInvalid:
		_, err := os.Lstat(w.Subject)
		return errors.Is(err, fs.ErrNotExist)
	}
	return false
}

// internalAuthority is one of Ruche's own: that of clients, or that of servers, whose certificates are to be had for a proof of a name and open nothing. It is made of what it says when
// that has changed.
func (c *Certs) internalAuthority(name string) (*ruche.PeerCheck, error) {
	if c.cfg.InternalAuthority == nil {
		return nil, errNoInternal
	}
	authorities, revoked := c.cfg.InternalAuthority(name)
	if len(authorities) == 0 {
		return nil, errNoInternal
	}
	kept := &c.internalServices
	if name == ruche.AuthorityClients {
		kept = &c.internalClients
	}
	if last := kept.Load(); last != nil && bytes.Equal(last.authorities, authorities) && bytes.Equal(last.revoked, revoked) {
		return last.check, last.err
	}
	made := &internalCheck{authorities: authorities, revoked: revoked}
	v := verifier{}
	if v.roots, made.err = parseAuthorities(authorities); made.err == nil && len(revoked) > 0 {
		v.revoked, made.err = parseRevocations(revoked)
	}
	if made.err != nil {
		made.err = fmt.Errorf("the internal authority is of no use: %w", made.err)
	}
	made.check = &ruche.PeerCheck{Source: "the internal authority", CAs: v.roots, Check: v.check}
	kept.Store(made)
	return made.check, made.err
}

// internalCheck is what was made of the internal authority at one time.
type internalCheck struct {
	authorities, revoked []byte
	check                *ruche.PeerCheck
	err                  error
}

var errNoInternal = errors.New("the internal authority is not known on this node (see ruche ca status)")
