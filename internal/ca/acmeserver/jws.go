package acmeserver

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/json"
	"math/big"
	"strings"
)

// Signature algorithms (RFC 7518 section 3.1, RFC 8037 section 3.1). HS256 is for external account binding alone.
const (
	es256 = "ES256"
	es384 = "ES384"
	rs256 = "RS256"
	eddsa = "EdDSA"
	hs256 = "HS256"
)

func algorithms() []string { return []string{es256, es384, rs256, eddsa} }

// jws is a signed message in flattened JSON (RFC 7515 section 7.2.2), as RFC 8555 section 6.2 bounds it.
type jws struct {
	alg, nonce, url, kid string
	key                  *jwk   // of the head's "jwk"; nil without one
	input                string // what is signed
	payload, signature   []byte
}

// parseJWS reads a message. Its signature is not checked yet, nor that its head fits the request.
func parseJWS(body []byte) (*jws, *Problem) {
	var outer struct {
		Protected  string          `json:"protected"`
		Payload    *string         `json:"payload"`
		Signature  string          `json:"signature"`
		Header     json.RawMessage `json:"header"`
		Signatures json.RawMessage `json:"signatures"`
	}
	if err := json.Unmarshal(body, &outer); err != nil {
		return nil, problem(malformed, "the request is not a JWS in JSON")
	}
	if outer.Header != nil || outer.Signatures != nil || outer.Payload == nil {
		return nil, problem(malformed, "the JWS must have the members protected, payload and signature, and neither header nor signatures")
	}
	head, err1 := decode(outer.Protected)
	payload, err2 := decode(*outer.Payload)
	signature, err3 := decode(outer.Signature)
	if err1 != nil || err2 != nil || err3 != nil {
		return nil, problem(malformed, "the members of the JWS are not in base64url without padding")
	}
	j := &jws{input: outer.Protected + "." + *outer.Payload, payload: payload, signature: signature}
	return j, j.parseHead(head)
}

func (j *jws) parseHead(data []byte) *Problem {
	var head struct {
		Alg   string          `json:"alg"`
		Nonce string          `json:"nonce"`
		URL   string          `json:"url"`
		Kid   *string         `json:"kid"`
		JWK   json.RawMessage `json:"jwk"`
		Crit  json.RawMessage `json:"crit"`
		B64   json.RawMessage `json:"b64"`
	}
	if err := json.Unmarshal(data, &head); err != nil {
		return problem(malformed, "the protected head of the JWS is not a JSON object, or a member is not text")
	}
	if head.Crit != nil || head.B64 != nil {
		return problem(malformed, "the JWS asks for extensions (crit, b64), of which none is known here")
	}
	if (head.Kid != nil) == (head.JWK != nil) {
		return problem(malformed, "the head of the JWS must have either kid or jwk")
	}
	j.alg, j.nonce, j.url = head.Alg, head.Nonce, head.URL
	if head.Kid != nil {
		j.kid = *head.Kid
		return nil
	}
	key, err := parseJWK(head.JWK)
	if err != nil {
		return problem(badPublicKey, "%s", err)
	}
	j.key = key
	return nil
}

// verify checks the signature by a public key.
func (j *jws) verify(key *jwk) *Problem {
	var ok bool
	switch j.alg {
	case es256:
		sum := sha256.Sum256([]byte(j.input))
		ok = verifyEC(key.public, elliptic.P256(), sum[:], j.signature)
	case es384:
		sum := sha512.Sum384([]byte(j.input))
		ok = verifyEC(key.public, elliptic.P384(), sum[:], j.signature)
	case rs256:
		sum := sha256.Sum256([]byte(j.input))
		public, fits := key.public.(*rsa.PublicKey)
		ok = fits && rsa.VerifyPKCS1v15(public, crypto.SHA256, sum[:], j.signature) == nil
	case eddsa:
		public, fits := key.public.(ed25519.PublicKey)
		ok = fits && ed25519.Verify(public, []byte(j.input), j.signature)
	default:
		p := problem(badSignatureAlgorithm, "signatures by %.20q are not taken (%s are)", j.alg, strings.Join(algorithms(), ", "))
		p.Algorithms = algorithms()
		return p
	}
	if !ok {
		return problem(malformed, "the signature of the JWS is wrong, or its algorithm does not go with the key")
	}
	return nil
}

// verifyEC checks a signature of the two numbers one after the other, each as long as the curve's order (RFC 7518 section 3.4).
func verifyEC(key crypto.PublicKey, curve elliptic.Curve, sum, signature []byte) bool {
	public, fits := key.(*ecdsa.PublicKey)
	size := (curve.Params().BitSize + 7) / 8
	if !fits || public.Curve != curve || len(signature) != 2*size {
		return false
	}
	return ecdsa.Verify(public, sum, new(big.Int).SetBytes(signature[:size]), new(big.Int).SetBytes(signature[size:]))
}

// verifyMAC checks a signature by a shared secret.
func (j *jws) verifyMAC(secret []byte) bool {
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(j.input))
	return j.alg == hs256 && hmac.Equal(mac.Sum(nil), j.signature)
}
