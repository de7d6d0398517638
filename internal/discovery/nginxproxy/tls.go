package nginxproxy

import (
	"slices"
	"strings"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/discovery/setting"
	"github.com/ruche-project/ruche/internal/strictyaml"
)

const verifyLabel = labelPrefix + "ssl_verify_client"

// readVerify reads what is wanted of clients' certificates, which the files beside the certificates verify. What is not known may be a misspelt wish to
// close the site, so it does.
func (r *reader) readVerify(route *ruche.Route) {
	value := strings.TrimSpace(r.c.Labels[verifyLabel])
	switch value {
	case "":
	case "on":
		route.ClientAuth = &ruche.ClientAuth{Mode: ruche.ClientAuthRequire}
	case "optional":
		route.ClientAuth = &ruche.ClientAuth{Mode: ruche.ClientAuthOptional}
	case "optional_no_ca":
		route.ClientAuth = &ruche.ClientAuth{Mode: ruche.ClientAuthRequest}
	case "off":
		route.ClientAuth = &ruche.ClientAuth{Mode: ruche.ClientAuthOff}
	default:
		route.ClientAuth = &ruche.ClientAuth{Mode: ruche.ClientAuthRequire}
		r.add(ruche.CodeValueInvalid, ruche.SeverityWarning, verifyLabel, "write on, off, optional or optional_no_ca",
			"value %s is not known; clients must show a certificate, as with on", quote(value))
	}
}

// readHSTS reads the value of Strict-Transport-Security. One that browsers would ignore is not sent.
func (r *reader) readHSTS(route *ruche.Route) {
	const key = "HSTS"
	value := r.value(key)
	if strings.EqualFold(value, ruche.HSTSOff) {
		value = ruche.HSTSOff
	}
	if value == "" {
		return
	}
	if p := setting.HSTS(value); p != nil {
		r.add(ruche.CodeValueInvalid, ruche.SeverityWarning, key, p.Hint, "%s; no Strict-Transport-Security is sent", p.Message)
		value = ruche.HSTSOff
	}
	route.HSTS = value
}

// policy is what one of nginx-proxy's policies permits.
type policy struct {
	minimum string // the oldest version of TLS
	old     bool   // older ones, too
}

func policies() map[string]policy {
	modern, strict, old := policy{ruche.MinTLS13, false}, policy{ruche.MinTLS12, false}, policy{ruche.MinTLS12, true}
	return map[string]policy{
		"Mozilla-Modern": modern, "AWS-TLS13-1-3-2021-06": modern,
		"Mozilla-Intermediate": strict, "AWS-TLS13-1-2-2021-06": strict, "AWS-TLS13-1-2-Res-2021-06": strict, "AWS-TLS13-1-2-Ext1-2021-06": strict,
		"AWS-TLS13-1-2-Ext2-2021-06": strict, "AWS-FS-1-2-Res-2020-10": strict, "AWS-FS-1-2-Res-2019-08": strict, "AWS-FS-1-2-2019-08": strict,
		"AWS-TLS-1-2-Ext-2018-06": strict, "AWS-TLS-1-2-2017-01": strict,
		"Mozilla-Old": old, "AWS-TLS13-1-1-2021-06": old, "AWS-TLS13-1-0-2021-06": old, "AWS-FS-1-1-2019-08": old, "AWS-FS-2018-06": old,
		"AWS-TLS-1-1-2017-01": old, "AWS-2016-08": old, "AWS-2015-05": old, "AWS-2015-03": old, "AWS-2015-02": old,
	}
}

// readPolicy reads which versions of TLS clients may speak. The suites are the same for all.
func (r *reader) readPolicy(route *ruche.Route) {
	const key = "SSL_POLICY"
	value := r.value(key)
	if value == "" {
		return
	}
	all := policies()
	p, known := all[value]
	switch {
	case !known:
		names := make([]string, 0, len(all))
		for name := range all {
			names = append(names, name)
		}
		slices.Sort(names)
		r.add(ruche.CodeValueInvalid, ruche.SeverityWarning, key, strictyaml.DidYouMean(value, names),
			"policy %s is not known; the versions of TLS that this Ruche offers are in force (--tls-min-version)", quote(value))
		return
	case p.old:
		r.add(ruche.CodeKeyUnsupported, ruche.SeverityWarning, key, "clients that speak no TLS 1.2 need a proxy of their own in front",
			"policy %s permits TLS 1.0 or 1.1, which are not offered (RFC 8996); TLS 1.2 and 1.3 are", quote(value))
	}
	route.MinTLS = p.minimum
}
