package report

import (
	"cmp"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/ruche-project/ruche"
)

// touching gives the warnings that are about what an explanation explains: its name and certificate, who is to issue that, what declares it, and this edge as a whole. others counts
// the rest.
func touching(e ruche.Explanation) (about []ruche.Warning, others int) {
	if e.Elsewhere != nil {
		return e.Warnings, 0 // which are all that such a node can say
	}
	words := wordsOf(e)
	for _, w := range e.Warnings {
		if touchesAll(w.Code, e) || words.MatchString(strings.ToLower(w.Subject+"\n"+w.Message)) || namesFile(w, e.Certificate) {
			about = append(about, w)
		}
	}
	return about, len(e.Warnings) - len(about)
}

// touchesAll reports whether warnings of a code are about every name, or about every one that is declared or certified in the way of this one.
func touchesAll(code ruche.Code, e ruche.Explanation) bool {
	switch code {
	case ruche.CodeClusterUnavailable, ruche.CodeControlUnreachable, ruche.CodeIdentityUnavailable, ruche.CodeConnectionsLimited, ruche.CodeCertsDirUnreadable:
		return true
	case ruche.CodeDockerUnreachable, ruche.CodeSwarmUnavailable:
		return e.Route == nil || slices.ContainsFunc(e.Route.Sources, func(s ruche.RouteSource) bool { return s.WorkloadKind != ruche.KindFile })
	case ruche.CodeRoutesDirUnreadable:
		return e.Route == nil || slices.ContainsFunc(e.Route.Sources, func(s ruche.RouteSource) bool { return s.WorkloadKind == ruche.KindFile })
	case ruche.CodeIssuerUnreachable, ruche.CodeAccountInvalid, ruche.CodeClockWrong: // which issuer a name has is not known at an edge
		return e.Route != nil && slices.Contains([]ruche.CertificateKind{ruche.CertificateACME, ruche.CertificateImported, ruche.CertificateSelfSigned}, e.Certificate.Kind)
	case ruche.CodeCARotationOverdue, ruche.CodeCAParentDue, ruche.CodeCACRLStale, ruche.CodeCAKeyUnreadable:
		return e.Certificate.Kind == ruche.CertificateInternal
	}
	return false
}

// wordsOf matches texts, in lower case, that name what is explained: its host, those that the route and the certificate have besides, and what declares it. Certificates are called
// by their first name and 10 digits, files by a host and an ending.
func wordsOf(e ruche.Explanation) *regexp.Regexp {
	host := cmp.Or(hostOf(e.URL), "-")
	names := append([]string{host}, e.Certificate.Names...)
	if _, parent, ok := strings.Cut(host, "."); ok {
		names = append(names, "*."+parent)
	}
	if e.Route != nil {
		names = append(names, e.Route.Hosts...)
		for _, s := range e.Route.Sources {
			place := s.Source // with its line: a file may have hundreds of routes
			if s.WorkloadKind != ruche.KindFile {
				place = string(s.WorkloadKind) + " " + s.Workload
			}
			names = append(names, place)
		}
	}
	var words []string
	for _, n := range names {
		if n = strings.ToLower(n); n != "" {
			words = append(words, regexp.QuoteMeta(n), regexp.QuoteMeta(strings.Replace(n, "*", "wildcard", 1)))
		}
	}
	return regexp.MustCompile(`(^|[^a-z0-9.*-])(` + strings.Join(words, "|") + `)(-[0-9a-f]{10}|\.(crt|key|ca\.crt|crl\.pem))?\.?($|[^a-z0-9.-])`)
}

// hostOf gives the host of a URL, or of tcp://HOST@ENTRYPOINT.
func hostOf(url string) string {
	_, rest, _ := strings.Cut(url, "://")
	if i := strings.IndexAny(rest, "/?"); i >= 0 {
		rest = rest[:i]
	}
	rest, _, _ = strings.Cut(rest, "@")
	return strings.Trim(rest, "[]")
}

// namesFile reports whether a warning is about a file that a certificate is of, or was looked for in.
func namesFile(w ruche.Warning, c ruche.CertificateStatus) bool {
	if !strings.HasPrefix(w.Subject, "/") {
		return false
	}
	return w.Subject == c.File || strings.Contains(" "+c.Reason+" ", " "+path.Base(w.Subject)+" ") || strings.Contains(c.Reason, " "+path.Base(w.Subject)+",")
}

// most is how many warnings of one code are listed where all would bury the rest.
const most = 3

// fewWarnings writes warnings, of each code the first ones.
func (p *printer) fewWarnings(list []ruche.Warning) {
	count := map[ruche.Code]int{}
	p.warnings(slices.DeleteFunc(slices.Clone(list), func(w ruche.Warning) bool {
		count[w.Code]++
		return count[w.Code] > most
	}))
	for _, code := range slices.Sorted(maps.Keys(count)) {
		if more := count[code] - most; more > 0 {
			p.line("  and %d more [%s]: --output json has all of them", more, code)
		}
	}
}

// otherWarnings says how many there are that are about something else.
func (p *printer) otherWarnings(n int) {
	switch n {
	case 0:
		return
	case 1:
		p.line("")
		p.line(`Another health warning stands, which is not about this: "ruche routes" has it.`)
	default:
		p.line("")
		p.line(`%d other health warnings stand, which are not about this: "ruche routes" has them.`, n)
	}
}
