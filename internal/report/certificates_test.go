package report_test

import (
	"time"

	"github.com/ruche-project/ruche"
)

const day = 24 * time.Hour

// inventory has a certificate in each state.
func inventory() ruche.CertificateList {
	base := ruche.CertificateInfo{
		ID: "shop.example-0011223344", Kind: ruche.CertificateACME, State: ruche.CertificateValid, Names: []string{"shop.example", "www.shop.example", "m.shop.example"},
		Source: "service shop, env ACME_HOST", Issuer: "default", Directory: "https://ca.example/directory", CA: "R11", Profile: "classic", KeyType: "ECDSA P-256",
		Serial: "4f0a", Fingerprint: "00ff", NotBefore: now().Add(-10 * day), NotAfter: now().Add(80 * day), Issued: now().Add(-10 * day), Due: now().Add(50 * day),
		Wanted: true, WindowStart: now().Add(49 * day), WindowEnd: now().Add(51 * day), ServedBy: []string{"n1-edge", "n2-edge"},
	}
	failing := ruche.CertificateInfo{
		ID: "blog.example-5566778899", Kind: ruche.CertificateNone, State: ruche.CertificateFailing, Names: []string{"blog.example"}, Source: "container blog, env VIRTUAL_HOST", Issuer: "default", Wanted: true,
		Failures: 3, LastError: "the CA cannot reach blog.example: connection refused", NextTry: now().Add(40 * time.Minute),
	}
	due := base
	due.ID, due.Names, due.State, due.Due, due.NotAfter = "due.example-0000000001", []string{"due.example"}, ruche.CertificateDue, now().Add(-3*time.Hour), now().Add(20*day)
	due.Problems = []string{"edge n3-edge serves due.example with another one (self-signed), which is worse"}
	file := ruche.CertificateInfo{
		ID: "file:/etc/nginx/certs/intra.example.crt@n1-edge", Kind: ruche.CertificateFile, State: ruche.CertificateExpired, Names: []string{"intra.example"},
		Source: "file /etc/nginx/certs/intra.example.crt", NotAfter: now().Add(-2 * day), ServedBy: []string{"n1-edge"},
	}
	unfit := ruche.CertificateInfo{
		ID: "file:/etc/nginx/certs/www.shop.test.crt@n1-edge", Kind: ruche.CertificateFile, State: ruche.CertificateFailing, Names: []string{"www.shop.test"},
		Source: "file /etc/nginx/certs/www.shop.test.crt", CA: "Their CA", KeyType: "RSA 2048", Serial: "0b", Fingerprint: "01ff", NotBefore: now().Add(-2 * day), NotAfter: now().Add(20 * day),
		ServedBy: []string{"n1-edge"}, Problems: []string{"it is not good for www.shop.test: it is for other.test"},
	}
	retired := base
	retired.ID, retired.Names, retired.State, retired.Retired, retired.ServedBy = "old.example-0000000002", []string{"old.example"}, ruche.CertificateRetired, now().Add(-5*day), nil
	retired.LastError, retired.Failures = "it failed once", 1
	imported := ruche.CertificateInfo{
		ID: "imported-partner.example-0000000003", Kind: ruche.CertificateImported, State: ruche.CertificateValid, Names: []string{"partner.example"}, CA: "R11",
		NotAfter: now().Add(40 * day), ServedBy: []string{"n1-edge"},
	}
	asked, replaced := base, base
	asked.ID, asked.Names, asked.Asked, asked.AskedReason = "asked.example-0000000004", []string{"asked.example"}, now().Add(90*time.Minute), "key on a lost laptop"
	replaced.ID, replaced.Names, replaced.State, replaced.Asked, replaced.AskedReason = "leak.example-0000000005", []string{"leak.example"}, ruche.CertificateDue, now().Add(-5*time.Minute), "it is to be revoked"
	replaced.Revocations = []ruche.PendingRevocation{{Serial: "4f0a", At: now().Add(-5 * time.Minute), Reason: "keyCompromise", LastError: "the CA says malformed: no such certificate"}}
	retired.Revocations = []ruche.PendingRevocation{{Serial: "4f0a", At: now().Add(time.Hour), Reason: "superseded"}}
	return ruche.CertificateList{
		Node: "n1-control", Certificates: []ruche.CertificateInfo{asked, failing, due, file, replaced, retired, imported, base, unfit},
		Names: []ruche.ServedName{
			{Name: "blog.example", Kind: ruche.CertificateSelfSigned, Edges: []string{"n1-edge", "n2-edge"}},
			{Name: "shop.example", Kind: ruche.CertificateACME, Certificate: base.ID, Fingerprint: base.Fingerprint, NotAfter: base.NotAfter, Edges: []string{"n1-edge"}, Others: map[string]string{"n2-edge": "self-signed"}},
			{Name: "vpn.example", Kind: "foreign", CA: "Their CA", NotAfter: now().Add(3 * day), Seen: now(), Problem: "it expires in 3d"},
		},
		Silent: map[string]time.Time{"n3-edge": now().Add(-20 * time.Minute)},
		Warnings: []ruche.Warning{
			{Code: ruche.CodeCertNotIssued, Severity: ruche.SeverityWarning, Subject: failing.ID, Message: "there is no certificate for blog.example: " + failing.LastError, Hint: "it is tried again"},
			{Code: ruche.CodeIssuerUnreachable, Severity: ruche.SeverityWarning, Subject: "https://ca.example/directory", Message: "issuer default does not answer", Hint: "it is tried again"},
		},
	}
}
