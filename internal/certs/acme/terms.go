package acme

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	acmez "github.com/mholt/acmez/v3/acme"

	"github.com/ruche-project/ruche"
)

// Terms are an issuer, as a spec wants it: what one certificate is ordered by.
type Terms struct {
	ruche.Issuer
	// Only is the one challenge type to use; empty: those of the issuer.
	Only ruche.ChallengeType
	// Declared tells that a workload names the CA, and no settings do: whoever starts containers must not have the leader reach what they cannot reach themselves.
	Declared bool
}

// Internal tells that the certificate comes from Ruche's own authority.
func (t Terms) Internal() bool { return t.Name == ruche.IssuerInternal }

// termsOf finds the issuer of a spec and lays the spec's own wishes over it. ok is false when there is none.
func termsOf(issuers []ruche.Issuer, spec ruche.CertificateSpec) (terms Terms, ok bool) {
	if spec.Issuer == ruche.IssuerInternal {
		return Terms{Issuer: ruche.Issuer{Name: ruche.IssuerInternal, KeyType: keyType(spec.KeyType)}}, true
	}
	issuer, found := issuerNamed(issuers, spec.Issuer)
	if !found || spec.Directory != "" {
		issuer, found = issuerNamed(issuers, ruche.IssuerDefault)
	}
	declared := spec.Directory != "" && spec.Directory != issuer.Directory
	if n := slices.IndexFunc(issuers, func(i ruche.Issuer) bool { return i.Directory == spec.Directory }); declared && n >= 0 {
		issuer, found, declared = issuers[n], true, false
	}
	if declared {
		// What was agreed with one CA means nothing to another.
		issuer.Directory, issuer.Name = spec.Directory, cmp.Or(issuer.Name, ruche.IssuerDefault)
		issuer.EAB, issuer.Profile, issuer.PreferredChain, issuer.Fallback = nil, "", "", ""
		found = true
	}
	over(&issuer.Email, spec.Email)
	over(&issuer.Profile, spec.Profile)
	over(&issuer.KeyType, spec.KeyType)
	over(&issuer.PreferredChain, spec.PreferredChain)
	if spec.EAB != nil {
		issuer.EAB = spec.EAB
	}
	if spec.DNS != nil {
		issuer.DNS = spec.DNS
	}
	issuer.KeyType = keyType(issuer.KeyType)
	if issuer.Directory == ruche.DirectoryInternal {
		return Terms{Issuer: ruche.Issuer{Name: ruche.IssuerInternal, Profile: issuer.Profile, KeyType: issuer.KeyType}}, true
	}
	return Terms{Issuer: issuer, Only: spec.Challenge, Declared: declared}, found && issuer.Directory != ""
}

// over replaces a field that a spec has a value for.
func over[T ~string](field *T, with T) {
	if with != "" {
		*field = with
	}
}

func issuerNamed(issuers []ruche.Issuer, name string) (ruche.Issuer, bool) {
	n := slices.IndexFunc(issuers, func(i ruche.Issuer) bool { return i.Name == name })
	if n < 0 {
		return ruche.Issuer{}, false
	}
	return issuers[n], true
}

// configured are the terms of an issuer of the settings, by which what an order has left in the DNS is removed; empty where there is none of that name.
func (e *Engine) configured(issuer string) Terms {
	i, _ := issuerNamed(e.issuers(), issuer)
	return Terms{Issuer: i}
}

func keyType(t ruche.KeyType) ruche.KeyType { return cmp.Or(t, ruche.KeyP256) }

// types are the challenge types to try, in this order. proved is the one that succeeded before, if there is one.
func (t Terms) types(proved ruche.ChallengeType) []ruche.ChallengeType {
	types := slices.Clone(t.Challenges)
	switch {
	case t.Only != "":
		return []ruche.ChallengeType{t.Only}
	case len(types) == 0:
		types = []ruche.ChallengeType{ruche.ChallengeTLSALPN01, ruche.ChallengeHTTP01}
		if t.DNS != nil {
			types = append(types, ruche.ChallengeDNS01)
		}
	}
	if n := slices.Index(types, proved); n > 0 {
		types = slices.Insert(slices.Delete(types, n, n+1), 0, proved)
	}
	return types
}

// wildcards reports whether names of a zone can be proved by these terms, which wildcards need.
func (t Terms) wildcards() bool {
	types := t.types("")
	return t.DNS != nil && slices.Contains(types, ruche.ChallengeDNS01) || t.persists()
}

// persists reports whether the certificate is ordered by standing records, which name the account.
func (t Terms) persists() bool {
	return slices.Contains(t.types(""), ruche.ChallengeDNSPersist01)
}

func hasProfile(dir acmez.Directory, name string) bool {
	if dir.Meta == nil {
		return false
	}
	_, ok := dir.Meta.Profiles[name]
	return ok
}

// profileNames lists the profiles of a CA, for people.
func profileNames(dir acmez.Directory) string {
	if dir.Meta == nil || len(dir.Meta.Profiles) == 0 {
		return "none"
	}
	return strings.Join(slices.Sorted(maps.Keys(dir.Meta.Profiles)), ", ")
}
