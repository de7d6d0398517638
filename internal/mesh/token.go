package mesh

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"errors"
	"strings"
	"time"
)

// Token is a join token as it is kept in the bucket "tokens", under the SHA-256 of its secret. The secret has 160 random bits: what is found by
// its hash cannot be guessed byte by byte, and cannot be read back from the state.
type Token struct {
	// Roles are those that a node may take by it.
	Roles []Role `json:"roles"`
	// Uses is how many more nodes may enrol by it; -1 is any number.
	Uses int `json:"uses"`
	// Expires is when it ends to be good; zero: never.
	Expires time.Time `json:"expires,omitzero"`
	Created time.Time `json:"created"`
	// LastKey is the key that used it last: a node that lost the answer may ask again, without a use being counted. Of a token for any number it is the first key.
	LastKey string `json:"last_key,omitempty"`
}

const (
	tokenPrefix = "RUCHE-1-"
	secretBytes = 20
)

// digits is how tokens are written: letters and digits that a double click selects.
func digits() *base32.Encoding { return base32.StdEncoding.WithPadding(base32.NoPadding) }

// writeToken makes the text of a token: what it pins, the SHA-256 of the root's public key, and a secret.
func writeToken(pin, secret []byte) string {
	return tokenPrefix + digits().EncodeToString(pin) + "-" + digits().EncodeToString(secret)
}

// errToken does not say what the token is: it may be one with a letter missing.
var errToken = errors.New(`the join token cannot be read: it begins with "RUCHE-1-" and has two more parts (ruche nodes token makes one)`)

// parseToken reads the text of a token. The pin is in the form of keyHash.
func parseToken(text string) (pin, secret string, err error) {
	text = strings.TrimSpace(text)
	first, second, _ := strings.Cut(strings.TrimPrefix(text, tokenPrefix), "-")
	hash, err1 := digits().DecodeString(first)
	raw, err2 := digits().DecodeString(second)
	if err1 != nil || err2 != nil || len(hash) != sha256.Size || len(raw) != secretBytes || text != writeToken(hash, raw) {
		return "", "", errToken
	}
	return hex.EncodeToString(hash), second, nil
}

// newSecret makes the secret of a token.
func newSecret() []byte {
	secret := make([]byte, secretBytes)
	_, _ = rand.Read(secret) // never fails
	return secret
}

// tokenKey is the key under which a token is kept, by the text of its secret.
func tokenKey(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}
