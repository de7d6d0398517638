package certs

import (
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/ruche-project/ruche"
)

// choice is what a name is served with: a file, a managed certificate, or neither.
type choice struct {
	pair    *pair
	managed *managed
}

// choose applies the rules of docs/certificates.md. It costs a few map look-ups.
func (c *Certs) choose(q ruche.CertificateQuery) choice {
	var file *pair
	by := last
	if q.Mode != ruche.TLSInternal {
		file, by = c.findFile(q.Host, q.CertName)
	}
	now := time.Now()
	// Where ACME was asked for, files are for the time until its certificate is there, but for one that was asked for by name.
	if file != nil && by != last && (q.Mode != ruche.TLSACME || by == named) && file.valid(now) {
		return choice{pair: file}
	}
	m, good := c.store.find(q.ServerName, q.Mode, now)
	if m != nil && (good || file == nil || by == last && !file.fits(q.ServerName, now)) {
		return choice{managed: m}
	}
	return choice{pair: file} // default.crt, or none; with ACME any, and else one that is not valid where there is nothing better
}

// valid reports whether its time has come and has not passed.
func (p *pair) valid(now time.Time) bool {
	leaf := p.certificate.Leaf
	return now.Before(leaf.NotAfter) && !now.Before(leaf.NotBefore)
}

// fits reports whether clients that ask for name take the certificate.
func (p *pair) fits(name string, now time.Time) bool {
	return p.valid(now) && p.certificate.Leaf.VerifyHostname(name) == nil
}

// invalid says why it is not valid now; empty when it is.
func (p *pair) invalid(now time.Time) string {
	leaf := p.certificate.Leaf
	switch {
	case p.valid(now):
		return ""
	case now.Before(leaf.NotBefore):
		return "is not valid before " + leaf.NotBefore.UTC().Format(time.RFC3339)
	}
	return "expired at " + leaf.NotAfter.UTC().Format(time.RFC3339)
}

// Trusted reports whether somebody vouches for what the query is served with: a file, or a managed certificate. It costs a few map look-ups.
func (c *Certs) Trusted(q ruche.CertificateQuery) bool {
	if q.Mode == ruche.TLSOff || q.Host == "" {
		return false
	}
	chosen := c.choose(q)
	return chosen.pair != nil || chosen.managed != nil
}

// Status says what the query is served with, without making a certificate: where there is none but a self-signed one, there is none, and why.
func (c *Certs) Status(q ruche.CertificateQuery) ruche.CertificateStatus {
	switch {
	case q.Mode == ruche.TLSOff:
		_, st := none("the route switches TLS off (tls: off)")
		return st
	case q.Host == "":
		_, st := c.unknownHost(q.ServerName)
		return st
	}
	return c.status(q, c.choose(q))
}

// status says why a choice was made.
func (c *Certs) status(q ruche.CertificateQuery, chosen choice) ruche.CertificateStatus {
	now := time.Now()
	switch {
	case chosen.managed != nil:
		reason := chosen.managed.reason(q.ServerName, now)
		if p, by := c.findFile(q.Host, q.CertName); p != nil && by != last && q.Mode != ruche.TLSInternal && !p.valid(now) {
			reason += fmt.Sprintf("; %s %s", filepath.Base(p.path), p.invalid(now))
		}
		return chosen.managed.status(reason)
	case chosen.pair != nil:
		reason := c.fileReason(q)
		if why := chosen.pair.invalid(now); why != "" {
			reason += "; it " + why
		}
		switch {
		case q.Mode == ruche.TLSACME && q.CertName == "":
			reason += ", until there is a good certificate by ACME for it"
		case q.Mode != ruche.TLSFile && !chosen.pair.valid(now):
			reason += ", and there is no good certificate for the name in the store"
		}
		return chosen.pair.status(reason)
	}
	reason := c.fileReason(q)
	switch {
	case q.Mode == ruche.TLSInternal:
		reason = "there is no certificate of Ruche's own authority for it yet"
	case q.Mode == ruche.TLSACME:
		reason = "there is no certificate by ACME for it yet, and " + reason
	case q.Mode != ruche.TLSFile && c.cfg.Certificates != nil:
		reason += ", and there is no certificate by ACME for it"
	}
	_, st := none(reason)
	return st
}

// fileReason says by which rule the query's file was found, or, where there is none, which were looked for.
func (c *Certs) fileReason(q ruche.CertificateQuery) string {
	p, by := c.findFile(q.Host, q.CertName)
	switch {
	case by == named && p == nil:
		return fmt.Sprintf("CERT_NAME asks for %s.crt, which is not in %s or cannot be used", q.CertName, c.cfg.Dir)
	case by == named:
		return fmt.Sprintf("CERT_NAME asks for %s.crt", q.CertName)
	case by == own:
		return filepath.Base(p.path) + " is the host's own"
	case by == parents:
		parent := parentOf(q.Host)
		return fmt.Sprintf("%s.crt is that of the name without %q", parent, strings.TrimSuffix(q.Host, "."+parent))
	}
	looked := []string{hashed(q.Host) + ".crt"}
	if parent := parentOf(q.Host); parent != "" {
		looked = append(looked, parent+".crt")
	}
	if p != nil {
		return fmt.Sprintf("there is no %s, so default.crt serves", strings.Join(looked, " and no "))
	}
	return fmt.Sprintf("%s has no usable %s or default.crt", c.cfg.Dir, strings.Join(looked, ", "))
}
