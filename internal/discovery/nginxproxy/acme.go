package nginxproxy

import (
	"encoding/base64"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/discovery/setting"
	"github.com/ruche-project/ruche/internal/strictyaml"
)

// The variables of acme-companion. Those that had another name before are read by both.
const (
	acmeHost      = "ACME_HOST"
	acmeEmail     = "ACME_EMAIL"
	acmeSingle    = "ACME_SINGLE_DOMAIN_CERTS"
	acmeKeySize   = "ACME_KEYSIZE"
	acmeDirectory = "ACME_CA_URI"
	acmeTest      = "LETSENCRYPT_TEST"
	acmeChallenge = "ACME_CHALLENGE"
	acmeDNS       = "ACMESH_DNS_API_CONFIG"
	acmeProfile   = "ACME_CERT_PROFILE"
	acmeRenew     = "ACME_RENEW_AFTER"
	acmeNewKeys   = "ACME_RENEW_PRIVATE_KEYS"
	acmeEABID     = "ACME_EAB_KID"
	acmeEABKey    = "ACME_EAB_HMAC_KEY"
	acmeChain     = "ACME_PREFERRED_CHAIN"
	acmeRestart   = "ACME_RESTART_CONTAINER"
)

// acmeVariables are those that say something about a certificate that ACME_HOST asks for.
func acmeVariables() []string {
	return []string{acmeHost, acmeEmail, acmeSingle, acmeKeySize, acmeDirectory, acmeTest, acmeChallenge, acmeDNS, acmeProfile, acmeRenew, acmeNewKeys, acmeEABID, acmeEABKey, acmeChain}
}

// formerName gives the name that a variable had before; "" for the others.
func formerName(key string) string {
	switch key {
	case acmeHost, acmeEmail, acmeSingle, acmeKeySize, acmeRestart:
		return "LETSENCRYPT_" + strings.TrimPrefix(key, "ACME_")
	}
	return ""
}

// readCertificates gives the certificates that ACME_HOST asks for: one for the whole list, or one for each name.
func (r *reader) readCertificates() []ruche.CertificateSpec {
	key, list := r.named(acmeHost)
	if list == "" {
		r.checkWithoutHost()
		return nil
	}
	r.checkCompanion()
	single := r.truth(acmeSingle, false)
	most := setting.MaxNames
	if single {
		most = 0
	}
	names, problems := setting.Names(listed(list), most)
	for _, p := range problems {
		r.add(ruche.CodeHostInvalid, p.Severity, key, p.Hint, "%s", p.Message)
		r.diagnostics[len(r.diagnostics)-1].Host = clip(p.Name)
	}
	spec := ruche.CertificateSpec{Source: source(key)}
	if usable := r.readSpec(&spec); !usable || len(names) == 0 {
		return nil
	}
	if !single {
		spec.Names = names
		r.checkProvable(&spec)
		return []ruche.CertificateSpec{spec}
	}
	specs := make([]ruche.CertificateSpec, 0, len(names))
	for _, name := range names {
		spec.Names = []string{name}
		r.checkProvable(&spec)
		specs = append(specs, spec)
	}
	return specs
}

func (r *reader) checkProvable(spec *ruche.CertificateSpec) {
	if p := setting.Provable(spec); p != nil {
		r.add(ruche.CodeValueInvalid, ruche.SeverityWarning, acmeChallenge, p.Hint, "%s", p.Message)
	}
}

// listed takes a list apart and drops what is empty.
func listed(list string) []string {
	var found []string
	for item := range strings.SplitSeq(list, ",") {
		if item = strings.TrimSpace(item); item != "" {
			found = append(found, item)
		}
	}
	return found
}

// named gives the value of a variable, and the name under which it was found: the one of today wins over the former.
func (r *reader) named(key string) (found, value string) {
	former := formerName(key)
	value, old := r.value(key), ""
	if former != "" {
		old = r.value(former)
	}
	switch {
	case value == "" && old != "":
		return former, old
	case old != "" && old != value:
		r.add(ruche.CodeValueInvalid, ruche.SeverityInfo, former, "remove one of the two", "%s says otherwise and counts", key)
	}
	return key, value
}

