package certs

import (
	"crypto/sha1"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/certs/vault"
)

// pair is one NAME.crt with its NAME.key.
type pair struct {
	name        string
	path        string // of the .crt
	print       string // what the files looked like when they were read
	fingerprint string // of the certificate
	certificate tls.Certificate
	ca, keyType string // for people
	serial      string
	early       bool // there is a warning that it is not valid yet; guarded by Certs.loading
}

func (p *pair) status(reason string) ruche.CertificateStatus {
	leaf := p.certificate.Leaf
	names := slices.Clone(leaf.DNSNames)
	for _, ip := range leaf.IPAddresses {
		names = append(names, ip.String())
	}
	return ruche.CertificateStatus{
		Kind: ruche.CertificateFile, File: p.path, Issuer: leaf.Issuer.String(), Names: names, NotAfter: leaf.NotAfter, Fingerprint: p.fingerprint, Reason: reason,
		NotBefore: leaf.NotBefore, CA: p.ca, KeyType: p.keyType, Serial: p.serial,
	}
}

// load reads the directories. A pair that cannot be used keeps its last good version; a pair whose .crt is gone goes away.
func (c *Certs) load() {
	c.loading.Lock()
	defer c.loading.Unlock()
	old := c.files.Load()
	entries, ok := c.entries(c.cfg.Dir, len(old.authorities) == 0)
	secrets, secretsOK := c.entries(c.cfg.SecretsDir, true)
	if !ok || !secretsOK {
		return
	}
	found := &files{pairs: make(map[string]*pair), restricted: c.passwordFiles(old)}
	for _, entry := range entries {
		name, ok := strings.CutSuffix(entry.Name(), ".crt")
		if !ok || name == "" {
			continue
		}
		key := strings.ToLower(name)
		if _, ok := authorityBase(key + ".crt"); ok {
			continue
		}
		if p := c.loadPair(c.cfg.Dir, name, old.pairs[key]); p != nil {
			found.pairs[key] = p
		}
	}
	for _, entry := range secrets { // most are no certificates
		name, ok := strings.CutSuffix(entry.Name(), ".crt")
		key := strings.ToLower(name)
		if ok && name != "" && found.pairs[key] == nil && !strings.HasSuffix("."+key, ".ca") {
			if p := c.loadPair(c.cfg.SecretsDir, name, old.pairs[key]); p != nil {
				found.pairs[key] = p
			}
		}
	}
	c.loadPeers(entries, found, old)
	c.noteUnused(entries)
	c.files.Store(found)
	c.forgetRemoved()
	c.changed.say()
}

// entries lists a directory of certificates. It reports false when it cannot be read, or is not there although that matters.
func (c *Certs) entries(dir string, mayMiss bool) ([]fs.DirEntry, bool) {
	if dir == "" {
		return nil, true
	}
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist) && mayMiss:
		entries = nil // nobody has to bring certificates, but a directory that is lost must not open what its files closed
	case err != nil:
		if c.cfg.Health.Set(ruche.Warning{
			Code: ruche.CodeCertsDirUnreadable, Severity: ruche.SeverityError, Subject: dir, Message: err.Error(),
			Hint: "check --certs-dir and its permissions; the certificates read before stay in force",
		}) {
			c.cfg.Logger.Error("cannot read the certificates", "dir", dir, "error", err)
		}
		return nil, false
	}
	c.cfg.Health.Clear(ruche.CodeCertsDirUnreadable, dir)
	return entries, true
}

// passwordFiles finds the hosts that nginx-proxy would ask a password for: the files are named HOST or HOST_<hash of a path>. When the
// directory cannot be read, what was known of it stays.
func (c *Certs) passwordFiles(old *files) map[string]string {
	restricted := make(map[string]string)
	if c.cfg.PasswordsDir == "" {
		return restricted
	}
	entries, err := os.ReadDir(c.cfg.PasswordsDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		c.cfg.Logger.Error("cannot read the password files, so what they restricted stays restricted", "dir", c.cfg.PasswordsDir, "error", err)
		return maps.Clone(old.restricted)
	}
	for _, entry := range entries {
		if entry.IsDir() || strings.HasPrefix(entry.Name(), ".") {
			continue
		}
		host := strings.ToLower(entry.Name())
		if i := strings.LastIndexByte(host, '_'); i > 0 && len(host)-i-1 == 2*sha1.Size {
			host = host[:i] // the whole host is closed for it: which path was hashed cannot be known
		}
		restricted[host] = c.restriction(filepath.Join(c.cfg.PasswordsDir, entry.Name()), "clients must give a password of")
	}
	return restricted
}

// restriction raises the warning that what path restricts is not served, and returns why.
func (c *Certs) restriction(path, demand string) string {
	reason := fmt.Sprintf("%s %s, which is not supported", demand, path)
	if c.cfg.Health.Set(ruche.Warning{
		Code: ruche.CodeAccessUnsupported, Severity: ruche.SeverityError, Subject: path,
		Message: reason + "; what it protects is not served",
		Hint:    "remove the file if everybody may see the site, else leave the site where it was",
	}) {
		c.cfg.Logger.Error("a file restricts access in a way that is not supported, so its hosts are not served", "file", path)
	}
	return reason
}

