package daemon

import (
	"slices"
	"strings"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/certs/vault"
)

// detailedNames is for how many names at most an edge tells all that it knows of their files: with more a row would be larger than the state takes.
const detailedNames = 2000

// serving is what a host is served with, as edges tell it.
func serving(host string, st ruche.CertificateStatus, detailed bool) vault.Serving {
	s := vault.Serving{Kind: st.Kind, Fingerprint: st.Fingerprint, NotAfter: st.NotAfter, File: st.File, Stopgap: stopgap(host, st)}
	if st.Kind != ruche.CertificateFile {
		return s
	}
	s.NotBefore = st.NotBefore
	if !s.Stopgap {
		s.Unfit = unfit(host, st.Names)
	}
	if detailed {
		s.Issuer, s.KeyType, s.Serial = st.CA, st.KeyType, st.Serial
	}
	return s
}

// unfit says what a certificate is for when it is not for the host; empty when it is.
func unfit(host string, names []string) string {
	const most = 2 // it is told for each host
	lower := make([]string, len(names))
	for i, n := range names {
		lower[i] = strings.ToLower(n)
	}
	switch {
	case vault.CoversAll(lower, []string{strings.ToLower(strings.Trim(host, "[]"))}):
		return ""
	case len(names) == 0: // clients have not looked at the common name for long
		return "no name"
	case len(names) > most:
		return strings.Join(append(slices.Clone(lower[:most]), "others"), ", ")
	}
	return strings.Join(lower, ", ")
}
