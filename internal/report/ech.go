package report

import (
	"io"
	"time"

	"github.com/ruche-project/ruche"
)

// ECH writes which DNS records hide the names of sites, as lines of a zone file, and what DNS has of them. now is what ages are counted from.
func ECH(w io.Writer, s ruche.ECHStatus, now time.Time) error {
	p := &printer{w: w}
	if s.PublicName == "" {
		p.line("Encrypted Client Hello is off (--ech-public-name switches it on).")
		return p.err
	}
	p.line("; Clients ask openly for %s instead. The key is %s old, the next one follows in %s.", s.PublicName, age(now.Sub(s.Rotated)), age(s.Next.Sub(now)))
	missing := 0
	for _, r := range s.Records {
		switch r.Published {
		case ruche.ECHCurrent:
			p.line("%s ; in DNS", r.Record)
			continue
		case ruche.ECHOutdated:
			p.line("%s ; DNS has an older key, which is still taken", r.Record)
		case ruche.ECHForeign:
			p.line("%s ; DNS has a key that is not taken: clients need a second handshake", r.Record)
		case ruche.ECHUnknown:
			p.line("%s ; DNS does not tell: %s", r.Record, r.Problem)
		default:
			p.line("%s ; not in DNS", r.Record)
		}
		missing++
	}
	switch {
	case len(s.Records) == 0:
		p.line("; No name is published by HTTPS.")
	case missing > 0:
		p.line("; %d of %d names are not known to have it. Ruche writes none of them: put them into the zones.", missing, len(s.Records))
	default:
		p.line("; All %d names have it.", len(s.Records))
	}
	return p.err
}