// forgetRemoved takes back the warnings about files that are no longer there.
func (c *Certs) forgetRemoved() {
	for _, w := range c.cfg.Health.List() {
		if forgotten(w) {
			c.cfg.Health.Clear(w.Code, w.Subject)
		}
	}
}

// loadPair reads one pair, or returns last when it did not change or cannot be used.
func (c *Certs) loadPair(dir, name string, last *pair) *pair {
	crt, key := filepath.Join(dir, name+".crt"), filepath.Join(dir, name+".key")
	looks := fingerprint(crt) + " " + fingerprint(key)
	if last != nil && last.print == looks {
		return last
	}
	certificate, err := tls.LoadX509KeyPair(crt, key)
	if err == nil {
		err = checkChain(certificate)
	}
	if err != nil {
		stays := "its host has another certificate meanwhile, or none"
		if last != nil {
			stays, last.early = "the last good version is served", false // this warning takes its place
		}
		if c.cfg.Health.Set(ruche.Warning{
			Code: ruche.CodeCertInvalid, Severity: ruche.SeverityError, Subject: crt,
			Message: fmt.Sprintf("it cannot be used: %v; %s", pairError(err, key), stays),
			Hint:    "the .crt holds the certificate and then its chain, the .key its key, both PEM; a corrected file is picked up by itself",
		}) {
			c.cfg.Logger.Error("cannot use a certificate file", "file", crt, "error", pairError(err, key), "meanwhile", stays)
		}
		return last
	}
	p := &pair{name: name, path: crt, print: looks, fingerprint: vault.Fingerprint(certificate.Certificate[0]), certificate: certificate}
	p.ca, p.keyType, p.serial = vault.CAName(certificate.Leaf), vault.KeyTypeName(certificate.Leaf), fmt.Sprintf("%x", certificate.Leaf.SerialNumber)
	c.cfg.Health.Clear(ruche.CodeCertInvalid, crt)
	c.warnExpiry(p)
	c.cfg.Logger.Info("certificate file read", "file", crt, "names", p.certificate.Leaf.DNSNames, "not_after", p.certificate.Leaf.NotAfter)
	return p
}

// pairError says it shorter where the usual mistake is known.
func pairError(err error, key string) error {
	if errors.Is(err, fs.ErrNotExist) {
		if _, keyErr := os.Stat(key); errors.Is(keyErr, fs.ErrNotExist) {
			return fmt.Errorf("there is no %s", filepath.Base(key))
		}
	}
	return err
}

// checkChain refuses what no client could use although it parses.
func checkChain(certificate tls.Certificate) error {
	for i, der := range certificate.Certificate {
		if _, err := x509.ParseCertificate(der); err != nil {
			return fmt.Errorf("certificate %d of the chain: %w", i+1, err)
		}
	}
	return nil
}

// warnExpiry raises a warning when a sixth of the certificate's life is left: 15 days of 90, 8 of 47; or when its time has not come.
func (c *Certs) warnExpiry(p *pair) {
	leaf := p.certificate.Leaf
	left, life := time.Until(leaf.NotAfter), leaf.NotAfter.Sub(leaf.NotBefore)
	w := ruche.Warning{
		Code: ruche.CodeCertInvalid, Subject: p.path, Severity: ruche.SeverityWarning,
		Hint: "whoever wrote the file should renew it; a new one is picked up by itself",
	}
	switch {
	case left <= 0:
		w.Severity = ruche.SeverityError
		w.Message = fmt.Sprintf("it expired at %s; clients refuse it, and it is served where the store has no good certificate for the name", leaf.NotAfter.UTC().Format(time.RFC3339))
	case time.Until(leaf.NotBefore) > 0:
		w.Severity, p.early = ruche.SeverityError, true
		w.Message = fmt.Sprintf("it is not valid before %s; clients refuse it, and it is served where the store has no good certificate for the name", leaf.NotBefore.UTC().Format(time.RFC3339))
		w.Hint = "put the one before it back until then, and look at the clock of this node; from then on it is served by itself"
	case left < life/6:
		w.Message = fmt.Sprintf("it expires at %s", leaf.NotAfter.UTC().Format(time.RFC3339))
	default:
		if p.early {
			p.early = false
			c.cfg.Health.Clear(w.Code, w.Subject)
		}
		return
	}
	if c.cfg.Health.Set(w) {
		c.cfg.Logger.Warn("certificate file is not valid, or not for long", "file", p.path, "not_before", leaf.NotBefore, "not_after", leaf.NotAfter)
	}
}

// fingerprint tells one state of a file from another without reading it. Links are followed: companions that renew certificates
// replace what a link points to.
func fingerprint(path string) string {
	info, err := os.Stat(path)
	if err != nil {
		return "-"
	}
	mark := fmt.Sprintf("%d %d", info.Size(), info.ModTime().UnixNano())
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		mark += fmt.Sprintf(" %d", stat.Ino)
	}
	// File systems keep the time in steps of some milliseconds: another write may follow within the same one.
	if now := time.Now(); now.Sub(info.ModTime()) < timeStep {
		mark += fmt.Sprintf(" seen %d", now.UnixNano())
	}
	return mark
}

// timeStep is more than the steps in which any file system in use keeps times.
const timeStep = 50 * time.Millisecond

// encode writes PEM blocks of one type.
func encode(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}