// truth reads a variable that is true or false.
func (r *reader) truth(key string, otherwise bool) bool {
	found, value := r.named(key)
	switch strings.ToLower(value) {
	case "":
	case "true":
		return true
	case "false":
		return false
	default:
		r.add(ruche.CodeValueInvalid, ruche.SeverityWarning, found, "write true or false", "%s is neither true nor false; it counts as %v", quote(value), otherwise)
	}
	return otherwise
}

// readSpec reads what all certificates of the container have in common. It reports false where the CA that is to issue them cannot be known.
func (r *reader) readSpec(spec *ruche.CertificateSpec) (usable bool) {
	usable = r.readDirectory(spec)
	r.readKeySize(spec)
	r.readRenewal(spec)
	r.readExternalAccount(spec)
	r.readDNS(spec)
	if key, email := r.named(acmeEmail); email != "" {
		if strings.Count(email, "@") == 1 && !strings.ContainsAny(email, " ,;<>") {
			spec.Email = email
		} else {
			r.add(ruche.CodeValueInvalid, ruche.SeverityWarning, key, "write for example admin@shop.example", "%s is not an e-mail address; the one of --acme-email is used", quote(email))
		}
	}
	challenge, p := setting.Challenge(r.value(acmeChallenge))
	if p != nil {
		r.add(ruche.CodeValueInvalid, ruche.SeverityWarning, acmeChallenge, "write HTTP-01 or DNS-01", "%s; what the issuer prefers is used", p.Message)
	}
	spec.Challenge, spec.PreferredChain = challenge, r.value(acmeChain)
	if profile := r.value(acmeProfile); profile != "" {
		if p := setting.Word("profile", profile); p != nil {
			r.add(ruche.CodeValueInvalid, ruche.SeverityWarning, acmeProfile, "write a profile of the CA, such as shortlived", "%s; the CA's default is used", p.Message)
		} else {
			spec.Profile = profile
		}
	}
	return usable
}

// readDirectory reads which CA is asked; as with the companion, a test goes to the one of Let's Encrypt whatever else is said.
func (r *reader) readDirectory(spec *ruche.CertificateSpec) bool {
	if r.truth(acmeTest, false) {
		spec.Directory = ruche.LetsEncryptStaging
		return true
	}
	directory := r.value(acmeDirectory)
	if directory == "" {
		return true
	}
	u, err := url.Parse(directory)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil {
		shown := quote(directory)
		if strings.Contains(directory, "@") {
			shown = "what is given, with a user name," // and perhaps a password
		}
		r.add(ruche.CodeValueInvalid, ruche.SeverityError, acmeDirectory, "write the URL of the CA's directory, such as "+ruche.LetsEncrypt,
			"%s is not the URL of a CA's directory; no certificate is requested for this container", shown)
		return false
	}
	spec.Directory = directory
	return true
}

func (r *reader) readKeySize(spec *ruche.CertificateSpec) {
	key, size := r.named(acmeKeySize)
	nearest := ruche.KeyType("")
	switch strings.ToLower(size) {
	case "":
	case "2048":
		spec.KeyType = ruche.KeyRSA2048
	case "3072":
		spec.KeyType = ruche.KeyRSA3072
	case "4096":
		spec.KeyType = ruche.KeyRSA4096
	case "ec-256":
		spec.KeyType = ruche.KeyP256
	case "ec-384":
		spec.KeyType = ruche.KeyP384
	case "8192":
		nearest = ruche.KeyRSA4096
	case "ec-521":
		nearest = ruche.KeyP384
	default:
		r.add(ruche.CodeValueInvalid, ruche.SeverityWarning, key, "write 2048, 3072, 4096, ec-256 or ec-384", "key size %s is not known; the issuer's is used", quote(size))
	}
	if nearest != "" {
		spec.KeyType = nearest
		r.add(ruche.CodeKeyUnsupported, ruche.SeverityWarning, key, "write "+map[ruche.KeyType]string{ruche.KeyRSA4096: "4096", ruche.KeyP384: "ec-384"}[nearest],
			"public CAs take no keys of %s; %s is used, which is the nearest", size, nearest)
	}
}

