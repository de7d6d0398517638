package acmeserver

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"net/http"
	"testing"
)

func TestFinalize(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	c := r.opened()
	r.serveHTTP01(c.answers())
	order := c.order(nil, "a.dept.example", "b.dept.example")
	if ready := c.prove(order); ready.str("status") != "ready" {
		t.Fatalf("%s", ready.text)
	}
	both := []string{"a.dept.example", "b.dept.example"}
	p521, _ := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	broken, _ := decode(csrFor(t, newECKey(t), both...))
	broken[len(broken)-1] ^= 1
	constraint := pkix.Extension{Id: []int{2, 5, 29, 19}, Value: []byte{0x30, 3, 1, 1, 0xff}}
	for name, tc := range map[string]struct {
		csr  string
		kind problemType
	}{
		"nonsense":      {"AAAA", badCSR},
		"not base64url": {"+/", malformed},
		"bad signature": {encode(broken), badCSR},
		"fewer names":   {csrFor(t, newECKey(t), "a.dept.example"), badCSR},
		"other names":   {csrFor(t, newECKey(t), append(both, "c.dept.example")...), badCSR},
		"other subject": {requestOf(t, newECKey(t), &x509.CertificateRequest{Subject: pkix.Name{CommonName: "c.dept.example"}, DNSNames: both}), badCSR},
		"account's key": {csrFor(t, c.key, both...), badCSR},
		"curve":         {csrFor(t, p521, both...), badCSR},
		"an authority":  {requestOf(t, newECKey(t), &x509.CertificateRequest{DNSNames: both, ExtraExtensions: []pkix.Extension{constraint}}), badCSR},
		"e-mail":        {requestOf(t, newECKey(t), &x509.CertificateRequest{DNSNames: both, EmailAddresses: []string{"a@dept.example"}}), badCSR},
	} {
		t.Run(name, func(t *testing.T) {
			if a := c.post(order.str("finalize"), map[string]any{"csr": tc.csr}); a.kind() != string(tc.kind) {
				t.Errorf("%d %s", a.status, a.text)
			}
		})
	}
	csr := requestOf(t, newECKey(t), &x509.CertificateRequest{Subject: pkix.Name{CommonName: "b.dept.example"}, DNSNames: []string{"a.dept.example"}})
	done := c.post(order.str("finalize"), map[string]any{"csr": csr})
	if done.str("status") != "valid" {
		t.Fatalf("%d %s", done.status, done.text)
	}
	// The client has lost the answer and asks again.
	if again := c.post(order.str("finalize"), map[string]any{"csr": csr}); again.str("certificate") != done.str("certificate") {
		t.Errorf("%d %s", again.status, again.text)
	}
	chain := c.post(done.str("certificate"), nil)
	if chain.head.Get("Content-Type") != "application/pem-certificate-chain" {
		t.Errorf("%v", chain.head)
	}
	if cert := r.verify(chain.text, both...); cert.Subject.CommonName != "b.dept.example" || cert.IsCA {
		t.Errorf("subject %s", cert.Subject)
	}
	if a := r.opened().post(done.str("certificate"), nil); a.kind() != string(unauthorized) {
		t.Errorf("another's certificate: %s", a.text)
	}
}

// Who may revoke: the account, the key, an account that has proven the names; nobody else.
func TestRevocation(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	c, heir, stranger := r.opened(), r.opened(), r.opened()
	current := c
	r.serveHTTP01(func(token string) (string, bool) { return current.answers()(token) })
	_, cert := c.obtain(nil, "a.dept.example")
	if a := stranger.post("/revoke-cert", revocation(cert, 0)); a.kind() != string(unauthorized) {
		t.Errorf("a stranger: %s", a.text)
	}
	keyed := &raw{r: r, key: newECKey(t), alg: es256}
	if a := keyed.post("/revoke-cert", revocation(cert, 0)); a.kind() != string(unauthorized) {
		t.Errorf("another key: %s", a.text)
	}
	if a := c.post("/revoke-cert", revocation(cert, 2)); a.kind() != string(badRevocationReason) {
		t.Errorf("a reason: %s", a.text)
	}
	current = heir
	if ready := heir.prove(heir.order(nil, "a.dept.example")); ready.str("status") != "ready" {
		t.Fatalf("%s", ready.text)
	}
	r.settled()
	if a := heir.post("/revoke-cert", revocation(cert, 4)); a.status != 200 {
		t.Errorf("who has proven the name: %d %s", a.status, a.text)
	}
	if a := c.post("/revoke-cert", revocation(cert, 4)); a.kind() != string(alreadyRevoked) {
		t.Errorf("again: %s", a.text)
	}
	e := r.entry(cert)
	list, err := r.authority.CRL(t.Context(), e.Issuer)
	if err != nil {
		t.Fatal(err)
	}
	crl, err := x509.ParseRevocationList(list)
	if err != nil || len(crl.RevokedCertificateEntries) != 1 || crl.RevokedCertificateEntries[0].SerialNumber.Cmp(cert.SerialNumber) != 0 {
		t.Errorf("the CRL: %+v, %v", crl, err)
	}
	template := &x509.Certificate{SerialNumber: cert.SerialNumber, DNSNames: cert.DNSNames}
	foreign, err := x509.CreateCertificate(rand.Reader, template, template, c.key.Public(), c.key)
	if err != nil {
		t.Fatal(err)
	}
	forged, err := x509.ParseCertificate(foreign)
	if err != nil {
		t.Fatal(err)
	}
	if a := c.post("/revoke-cert", revocation(forged, 0)); a.status != http.StatusNotFound {
		t.Errorf("a certificate with the serial of another: %d %s", a.status, a.text)
	}
}
