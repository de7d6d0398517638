package importer

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"slices"
	"strings"

	"github.com/ruche-project/ruche"
)

// account takes over an account, if it is known where, and is of use.
func (r *reader) account(place string, a ruche.ImportedAccount, key crypto.Signer) {
	a.Source = r.place(place)
	switch {
	case a.Directory == "":
		r.skip(place, "it is not known at which CA the account is", "nothing is to be done: another account is made when it is needed")
		return
	case a.Directory == ruche.LetsEncryptStaging:
		return // of which nothing is imported
	case strings.Contains(a.URL, "/acme/reg/"):
		r.skip(place, "the account is of the first version of ACME, which no CA speaks any more", "nothing is to be done: another account is made when it is needed")
		return
	}
	var err error
	if a.Key, err = x509.MarshalPKCS8PrivateKey(key); err != nil {
		r.skip(place, errUnreadable.Error(), "")
		return
	}
	a.Email = strings.ToLower(strings.TrimPrefix(a.Email, "mailto:"))
	r.accounts = append(r.accounts, a)
}

// parseJWK reads a private key as JSON (RFC 7517, RFC 7518 section 6): RSA, or one of the curves P-256, P-384, P-521.
func parseJWK(data []byte) (crypto.Signer, error) {
	var k struct{ Kty, Crv, N, E, D, P, Q, X, Y string }
	if json.Unmarshal(data, &k) != nil {
		return nil, errUnreadable
	}
	number := func(s string) *big.Int {
		b, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(s, "="))
		if err != nil {
			return new(big.Int)
		}
		return new(big.Int).SetBytes(b)
	}
	switch k.Kty {
	case "RSA":
		e := number(k.E)
		const longest = 8192 / 6 // in base64, of what no CA takes more bits of
		if !e.IsInt64() || e.Int64() > 1<<31-1 || max(len(k.N), len(k.D), len(k.P), len(k.Q)) > longest+2 {
			return nil, errUnreadable
		}
		key := &rsa.PrivateKey{
			PublicKey: rsa.PublicKey{N: number(k.N), E: int(e.Int64())}, D: number(k.D), Primes: []*big.Int{number(k.P), number(k.Q)},
		}
		if key.Validate() != nil {
			return nil, errUnreadable
		}
		key.Precompute()
		return key, nil
	case "EC":
		return parseCurveKey(k.Crv, number(k.D), number(k.X), number(k.Y))
	}
	return nil, errUnreadable
}

func parseCurveKey(name string, d, x, y *big.Int) (crypto.Signer, error) {
	var curve elliptic.Curve
	switch name {
	case "P-256":
		curve = elliptic.P256()
	case "P-384":
		curve = elliptic.P384()
	case "P-521":
		curve = elliptic.P521()
	default:
		return nil, errUnreadable
	}
	size := (curve.Params().BitSize + 7) / 8
	if len(d.Bytes()) > size || len(x.Bytes()) > size || len(y.Bytes()) > size {
		return nil, errUnreadable
	}
	key, err := ecdsa.ParseRawPrivateKey(curve, d.FillBytes(make([]byte, size)))
	if err != nil {
		return nil, errUnreadable
	}
	point := slices.Concat([]byte{4}, x.FillBytes(make([]byte, size)), y.FillBytes(make([]byte, size)))
	if public, err := key.PublicKey.Bytes(); err != nil || !bytes.Equal(public, point) {
		return nil, errUnreadable
	}
	return key, nil
}
