package inventory

import (
	"fmt"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/certs/vault"
)

// checkStored is the check of a look at a server that holds what it shows against what is stored.
const checkStored = "stored"

// Compare holds what a server shows against the certificates of a list that have the name which it was asked for. ok is false where there are none, or nothing was shown: then there
// is nothing to say.
func Compare(list ruche.CertificateList, c ruche.CertificateCheck) (f ruche.Finding, ok bool) {
	name := c.Target.ServerName
	if len(c.Chain) == 0 {
		return f, false
	}
	f = ruche.Finding{Check: checkStored, Level: ruche.LevelOK, Subject: name}
	shown := c.Chain[0]
	var best *ruche.CertificateInfo
	for i := range list.Certificates {
		info := &list.Certificates[i]
		if info.Fingerprint == "" || !vault.CoversAll(info.Names, []string{name}) {
			continue
		}
		good := info.State != ruche.CertificateRetired && info.State != ruche.CertificateRevoked // else it is not to be served
		if good && info.Fingerprint == shown.Fingerprint {
			f.Message = "what is served is what is stored: " + info.ID
			return f, true
		}
		if good && (best == nil || info.NotAfter.After(best.NotAfter)) {
			best = info
		}
	}
	if best == nil {
		return f, false
	}
	f.Level = ruche.LevelWarning
	f.Message = fmt.Sprintf("what is served is not what is stored: served is %s of %s, until %s; stored is %s (%s), until %s%s",
		print8(shown.Fingerprint), shown.Issuer, shown.NotAfter.UTC().Format(time.RFC3339), print8(best.Fingerprint), best.ID, best.NotAfter.UTC().Format(time.RFC3339), servedAs(list, name))
	f.Hint = "the name may lead to another server, or something in front may end TLS: look at the edges one by one with --address IP:PORT; ruche explain https://" + name + "/ there says what they serve, and why"
	return f, true
}

// print8 gives enough of a fingerprint to tell two apart.
func print8(fingerprint string) string {
	return "SHA-256 " + fingerprint[:min(8, len(fingerprint))] + "…"
}

// servedAs adds what the edges say they serve a name with.
func servedAs(list ruche.CertificateList, name string) string {
	for _, n := range list.Names {
		switch {
		case n.Name != name || n.Kind == ruche.CertificateForeign || n.Kind == ruche.CertificateNone:
		case n.Kind == ruche.CertificateSelfSigned:
			return "; the edges say that they serve a self-signed one"
		case n.Fingerprint != "":
			return "; the edges say that they serve " + print8(n.Fingerprint)
		}
	}
	return ""
}
