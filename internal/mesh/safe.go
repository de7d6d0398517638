package mesh

import (
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
)

// Safe keeps a node's own private keys on its disk: what goes in is closed with the first seal, what is in there opens with any of them. Without
// a seal keys lie in the clear.
type Safe []*Seal

// TokenSeal makes a seal of the text of a join token, for a node that has no sealing key: the file of the token is not in the data directory. The token's secret
// has 160 random bits, so that no slow derivation is needed (RFC 5869 section 3.3).
func TokenSeal(text string) (*Seal, error) {
	key, err := hkdf.Key(sha256.New, []byte(strings.TrimSpace(text)), nil, "ruche keys of a node", sealKeyBytes)
	if err != nil {
		return nil, err
	}
	return newSeal(key)
}

// Close seals a key of the node; without a seal it gives the key itself.
func (s Safe) Close(what string, data []byte) []byte {
	if len(s) == 0 {
		return data
	}
	return s[0].Close(what, data)
}

// Open opens what Close sealed.
func (s Safe) Open(what string, sealed []byte) ([]byte, error) {
	for _, seal := range s {
		if data, err := seal.Open(what, sealed); err == nil {
			return data, nil
		}
	}
	return nil, fmt.Errorf("cannot open the %s: %w (give the join token, or the sealing key, that this node had)", what, ErrSeal)
}

// stale reports whether a key on the disk is to be written again: it lies in the clear although there is a seal, or an older one closed it.
func (s Safe) stale(sealed bool, data []byte) bool {
	return len(s) > 0 && (!sealed || s[0].Stale(data))
}

// pemSealed is the type of a PEM block with a sealed key.
const pemSealed = "RUCHE SEALED KEY"

// Block gives a private key, in PKCS #8, as PEM.
func (s Safe) Block(what string, der []byte) []byte {
	kind := pemSealed
	if len(s) == 0 {
		kind = pemKey
	}
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: s.Close(what, der)})
}

// Unblock reads what Block wrote, also what was written in the clear.
func (s Safe) Unblock(what string, b *pem.Block) ([]byte, error) {
	switch b.Type {
	case pemKey:
		return b.Bytes, nil
	case pemSealed:
		return s.Open(what, b.Bytes)
	}
	return nil, errors.New("it is no key")
}
