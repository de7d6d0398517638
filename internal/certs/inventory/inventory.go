// Package inventory puts together what is known of all certificates: what is stored, what is wanted, what edges serve, and what was seen from outside. It does no I/O.
package inventory

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/certs/vault"
)

// Want is a certificate that somebody wants, under the ID of its record.
type Want struct {
	Names             []string
	Issuer, Directory string
	Profile           string
	// Sources say who wants it.
	Sources []string
	// Problem is why it cannot be had, Hint what to do about it, Waiting what it waits for; each may be empty.
	Problem, Hint, Waiting string
	// Optional tells that nobody asked for it in so many words, and that names like its one have none at public CAs: that there is a Problem is no failure then.
	Optional bool
}

// Input is all that the inventory is made of.
type Input struct {
	Now     time.Time
	Records map[string]vault.Record
	States  map[string]vault.State
	Wants   map[string]Want
	Served  map[string]vault.Served // by node
	Sights  map[string]vault.Sight  // of what is watched, by host or host:port
	// Memory has what was found out before; it may be nil.
	Memory *Memory
}

// List makes the inventory.
func List(in Input) ruche.CertificateList {
	l := newLister(in)
	list := ruche.CertificateList{Certificates: make([]ruche.CertificateInfo, 0, len(l.infos)), Names: l.names, Warnings: []ruche.Warning{}}
	for _, id := range slices.Sorted(maps.Keys(l.infos)) {
		info := l.infos[id]
		slices.Sort(info.ServedBy)
		info.ServedBy = slices.Compact(info.ServedBy)
		info.Problems = append(info.Problems, l.unserved(info)...)
		info.Problems = append(info.Problems, l.unfit[id]...)
		list.Certificates = append(list.Certificates, *info)
	}
	slices.SortStableFunc(list.Certificates, func(a, b ruche.CertificateInfo) int { return cmp.Compare(first(a.Names), first(b.Names)) })
	return list
}

// newLister puts together what is known.
func newLister(in Input) *lister {
	l := &lister{in: in, infos: map[string]*ruche.CertificateInfo{}, prints: map[string]string{}, unfit: map[string][]string{}}
	readings := l.in.Memory.read(in.Records)
	for id, r := range in.Records {
		l.record(id, r, readings[id])
	}
	for id, w := range in.Wants {
		l.want(id, w)
	}
	l.names = l.served()
	return l
}

func first(names []string) string {
	if len(names) == 0 {
		return ""
	}
	return names[0]
}

type lister struct {
	in     Input
	infos  map[string]*ruche.CertificateInfo
	prints map[string]string // fingerprint -> ID
	names  []ruche.ServedName
	unfit  map[string][]string // what is wrong with files, by ID
}

// record adds a stored certificate.
func (l *lister) record(id string, r vault.Record, c *reading) {
	s := l.in.States[id]
	info := &ruche.CertificateInfo{
		ID: id, Kind: kind(r.Origin), Names: r.Names, Issuer: r.Issuer, Directory: r.Directory, Profile: r.Profile, Issued: r.Issued,
		Retired: r.Retired, Revoked: r.Revoked,
	}
	l.infos[id] = info
	l.state(info, s)
	if _, wanted := l.in.Wants[id]; !wanted { // nobody renews it, whatever was planned
		info.Due, info.WindowStart, info.WindowEnd, info.Explanation = time.Time{}, time.Time{}, time.Time{}, ""
	}
	if c.err != nil {
		info.State, info.Problems = ruche.CertificateFailing, append(info.Problems, "the stored certificate cannot be read: "+c.err.Error())
		l.wishes(info, s)
		return
	}
	info.CA, info.KeyType, info.Serial, info.Fingerprint, info.Key = c.ca, c.keyType, c.serial, c.fingerprint, c.key
	info.NotBefore, info.NotAfter = c.notBefore, c.notAfter
	l.prints[info.Fingerprint] = id
	if w := s.Withdrawn; w != nil && w.Of == info.Fingerprint {
		info.Withdrawn = w.At
		info.Problems = append(info.Problems, "its CA has revoked it at "+w.At.UTC().Format(time.RFC3339))
	}
	info.Problems = append(info.Problems, c.problems...)
	l.wishes(info, s)
	info.State = l.stateOf(info)
}

// state adds what is known of how a certificate is doing.
func (l *lister) state(info *ruche.CertificateInfo, s vault.State) {
	info.Due, info.WindowStart, info.WindowEnd, info.Explanation = s.Due, s.WindowStart, s.WindowEnd, s.Explanation
	info.Failures, info.LastError, info.NextTry = s.Failures, s.LastError, s.NextTry
}

// stateOf says in a word how a stored certificate is.
func (l *lister) stateOf(info *ruche.CertificateInfo) ruche.CertificateState {
	now := l.in.Now
	switch {
	case !info.Revoked.IsZero() || !info.Withdrawn.IsZero():
		return ruche.CertificateRevoked
	case !info.Retired.IsZero():
		return ruche.CertificateRetired
	case !now.Before(info.NotAfter):
		return ruche.CertificateExpired
	case info.Failures > 0:
		return ruche.CertificateFailing
	case !info.Due.IsZero() && !now.Before(info.Due), !info.Asked.IsZero() && !now.Before(info.Asked):
		return ruche.CertificateDue
	}
	return ruche.CertificateValid
}

// want adds who wants a certificate, and that it is not there yet.
func (l *lister) want(id string, w Want) {
	info := l.infos[id]
	if info == nil {
		info = &ruche.CertificateInfo{ID: id, Kind: ruche.CertificateNone, State: ruche.CertificatePending, Names: w.Names, Issuer: w.Issuer, Directory: w.Directory, Profile: w.Profile}
		l.state(info, l.in.States[id])
		l.wishes(info, l.in.States[id])
		if info.Failures > 0 {
			info.State = ruche.CertificateFailing
		}
		l.infos[id] = info
	}
	info.Wanted, info.Source = true, strings.Join(w.Sources, "; ")
	switch {
	case w.Problem != "":
		problem := w.problem()
		if info.LastError == problem { // no try has failed: there was none
			info.LastError = ""
		}
		info.Problems = append(info.Problems, problem)
		if info.State == ruche.CertificatePending && !w.Optional && w.Waiting == "" && !l.covered(w.Names) {
			info.State = ruche.CertificateFailing // by itself it never comes
		}
	case w.Waiting != "" && info.State == ruche.CertificatePending:
		info.Problems = append(info.Problems, "it is not ordered yet: "+w.Waiting)
	}
}

// problem is why the certificate cannot be had, with what to do.
func (w Want) problem() string { return strings.TrimSuffix(w.Problem+" ("+w.Hint+")", " ()") }

// covered reports whether one of the store that is good now has all of these names.
func (l *lister) covered(names []string) bool {
	for _, info := range l.infos {
		if stored(info) && info.Withdrawn.IsZero() && l.in.Now.Before(info.NotAfter) && vault.CoversAll(info.Names, names) {
			return true
		}
	}
	return false
}

func kind(o vault.Origin) ruche.CertificateKind {
	switch o {
	case vault.OriginInternal:
		return ruche.CertificateInternal
	case vault.OriginImported:
		return ruche.CertificateImported
	}
	return ruche.CertificateACME
}
