package nginxproxy

import (
	"maps"
	"slices"
	"strings"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/strictyaml"
)

// unsupportedCompanion are the variables of acme-companion that are known and not read.
func unsupportedCompanion() map[string]effect {
	hook := effect{ruche.SeverityWarning, "no commands are run before or after a certificate is issued", "remove it; what is behind Ruche need not know of its certificates"}
	return map[string]effect{
		acmeRestart: {ruche.SeverityWarning, "no container is restarted when its certificate is renewed",
			"remove it; Ruche serves the new certificate at once, without a restart"},
		"ACME_PRE_HOOK": hook, "ACME_POST_HOOK": hook,
		"ACME_OCSP": {ruche.SeverityInfo, "certificates that must be stapled are not asked for: CAs have given up OCSP, and refuse them", ""},
		"ZEROSSL_API_KEY": {ruche.SeverityWarning, "accounts at ZeroSSL are not made by its API",
			"make EAB credentials in ZeroSSL's dashboard, and set " + acmeEABID + " and " + acmeEABKey},
	}
}

// checkCompanion reports what goes with ACME_HOST and is not read. Variables of an application may begin with ACME_ too, so an unknown one is
// reported only where it looks like a misspelling.
func (r *reader) checkCompanion() {
	unsupported := unsupportedCompanion()
	known := slices.Concat(acmeVariables(), slices.Sorted(maps.Keys(unsupported)), []string{"ACME_HTTP_CHALLENGE_LOCATION"})
	for _, key := range slices.Clone(known) {
		if former := formerName(key); former != "" {
			known = append(known, former)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(r.c.Env)) {
		if !r.declares(key) {
			continue
		}
		name := key
		if key == formerName(acmeRestart) {
			name = acmeRestart
		}
		e, reported := unsupported[name]
		switch {
		case reported && strings.EqualFold(r.value(key), "false"):
		case reported:
			r.add(ruche.CodeKeyUnsupported, e.severity, key, e.hint, "%s", e.message)
		case slices.Contains(known, key) || !strings.HasPrefix(key, "ACME_") && !strings.HasPrefix(key, "ACMESH_") && !strings.HasPrefix(key, "LETSENCRYPT_"):
		default:
			missing := slices.DeleteFunc(slices.Clone(known), r.declares)
			if hint := strictyaml.DidYouMean(key, missing); hint != "" {
				r.add(ruche.CodeKeyUnknown, ruche.SeverityWarning, clip(key), hint, "variable %s is not known; it is ignored", quote(key))
			}
		}
	}
}

// checkWithoutHost reports variables that say how a certificate is to be, where none is asked for. They may belong to the application, so this is asked only of containers that
// want to be published.
func (r *reader) checkWithoutHost() {
	if !r.declares("VIRTUAL_HOST") {
		return
	}
	for _, key := range acmeVariables()[1:] {
		for _, name := range []string{key, formerName(key)} {
			if r.declares(name) {
				r.add(ruche.CodeKeyUnsupported, ruche.SeverityInfo, name, "set "+acmeHost+" to the names of the certificate", "%s has no effect without %s", name, acmeHost)
			}
		}
	}
}
