package discovery

import (
	"strconv"
	"strings"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/discovery/setting"
	"github.com/ruche-project/ruche/internal/strictyaml"
)

// readCertificate takes a certificate over that no route needs, and reports whether it can be used. Which one of the last version it is tells its first name.
func (f *fileReader) readCertificate(item strictyaml.Item) bool {
	var written writtenCertificate
	source := f.name + ":" + strconv.Itoa(item.Line)
	var list []ruche.Diagnostic
	if err := item.Decode(&written); err != nil {
		list = mistakes(f.name, err)
	}
	spec, dropped, problems := written.read()
	if len(list) == 0 {
		if len(written.Names) == 0 {
			problems.add("names: [mail.example]", "the certificate has no names")
		}
		for _, p := range problems {
			list = append(list, ruche.Diagnostic{Source: source, Message: p.Message, Hint: p.Hint})
		}
	}
	first := firstName(spec)
	if len(list) > 0 {
		f.badCertificates = append(f.badCertificates, badCertificate{first, list})
		return false
	}
	if line, twice := f.named[first]; twice {
		f.say(ruche.SeverityError, source, first, "list all names in one of the two", "a certificate whose first name is %s is declared in line %d already; this one is not used", first, line)
		return false
	}
	f.drop(source, dropped)
	spec.Source = source
	f.named[first] = item.Line
	f.certificates = append(f.certificates, spec)
	return true
}

// badCertificate is an item that cannot be used; name is its first one, empty when it is not known.
type badCertificate struct {
	name string
	list []ruche.Diagnostic
}

// keepBadCertificates lets the last good version of each bad certificate stand, where it can be told which one that is.
func (f *fileReader) keepBadCertificates() {
	for _, bad := range f.badCertificates {
		stands := "this certificate is not requested"
		for _, old := range f.last.certificates {
			if firstName(old) == bad.name && f.keepCertificate(old) {
				stands = "the last good version of this certificate stands"
			}
		}
		for _, d := range bad.list {
			f.say(ruche.SeverityError, d.Source, bad.name, d.Hint, "%s; %s", d.Message, stands)
		}
	}
}

// keepCertificate lets a certificate of the last version stand that goes with no route, and reports whether it was not there yet.
func (f *fileReader) keepCertificate(old ruche.CertificateSpec) bool {
	name := firstName(old)
	if _, declared := f.named[name]; declared || name == "" || f.routeOf(old) != "" {
		return false
	}
	f.named[name] = 0
	f.certificates = append(f.certificates, old)
	return true
}

// firstName is the name that tells certificates of a file apart.
func firstName(spec ruche.CertificateSpec) string {
	if len(spec.Names) == 0 {
		return ""
	}
	return spec.Names[0]
}

// drop reports the names that are left out of a certificate.
func (f *fileReader) drop(source string, dropped []setting.NameProblem) {
	for _, p := range dropped {
		f.say(p.Severity, source, strings.Trim(setting.Quote(p.Name), `"`), p.Hint, "names: %s", p.Message)
	}
}
