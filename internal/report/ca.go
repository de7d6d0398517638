package report

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/ruche-project/ruche"
)

// Authorities writes how the installation's authorities are. now is what ages are counted from.
func Authorities(w io.Writer, list ruche.AuthorityList, now time.Time) error {
	p := &printer{w: w}
	if len(list.Authorities) == 0 {
		p.line("There is no authority. \"ruche ca init --permit DOMAIN\" makes those for services and clients.")
		return p.err
	}
	for n, a := range list.Authorities {
		if n > 0 {
			p.line("")
		}
		p.authority(a, now)
	}
	p.line("")
	if list.URL == "" {
		p.line("Certificates do not say where to find the lists of revoked ones: set --ca-url to where others reach /ca/ of the admin address.")
	} else {
		p.line("Certificates say that the lists of revoked ones are under %s/ca/.", list.URL)
	}
	return p.err
}

func (p *printer) authority(a ruche.AuthorityStatus, now time.Time) {
	permit := "any name"
	if len(a.Permit) > 0 {
		permit = strings.Join(a.Permit, ", ")
	}
	p.line("%s, for %s", strings.ToUpper(a.Name), permit)
	switch {
	case a.Waiting && len(a.Intermediates) == 0:
		p.line("  It waits for the parent to sign its request: ruche ca init %s --import chain.pem", a.Name)
	case a.Waiting:
		p.line("  A request to the parent is open: ruche ca init %s --import chain.pem", a.Name)
	}
	rows := make([][]string, 0, len(a.Roots)+len(a.Intermediates))
	for _, list := range [][]ruche.IssuerStatus{a.Roots, a.Intermediates} {
		for _, i := range list {
			rows = append(rows, []string{i.ID, string(i.State), age(now.Sub(made(i))), left(i.NotAfter, now), turn(i, now), crlAge(i, now)})
		}
	}
	if len(rows) > 0 {
		p.table("  ", []string{"ISSUER", "STATE", "AGE", "ENDS IN", "NEXT", "CRL"}, rows)
	}
	p.line("  certificates that are good: %d; revoked: %d", a.Live, a.Revoked)
}

// made is when an issuer was made, as well as that is known.
func made(i ruche.IssuerStatus) time.Time {
	if i.Made.IsZero() {
		return i.NotBefore
	}
	return i.Made
}

func left(end, now time.Time) string {
	if !now.Before(end) {
		return "ENDED"
	}
	return age(end.Sub(now))
}

// turn tells when an issuer's successor signs, or when a next one does itself.
func turn(i ruche.IssuerStatus, now time.Time) string {
	switch {
	case i.Turn.IsZero():
		return "-"
	case !now.Before(i.Turn):
		return "due"
	case i.State == ruche.IssuerNext:
		return "signs in " + age(i.Turn.Sub(now))
	}
	return "in " + age(i.Turn.Sub(now))
}

func crlAge(i ruche.IssuerStatus, now time.Time) string {
	switch {
	case i.CRL.IsZero():
		return "-"
	case !now.Before(i.CRLUntil):
		return "ENDED " + age(now.Sub(i.CRLUntil)) + " ago"
	}
	return age(now.Sub(i.CRL)) + " old"
}

// Issued writes certificates as a table, the newest first.
func Issued(w io.Writer, list ruche.IssuedList, now time.Time) error {
	p := &printer{w: w}
	if len(list.Certificates) == 0 {
		p.line("No such certificate was issued, or it has ended long ago.")
		return p.err
	}
	rows := make([][]string, 0, len(list.Certificates))
	for _, c := range list.Certificates {
		state := left(c.NotAfter, now)
		if c.Revoked != nil {
			state = "REVOKED " + age(now.Sub(c.Revoked.At)) + " ago"
		} else if !c.Replace.IsZero() {
			state += ", replace"
		}
		rows = append(rows, []string{c.Serial, nameOf(c), c.Profile, state, orNone(c.Requester, "-"), c.Issued.UTC().Format(time.RFC3339)})
	}
	p.table("", []string{"SERIAL", "NAMES", "PROFILE", "ENDS IN", "FOR", "ISSUED"}, rows)
	return p.err
}

// nameOf names a certificate in few words.
func nameOf(c ruche.IssuedCertificate) string {
	const shown = 3 // a hundred names must not make the table unreadable
	switch {
	case len(c.Names) == 0:
		return c.Subject
	case len(c.Names) > shown:
		return strings.Join(c.Names[:shown-1], ", ") + fmt.Sprintf(" and %d more", len(c.Names)-shown+1)
	}
	return strings.Join(c.Names, ", ")
}

// ACMEKeys writes external account keys as a table, the oldest first.
func ACMEKeys(w io.Writer, list ruche.ACMEKeyList, now time.Time) error {
	p := &printer{w: w}
	if len(list.Keys) == 0 {
		p.line("There is no external account key. \"ruche ca eab add --names PATTERN\" makes one.")
		return p.err
	}
	rows := make([][]string, 0, len(list.Keys))
	for _, k := range list.Keys {
		end := "-"
		if !k.Expires.IsZero() {
			end = left(k.Expires, now)
		}
		rows = append(rows, []string{k.ID, strings.Join(k.Names, ", "), orNone(strings.Join(k.Profiles, ", "), "all"), age(now.Sub(k.Created)), end, orNone(k.Comment, "-")})
	}
	p.table("", []string{"ID", "NAMES", "PROFILES", "AGE", "ENDS IN", "COMMENT"}, rows)
	return p.err
}
