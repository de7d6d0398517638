package ca

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ruche-project/ruche"
)

// Status tells how the authorities are.
func (a *Authority) Status(ctx context.Context) (ruche.AuthorityList, error) {
	list := ruche.AuthorityList{Authorities: []ruche.AuthorityStatus{}, URL: a.cfg.URL}
	for _, p := range a.Profiles() {
		list.Profiles = append(list.Profiles, ruche.ProfileInfo{Name: p.Name, Authority: p.Authority, Lifetime: p.Lifetime, For: p.Description})
	}
	all, err := a.cfg.Authorities.List(ctx)
	if err != nil {
		return list, fmt.Errorf("cannot list the authorities: %w", err)
	}
	crls, err := a.cfg.CRLs.List(ctx)
	if err != nil {
		return list, fmt.Errorf("cannot list the CRLs: %w", err)
	}
	log, err := a.cfg.Issued.List(ctx)
	if err != nil {
		return list, fmt.Errorf("cannot read the log of what was issued: %w", err)
	}
	for name, e := range all {
		status, err := a.status(name, e.Value, crls)
		if err != nil {
			return list, err
		}
		list.Authorities = append(list.Authorities, status)
	}
	slices.SortFunc(list.Authorities, func(a, b ruche.AuthorityStatus) int { return cmp.Compare(a.Name, b.Name) })
	for _, e := range log {
		a.count(list.Authorities, e.Value)
	}
	return list, nil
}

// count adds a certificate of the log to those of its authority, if it is not past its end. What an authority has issued that was forgotten leads to no root any more.
func (a *Authority) count(list []ruche.AuthorityStatus, e Entry) {
	name, _, _ := cutLast(e.Issuer, "-")
	n := slices.IndexFunc(list, func(s ruche.AuthorityStatus) bool { return s.Name == name })
	switch {
	case n < 0 || !a.now().Before(e.NotAfter):
	case !slices.ContainsFunc(list[n].Intermediates, func(i ruche.IssuerStatus) bool { return i.ID == e.Issuer }):
	case e.Revoked != nil:
		list[n].Revoked++
	default:
		list[n].Live++
	}
}

func (a *Authority) status(name string, r Record, crls map[string]ruche.Entry[CRL]) (ruche.AuthorityStatus, error) {
	s := ruche.AuthorityStatus{
		Name: name, Organization: r.Organization, Permit: append([]string{}, r.Permit...), Parent: r.Parent, Waiting: r.Wanted != nil,
		Roots: []ruche.IssuerStatus{}, Intermediates: []ruche.IssuerStatus{},
	}
	now := a.now()
	signing, _ := r.signing(now) // without one, none is active
	active, _ := r.active(now)
	for _, i := range r.Roots {
		root, err := describe(i, crls)
		if err != nil {
			return s, err
		}
		switch {
		case i.ID == signing.ID:
			root.State = ruche.IssuerActive
			if !r.Parent {
				root.Turn = root.NotAfter.Add(-nextRootBefore + rootNotice)
			}
		case i.From.After(now):
			root.State, root.Turn = ruche.IssuerNext, i.From
		}
		s.Roots = append(s.Roots, root)
	}
	if n := len(s.Roots); n > 1 && s.Roots[n-1].State == ruche.IssuerNext { // then it is known for certain
		for i := range s.Roots[:n-1] {
			if s.Roots[i].State == ruche.IssuerActive {
				s.Roots[i].Turn = s.Roots[n-1].Turn
			}
		}
	}
	for _, i := range r.Intermediates {
		intermediate, err := describe(i, crls)
		if err != nil {
			return s, err
		}
		if i.ID == active.ID {
			intermediate.State = ruche.IssuerActive
			if !r.Parent {
				intermediate.Turn = intermediate.NotAfter.Add(-turnBefore)
			}
		}
		s.Intermediates = append(s.Intermediates, intermediate)
	}
	return s, nil
}

func describe(i Issuer, crls map[string]ruche.Entry[CRL]) (ruche.IssuerStatus, error) {
	parsed, err := i.parse()
	if err != nil {
		return ruche.IssuerStatus{}, err
	}
	sum := sha256.Sum256(i.Certificate)
	crl := crls[i.ID].Value
	return ruche.IssuerStatus{
		ID: i.ID, Subject: parsed.cert.Subject.String(), Fingerprint: hex.EncodeToString(sum[:]), State: ruche.IssuerOld,
		Made: i.Made, NotBefore: parsed.cert.NotBefore, NotAfter: parsed.cert.NotAfter, CRL: crl.Made, CRLUntil: crl.Until,
	}, nil
}