func (r *reader) readRenewal(spec *ruche.CertificateSpec) {
	const most = 3650
	spec.ReuseKey = !r.truth(acmeNewKeys, true)
	after := r.value(acmeRenew)
	if after == "" {
		return
	}
	days, err := strconv.Atoi(after)
	if err != nil || days < 1 || days > most {
		r.add(ruche.CodeValueInvalid, ruche.SeverityWarning, acmeRenew, "write a number of days after the issue, or remove it: certificates are renewed in time by themselves",
			"%s is not a number of days from 1 to %d; renewal goes by Ruche's own plan", quote(after), most)
		return
	}
	spec.RenewAfter = time.Duration(days) * 24 * time.Hour
}

// readExternalAccount reads key and key ID. What is wrong with the key is told without it: it is a secret.
func (r *reader) readExternalAccount(spec *ruche.CertificateSpec) {
	id, key := r.value(acmeEABID), strings.TrimRight(r.value(acmeEABKey), "=")
	switch {
	case id == "" && key == "":
		return
	case id == "" || key == "":
		r.add(ruche.CodeValueInvalid, ruche.SeverityWarning, acmeEABID, "set "+acmeEABID+" and "+acmeEABKey, "of key and key ID of the external account one is missing; neither is used")
		return
	}
	if _, err := base64.RawURLEncoding.DecodeString(key); err != nil {
		r.add(ruche.CodeValueInvalid, ruche.SeverityWarning, acmeEABKey, "copy it as the CA shows it, without quotes", "the key of the external account is not base64url; it is not used")
		return
	}
	spec.EAB = &ruche.ExternalAccount{KeyID: id, Key: key}
}

// readDNS reads how the companion would have acme.sh write records. Secrets are among the settings, so nothing of them is shown.
func (r *reader) readDNS(spec *ruche.CertificateSpec) {
	const api, sleep, example = "DNS_API", "DNS_SLEEP", `write for example {"DNS_API": "dns_cf", "CF_Token": "..."}`
	written := r.c.Env[acmeDNS] // as it is: blanks at the beginning of a line have a meaning
	if strings.TrimSpace(written) == "" {
		return
	}
	bad := func(hint, format string, args ...any) {
		r.add(ruche.CodeValueInvalid, ruche.SeverityWarning, acmeDNS, hint, format+"; it is not used", args...)
	}
	var vars map[string]string
	if err := strictyaml.Decode(acmeDNS, []byte(written), &vars); err != nil {
		line := 1
		if all := strictyaml.All(err); len(all) > 0 {
			line = max(line, all[0].Line)
		}
		bad(example+"; quote values such as true", "line %d of it is not understood as YAML or JSON with names and texts", line)
		return
	}
	provider := &ruche.DNSProvider{Name: vars[api]}
	if !regexp.MustCompile(`^dns_[a-z0-9_]{1,60}$`).MatchString(provider.Name) {
		bad(example, "it names no DNS provider of acme.sh under "+api)
		return
	}
	if wait, given := vars[sleep]; given {
		seconds, err := strconv.Atoi(wait)
		if err != nil || seconds < 0 || seconds > 3600 {
			bad("write a number of seconds, or leave it out: records are looked for before the CA is asked", sleep+" is not a number of seconds from 0 to 3600")
			return
		}
		provider.Wait = time.Duration(seconds) * time.Second
	}
	delete(vars, api)
	delete(vars, sleep)
	provider.Settings = vars
	spec.DNS = provider
}
