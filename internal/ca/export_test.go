package ca

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"

	"github.com/ruche-project/ruche"
)

// SignUnchecked signs for a name as somebody would who has stolen the key of the intermediate, or of the root.
func SignUnchecked(ctx context.Context, a *Authority, name string, root bool) ([][]byte, error) {
	record, err := a.read(ctx, ruche.AuthorityServices)
	if err != nil {
		return nil, err
	}
	by, err := record.Value.active(a.now())
	if err != nil {
		return nil, err
	}
	if root {
		if by, err = record.Value.signing(a.now()); err != nil {
			return nil, err
		}
	}
	key, err := a.signer(by.Issuer)
	if err != nil {
		return nil, err
	}
	leaf, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	p, err := a.profile(ProfileServer)
	if err != nil {
		return nil, err
	}
	n, err := parseNames([]string{name}, p.names)
	if err != nil {
		return nil, err
	}
	template, err := leafTemplate(Request{PublicKey: leaf.Public()}, p, n, "")
	if err != nil {
		return nil, err
	}
	template.SerialNumber, _ = newSerial()
	template.NotBefore, template.NotAfter = a.now(), a.now().Add(day)
	der, err := x509.CreateCertificate(rand.Reader, template, by.cert, leaf.Public(), key)
	return [][]byte{der, by.Certificate}, err
}

// NormalName gives a name in its normal form.
func NormalName(s string) (string, error) {
	_, normal, err := classify(s)
	return normal, err
}

// SetSealer gives the authority another sealer, as a restart with another key does.
func (a *Authority) SetSealer(s Sealer) { a.cfg.Sealer = s }