// Log gives what was issued and is kept, the newest first; with a name or serial only what has that.
func (a *Authority) Log(ctx context.Context, what string) (ruche.IssuedList, error) {
	list := ruche.IssuedList{Certificates: []Entry{}}
	all, err := a.cfg.Issued.List(ctx)
	if err != nil {
		return list, fmt.Errorf("cannot read the log of what was issued: %w", err)
	}
	serial := normalSerial(what)
	for _, e := range all {
		if v := e.Value; what == "" || v.Serial == serial || hasName(v, what) {
			list.Certificates = append(list.Certificates, v)
		}
	}
	slices.SortFunc(list.Certificates, newestFirst)
	return list, nil
}

func hasName(e Entry, name string) bool {
	return slices.ContainsFunc(e.Names, func(n string) bool { return strings.EqualFold(n, name) }) || strings.EqualFold(e.Subject, name)
}

func newestFirst(a, b Entry) int {
	return cmp.Or(b.Issued.Compare(a.Issued), cmp.Compare(a.Serial, b.Serial))
}

// Sign issues a certificate for the key of a PKCS #10 request, whose own signature proves that the key is there. Names are those given; if none are, those of the request.
func (a *Authority) Sign(ctx context.Context, r ruche.SigningRequest) (ruche.SignedCertificate, error) {
	request, err := x509.ParseCertificateRequest(r.Request)
	if err == nil {
		err = request.CheckSignature()
	}
	if err != nil {
		return ruche.SignedCertificate{}, fmt.Errorf("cannot read the request for a certificate: %w: %w", ErrRefused, err)
	}
	wanted := Request{PublicKey: request.PublicKey, Names: r.Names, Subject: r.Subject, Profile: r.Profile, NotAfter: r.NotAfter, Requester: "cli"}
	if len(wanted.Names) == 0 {
		wanted.Names = namesOf(request)
	}
	if p, err := a.profile(r.Profile); err == nil && p.Authority == ruche.AuthorityDocker {
		if err := a.Ensure(ctx, p.Authority); err != nil {
			return ruche.SignedCertificate{}, err
		}
	}
	issued, err := a.Issue(ctx, wanted)
	if err != nil {
		return ruche.SignedCertificate{}, err
	}
	signed := ruche.SignedCertificate{Serial: issued.Serial, NotAfter: issued.NotAfter}
	for _, der := range issued.Chain {
		signed.Chain = append(signed.Chain, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	return signed, nil
}

func namesOf(r *x509.CertificateRequest) []string {
	list := slices.Concat(r.DNSNames, r.EmailAddresses)
	for _, ip := range r.IPAddresses {
		list = append(list, ip.String())
	}
	for _, u := range r.URIs {
		list = append(list, u.String())
	}
	return list
}

// Withdraw revokes the certificate with a serial, or those with a name that are good, and gives which it has revoked. What is neither wraps ruche.ErrNotFound.
func (a *Authority) Withdraw(ctx context.Context, r ruche.RevocationRequest) (ruche.IssuedList, error) {
	list := ruche.IssuedList{Certificates: []Entry{}}
	reason, err := parseReason(r.Reason)
	if err != nil {
		return list, err
	}
	found, err := a.revocable(ctx, r.What)
	switch {
	case err != nil:
		return list, err
	case len(found) == 0:
		return list, fmt.Errorf("there is no certificate %q that is good now: %w", r.What, ruche.ErrNotFound)
	case len(found) > 1 && !r.All:
		serials := make([]string, len(found))
		for i, e := range found {
			serials[i] = e.Serial + " (of " + e.Issued.UTC().Format(time.DateOnly) + ")"
		}
		return list, fmt.Errorf("%w: %d certificates have the name %q: name one by its serial, or give --all: %s", ErrRefused, len(found), r.What, strings.Join(serials, ", "))
	}
	for _, e := range found {
		if err := a.Revoke(ctx, e.Serial, reason, "cli"); err != nil && !errors.Is(err, ErrRevoked) {
			return list, err
		}
		list.Certificates = append(list.Certificates, e)
	}
	return list, nil
}

// revocable gives the certificate with a serial, or those with a name that are good, the newest first.
func (a *Authority) revocable(ctx context.Context, what string) ([]Entry, error) {
	log, err := a.Log(ctx, what)
	if err != nil {
		return nil, err
	}
	serial := normalSerial(what)
	return slices.DeleteFunc(log.Certificates, func(e Entry) bool {
		return what == "" || e.Serial != serial && (e.Revoked != nil || !a.now().Before(e.NotAfter))
	}), nil
}
