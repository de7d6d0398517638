package daemon

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"regexp"
)

func b64(data []byte) string { return base64.StdEncoding.EncodeToString(data) }

// holds reports whether data has a secret in it: as it is, in hexadecimal digits, or in base64 at any offset.
func holds(data, secret []byte) bool {
	if bytes.Contains(data, secret) || bytes.Contains(data, []byte(hex.EncodeToString(secret))) {
		return true
	}
	for skip := range 3 { // so many bytes may go before it in the same text
		whole := secret[skip : len(secret)-(len(secret)-skip)%3]
		if bytes.Contains(data, []byte(b64(whole))) {
			return true
		}
	}
	return false
}

// keyIn says what private key data has in it, in DER, PEM or base64; empty when it has none.
func keyIn(data []byte) string {
	for rest := data; ; {
		i := bytes.Index(rest, []byte("-----BEGIN"))
		if i < 0 {
			break
		}
		block, next := pem.Decode(rest[i:])
		if block == nil {
			rest = rest[i+1:]
			continue
		}
		if k := parses(block.Bytes); k != "" {
			return "PEM, " + k
		}
		rest = next
	}
	if k := derIn(data); k != "" {
		return k
	}
	for _, text := range regexp.MustCompile(`[A-Za-z0-9+/_-]{43,}={0,2}`).FindAll(data, -1) {
		text = bytes.TrimRight(text, "=")
		for _, encoding := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
			decoded := make([]byte, encoding.DecodedLen(len(text)))
			n, _ := encoding.Decode(decoded, text) // what came before an error counts, too
			if k := derIn(decoded[:n]); k != "" {
				return "base64, " + k
			}
		}
	}
	return ""
}

// derIn looks for a key at every place where a sequence may begin.
func derIn(data []byte) string {
	for i := 0; i+4 <= len(data); i++ {
		next := bytes.IndexByte(data[i:], 0x30)
		if next < 0 {
			break
		}
		if i += next; i+4 > len(data) {
			break
		}
		size := 0
		switch l := int(data[i+1]); {
		case l < 0x80:
			size = 2 + l
		case l == 0x81:
			size = 3 + int(data[i+2])
		case l == 0x82:
			size = 4 + int(data[i+2])<<8 + int(data[i+3])
		}
		if size < 32 || i+size > len(data) {
			continue
		}
		if k := parses(data[i : i+size]); k != "" {
			return k
		}
	}
	return ""
}

func parses(der []byte) string {
	if _, err := x509.ParsePKCS8PrivateKey(der); err == nil {
		return "PKCS #8"
	}
	if _, err := x509.ParseECPrivateKey(der); err == nil {
		return "SEC 1"
	}
	if _, err := x509.ParsePKCS1PrivateKey(der); err == nil {
		return "PKCS #1"
	}
	return ""
}
