package report_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/report"
)

func TestGoldenAuthorities(t *testing.T) {
	day := 24 * time.Hour
	at := func(days int) time.Time { return now().Add(time.Duration(days) * day) }
	list := ruche.AuthorityList{URL: "http://ca.example", Authorities: []ruche.AuthorityStatus{
		{
			Name: "clients", Parent: true, Waiting: true,
		},
		{
			Name: "services", Organization: "Example", Permit: []string{"corp.example", "10.0.0.0/8"}, Live: 12, Revoked: 1,
			Roots: []ruche.IssuerStatus{
				{ID: "services-r1", State: ruche.IssuerActive, NotBefore: at(-2930), NotAfter: at(720), Turn: at(355), CRL: now().Add(-3 * time.Hour), CRLUntil: at(7)},
				{ID: "services-r70", State: ruche.IssuerNext, NotBefore: at(-10), NotAfter: at(3640), Turn: at(355), CRL: now().Add(-3 * time.Hour), CRLUntil: at(7)},
			},
			Intermediates: []ruche.IssuerStatus{
				{ID: "services-i68", State: ruche.IssuerOld, NotBefore: at(-89), NotAfter: at(1), CRL: at(-9), CRLUntil: at(-2)},
				{ID: "services-i69", State: ruche.IssuerActive, NotBefore: at(-40), NotAfter: at(50), Turn: at(-1), CRL: now(), CRLUntil: at(7)},
			},
		},
	}}
	issued := ruche.IssuedList{Certificates: []ruche.IssuedCertificate{
		{Serial: "0f", Names: []string{"www.corp.example"}, Profile: "server", Requester: "cli", Issued: now(), NotAfter: at(45)},
		{Serial: "0e", Names: []string{"a.corp.example", "b.corp.example", "c.corp.example", "d.corp.example"}, Profile: "short", Requester: "acme:7", Issued: at(-1), NotAfter: now()},
		{Serial: "0d", Subject: "ann", Profile: "docker-read", Issued: at(-3), NotAfter: at(42), Revoked: &ruche.Revocation{At: at(-2)}},
	}}
	keys := ruche.ACMEKeyList{Keys: []ruche.ACMEKey{
		{ID: "3f7k2qhx5m4a6bcd", ACMEKeySpec: ruche.ACMEKeySpec{Names: []string{"*.dept.example", "10.1.0.0/16"}, Comment: "the department"}, Created: at(-3)},
		{ID: "x5m4a6bcd3f7k2qh", ACMEKeySpec: ruche.ACMEKeySpec{Names: []string{"*"}, Profiles: []string{"short"}, Expires: at(30)}, Created: at(-2)},
		{ID: "a6bcd3f7k2qhx5m4", ACMEKeySpec: ruche.ACMEKeySpec{Names: []string{"*"}, Expires: now()}, Created: at(-1)},
	}}
	for name, write := range map[string]func(*bytes.Buffer) error{
		"ca-none":        func(b *bytes.Buffer) error { return report.Authorities(b, ruche.AuthorityList{}, now()) },
		"ca-status":      func(b *bytes.Buffer) error { return report.Authorities(b, list, now()) },
		"ca-issued":      func(b *bytes.Buffer) error { return report.Issued(b, issued, now()) },
		"ca-keys":        func(b *bytes.Buffer) error { return report.ACMEKeys(b, keys, now()) },
		"ca-keys-none":   func(b *bytes.Buffer) error { return report.ACMEKeys(b, ruche.ACMEKeyList{}, now()) },
		"ca-issued-none": func(b *bytes.Buffer) error { return report.Issued(b, ruche.IssuedList{}, now()) },
	} {
		t.Run(name, func(t *testing.T) { isGolden(t, name, write) })
	}
}
