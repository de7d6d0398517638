package inventory

import (
	"crypto/x509"
	"fmt"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/certs/vault"
)

// wishes adds what somebody has asked for and what is not done yet. What was issued after it was asked for is done, and of what nobody wants none is made.
func (l *lister) wishes(info *ruche.CertificateInfo, s vault.State) {
	revoked := false // Revoke asks for a successor as well
	for _, r := range s.Revoke {
		serial := "unknown"
		if cert, err := x509.ParseCertificate(r.Certificate); err == nil {
			serial = fmt.Sprintf("%x", cert.SerialNumber)
		}
		info.Revocations = append(info.Revocations, ruche.PendingRevocation{Serial: serial, At: r.Asked, Reason: reasonName(r.Reason), LastError: r.LastError})
		revoked = revoked || r.Asked.Equal(s.Asked)
	}
	if _, wanted := l.in.Wants[info.ID]; !wanted || !s.Asked.After(info.Issued) {
		return
	}
	info.Asked, info.AskedReason = s.Asked, s.Reason
	switch {
	case revoked:
		info.AskedReason = "it is to be revoked"
	case !info.Withdrawn.IsZero() && s.Reason == vault.ReasonKeyCompromise:
		info.AskedReason = "its CA has revoked it"
	}
}

// reasonName is the name of a revocation's reason (RFC 5280 section 5.3.1), as far as CAs take it from subscribers.
func reasonName(code int) string {
	switch code {
	case 0:
		return "unspecified"
	case 1:
		return "keyCompromise"
	case 4:
		return "superseded"
	case 5:
		return "cessationOfOperation"
	}
	return fmt.Sprint("reason ", code)
}
