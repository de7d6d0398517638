package certs

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// revocations are the lists of one file, for each authority those that came last first. They do not change.
type revocations struct{ lists []*revocationList }

// revocationList is one list (RFC 5280 section 5).
type revocationList struct {
	*x509.RevocationList
	serials map[string]bool // those that are revoked, as big-endian bytes
	// signed has the authorities, by their certificates, whose signature was verified. Only those that a verified chain leads to get in.
	signed sync.Map
}

// parseRevocations reads a file of lists in PEM, or one in DER.
func parseRevocations(data []byte) (*revocations, error) {
	var found revocations
	if !bytes.Contains(data, []byte("-----BEGIN")) {
		list, err := parseRevocationList(data)
		if err != nil {
			return nil, err
		}
		found.lists = append(found.lists, list)
	}
	for rest := data; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "X509 CRL" {
			return nil, fmt.Errorf("it holds a %s, not an X509 CRL", block.Type)
		}
		list, err := parseRevocationList(block.Bytes)
		if err != nil {
			return nil, err
		}
		found.lists = append(found.lists, list)
	}
	if len(found.lists) == 0 {
		return nil, errors.New("it holds no revocation list (X509 CRL)")
	}
	slices.SortStableFunc(found.lists, func(a, b *revocationList) int { return b.ThisUpdate.Compare(a.ThisUpdate) })
	return &found, nil
}

// parseRevocationList refuses what it does not understand wholly: a list with a critical extension may be about a part of the certificates alone, or
// say what changed since another one (RFC 5280 section 5.2).
func parseRevocationList(der []byte) (*revocationList, error) {
	list, err := x509.ParseRevocationList(der)
	if err != nil {
		return nil, err
	}
	for _, e := range list.Extensions {
		if e.Critical {
			return nil, fmt.Errorf("the revocation list has the critical extension %s, which is not supported (write a full list)", e.Id)
		}
	}
	r := &revocationList{RevocationList: list, serials: make(map[string]bool, len(list.RevokedCertificateEntries))}
	for _, entry := range list.RevokedCertificateEntries {
		for _, e := range entry.Extensions {
			if e.Critical {
				return nil, fmt.Errorf("an entry of the revocation list has the critical extension %s, which is not supported", e.Id)
			}
		}
		r.serials[string(entry.SerialNumber.Bytes())] = true
	}
	return r, nil
}

// expiry is when the first of the newest lists of each authority ends to be good; zero when none does.
func (r *revocations) expiry() (first *revocationList) {
	seen := map[string]bool{}
	for _, list := range r.lists {
		if issuer := string(list.RawIssuer); !seen[issuer] {
			seen[issuer] = true
			if !list.NextUpdate.IsZero() && (first == nil || list.NextUpdate.Before(first.NextUpdate)) {
				first = list
			}
		}
	}
	return first
}

var (
	errRevoked = errors.New("it was revoked")
	errNoList  = errors.New("there is no valid revocation list of its authority")
)

// check looks up each certificate of a chain but the last, which is trusted in itself. As with nginx every authority of the chain needs a list, and
// one that has expired counts as none: else whoever keeps the new list away would keep a revoked certificate alive.
func (r *revocations) check(chain []*x509.Certificate, now time.Time) error {
	for i := range len(chain) - 1 {
		subject, issuer := chain[i], chain[i+1]
		list := r.of(issuer)
		switch {
		case list == nil:
			return fmt.Errorf("%w: none of %s", errNoList, issuer.Subject)
		case now.Before(list.ThisUpdate):
			return fmt.Errorf("%w: that of %s is of %s, which is yet to come", errNoList, issuer.Subject, list.ThisUpdate.UTC().Format(time.RFC3339))
		case !list.NextUpdate.IsZero() && now.After(list.NextUpdate):
			return fmt.Errorf("%w: that of %s ended at %s", errNoList, issuer.Subject, list.NextUpdate.UTC().Format(time.RFC3339))
		case list.serials[string(subject.SerialNumber.Bytes())]:
			return fmt.Errorf("%w: serial number %x of %s", errRevoked, subject.SerialNumber, issuer.Subject)
		}
	}
	return nil
}

// of returns the newest list that the authority has signed, nil if there is none.
func (r *revocations) of(issuer *x509.Certificate) *revocationList {
	for _, list := range r.lists {
		if bytes.Equal(list.RawIssuer, issuer.RawSubject) && list.signedBy(issuer) {
			return list
		}
	}
	return nil
}

func (l *revocationList) signedBy(issuer *x509.Certificate) bool {
	if _, known := l.signed.Load(string(issuer.Raw)); known {
		return true
	}
	if l.CheckSignatureFrom(issuer) != nil {
		return false
	}
	l.signed.Store(string(issuer.Raw), true)
	return true
}
