package acmeserver

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
)

// Sizes of RSA keys, in bits.
const (
	minRSA = 2048
	maxRSA = 4096
)

// jwk is a public key of a client.
type jwk struct {
	public crypto.PublicKey
	// canonical is the key in JSON with the members that identify it, in order (RFC 7638 section 3): the same key has the same text.
	canonical []byte
}

// thumbprint is the SHA-256 of the key (RFC 7638), in base64url.
func (k *jwk) thumbprint() string {
	sum := sha256.Sum256(k.canonical)
	return encode(sum[:])
}

func (k *jwk) equal(other *jwk) bool { return bytes.Equal(k.canonical, other.canonical) }

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func decode(text string) ([]byte, error) { return base64.RawURLEncoding.Strict().DecodeString(text) }

// parseJWK reads a public key (RFC 7517, RFC 8037) of a kind that is good enough to sign with.
func parseJWK(data []byte) (*jwk, error) {
	var m struct {
		Kty string `json:"kty"`
		Crv string `json:"crv"`
		X   string `json:"x"`
		Y   string `json:"y"`
		N   string `json:"n"`
		E   string `json:"e"`
		D   string `json:"d"`
	}
	if err := json.Unmarshal(data, &m); err != nil {
		return nil, errors.New("the JWK is not a JSON object with text members")
	}
	if m.D != "" {
		return nil, errors.New("the JWK holds a private key, which has become known by that: make another one")
	}
	switch m.Kty + " " + m.Crv {
	case "EC P-256":
		return ecKey(elliptic.P256(), m.Crv, m.X, m.Y)
	case "EC P-384":
		return ecKey(elliptic.P384(), m.Crv, m.X, m.Y)
	case "OKP Ed25519":
		x, err := decode(m.X)
		if err != nil || len(x) != ed25519.PublicKeySize {
			return nil, errors.New("the Ed25519 key is not 32 bytes in base64url")
		}
		return &jwk{public: ed25519.PublicKey(x), canonical: fmt.Appendf(nil, `{"crv":"Ed25519","kty":"OKP","x":"%s"}`, m.X)}, nil
	case "RSA ":
		return rsaKey(m.N, m.E)
	}
	return nil, fmt.Errorf("keys of type %.20q, curve %.20q, are not taken (EC with P-256 or P-384, RSA, and OKP with Ed25519 are)", m.Kty, m.Crv)
}

func ecKey(curve elliptic.Curve, name, x64, y64 string) (*jwk, error) {
	size := (curve.Params().BitSize + 7) / 8
	x, err1 := decode(x64)
	y, err2 := decode(y64)
	if err1 != nil || err2 != nil || len(x) != size || len(y) != size {
		return nil, fmt.Errorf("the coordinates of the %s key are not %d bytes in base64url each", name, size)
	}
	public, err := ecdsa.ParseUncompressedPublicKey(curve, append(append([]byte{4}, x...), y...))
	if err != nil {
		return nil, fmt.Errorf("the %s key is no point of the curve", name)
	}
	return &jwk{public: public, canonical: fmt.Appendf(nil, `{"crv":"%s","kty":"EC","x":"%s","y":"%s"}`, name, x64, y64)}, nil
}

func rsaKey(n64, e64 string) (*jwk, error) {
	n, err1 := decode(n64)
	e, err2 := decode(e64)
	if err1 != nil || err2 != nil || len(n) == 0 || len(n) > maxRSA/8 || len(e) == 0 || len(e) > 4 || n[0] == 0 || e[0] == 0 {
		return nil, fmt.Errorf("the RSA key is not a modulus of %d to %d bits and a small exponent, in base64url without leading zeros", minRSA, maxRSA)
	}
	public := &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(new(big.Int).SetBytes(e).Int64())}
	if err := checkKey(public); err != nil {
		return nil, err
	}
	return &jwk{public: public, canonical: fmt.Appendf(nil, `{"e":"%s","kty":"RSA","n":"%s"}`, e64, n64)}, nil
}

// checkKey refuses keys that are too weak, too large, or of an unusual kind.
func checkKey(public crypto.PublicKey) error {
	switch k := public.(type) {
	case *ecdsa.PublicKey:
		if k.Curve == elliptic.P256() || k.Curve == elliptic.P384() {
			return nil
		}
		return errors.New("elliptic curves other than P-256 and P-384 are not taken")
	case ed25519.PublicKey:
		return nil
	case *rsa.PublicKey:
		if bits := k.N.BitLen(); bits < minRSA || bits > maxRSA {
			return fmt.Errorf("RSA keys have %d to %d bits here, not %d", minRSA, maxRSA, bits)
		}
		if k.E < 65537 || k.E%2 == 0 || k.N.Bit(0) == 0 {
			return errors.New("the RSA key has a bad modulus or an exponent other than 65537 and above")
		}
		return nil
	}
	return errors.New("the kind of key is not taken (ECDSA, RSA and Ed25519 are)")
}
