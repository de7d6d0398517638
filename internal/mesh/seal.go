package mesh

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/ruche-project/ruche/internal/fsx"
)

const (
	// sealKeyBytes is the length of a sealing key.
	sealKeyBytes = 32
	// sealVersion is the first byte of what is sealed, before the ID of the key. What was sealed before keys could be several has neither.
	sealVersion = 1
	sealIDBytes = 4
	sealHead    = 1 + sealIDBytes
)

// ErrSeal tells that something does not open with this key.
var ErrSeal = errors.New("it was sealed with another key, or is damaged")

// Seal encrypts what must not be readable in a copy of the state alone: with AES-256-GCM, under keys that are kept elsewhere. The first one seals, all of them
// open: so a key is replaced while everything runs. It is safe for concurrent use.
type Seal struct{ keys []sealKey }

type sealKey struct {
	id   [sealIDBytes]byte // the first bytes of the key's SHA-256
	aead cipher.AEAD
}

func (k sealKey) name() string { return hex.EncodeToString(k.id[:]) }

// ReadSeal reads sealing keys from a file: one a line, each 32 bytes in base64, as "openssl rand -base64 32" makes them. The first one seals. Keys of the other
// files, as far as they exist, open only.
func ReadSeal(file string, others ...string) (*Seal, error) {
	seal, err := readSealFile(file)
	if err != nil {
		return nil, err
	}
	for _, other := range others {
		also, err := readSealFile(other)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, k := range also.keys {
			if !slices.Contains(seal.Keys(), k.name()) {
				seal.keys = append(seal.keys, k)
			}
		}
	}
	return seal, nil
}

func readSealFile(file string) (*Seal, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("cannot read the sealing key: %w", err)
	}
	seal, err := parseSeal(string(text))
	if err != nil {
		return nil, fmt.Errorf("cannot use the sealing key in %s: %w (openssl rand -base64 32 makes one)", file, err)
	}
	return seal, nil
}

// parseSeal reads the lines of a file. What is wrong with a secret is not told.
func parseSeal(text string) (*Seal, error) {
	var keys [][]byte
	n := 0
	for line := range strings.Lines(text) {
		n++
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		key, err := base64.StdEncoding.Strict().DecodeString(line)
		if err != nil || len(key) != sealKeyBytes {
			return nil, fmt.Errorf("line %d is not 32 bytes in base64", n)
		}
		keys = append(keys, key)
	}
	if len(keys) == 0 {
		return nil, errors.New("it is not 32 bytes in base64")
	}
	return newSeal(keys...)
}

// MakeSeal reads the sealing key from a file, and makes one first if the file does not exist. Of several callers one makes it.
func MakeSeal(file string) (*Seal, error) {
	seal, err := ReadSeal(file)
	if !errors.Is(err, fs.ErrNotExist) {
		return seal, err
	}
	text, _, err := NewSeal()
	if err != nil {
		return nil, err
	}
	if err := fsx.WriteFile(file, []byte(text), 0o600); err != nil {
		return nil, fmt.Errorf("cannot keep the sealing key: %w", err)
	}
	return ReadSeal(file)
}

// NewSeal makes a sealing key, and gives what a file of it holds.
func NewSeal() (text string, seal *Seal, err error) {
	key := make([]byte, sealKeyBytes)
	_, _ = rand.Read(key) // never fails
	seal, err = newSeal(key)
	return base64.StdEncoding.EncodeToString(key) + "\n", seal, err
}

// newSeal makes a seal of keys, of which the first one seals.
func newSeal(keys ...[]byte) (*Seal, error) {
	seal := &Seal{}
	for _, key := range keys {
		k, err := newSealKey(key)
		if err != nil {
			return nil, err
		}
		if !slices.ContainsFunc(seal.keys, func(have sealKey) bool { return have.id == k.id }) {
			seal.keys = append(seal.keys, k)
		}
	}
	return seal, nil
}

func newSealKey(key []byte) (sealKey, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return sealKey{}, err
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return sealKey{}, err
	}
	sum := sha256.Sum256(key)
	return sealKey{id: [sealIDBytes]byte(sum[:sealIDBytes]), aead: aead}, nil
}

// Keys gives the IDs of the keys, 8 hexadecimal digits each, the one that seals first. They tell nothing of the keys.
func (s *Seal) Keys() []string {
	ids := make([]string, len(s.keys))
	for i, k := range s.keys {
		ids[i] = k.name()
	}
	return ids
}

// Close encrypts data with the first key. What for is part of the seal: data that was closed for one thing does not open for another.
func (s *Seal) Close(what string, data []byte) []byte { return s.keys[0].close(what, data) }

func (k sealKey) close(what string, data []byte) []byte {
	head := append([]byte{sealVersion}, k.id[:]...)
	return k.aead.Seal(head, nil, data, slices.Concat(head, []byte(what)))
}

// Open decrypts what Close made with one of these keys for the same thing.
func (s *Seal) Open(what string, sealed []byte) ([]byte, error) {
	data, _, err := s.open(what, sealed)
	return data, err
}

// open also gives the key that did it. What has no head is taken for old: such a thing begins with random bytes, which may look like a head.
func (s *Seal) open(what string, sealed []byte) ([]byte, sealKey, error) {
	if id, ok := sealedWith(sealed); ok {
		if i := slices.IndexFunc(s.keys, func(k sealKey) bool { return k.id == id }); i >= 0 {
			if data, err := s.keys[i].aead.Open(nil, nil, sealed[sealHead:], slices.Concat(sealed[:sealHead], []byte(what))); err == nil {
				return data, s.keys[i], nil
			}
		}
	}
	for _, k := range s.keys {
		if data, err := k.aead.Open(nil, nil, sealed, []byte(what)); err == nil {
			return data, k, nil
		}
	}
	return nil, sealKey{}, fmt.Errorf("cannot open the sealed %s: %w (give the key that it was sealed with: --seal-key-file)", what, ErrSeal)
}

// sealedWith reads the head of what is sealed.
func sealedWith(sealed []byte) (id [sealIDBytes]byte, ok bool) {
	if len(sealed) < sealHead || sealed[0] != sealVersion {
		return id, false
	}
	return [sealIDBytes]byte(sealed[1:sealHead]), true
}

// Stale reports whether something is not sealed with the first key, or as it was before sealed things named their key: Reseal is to be used on it.
func (s *Seal) Stale(sealed []byte) bool {
	id, ok := sealedWith(sealed)
	return !ok || id != s.keys[0].id
}

// KeyOf gives the ID of the key that opens something; where none of these does, it gives the ID that it names, or an empty one, and false.
func (s *Seal) KeyOf(what string, sealed []byte) (id string, opens bool) {
	if _, k, err := s.open(what, sealed); err == nil {
		return k.name(), true
	}
	if named, ok := sealedWith(sealed); ok {
		return hex.EncodeToString(named[:]), false
	}
	return "", false
}

// Reseal seals with the first key what one of the others sealed.
func (s *Seal) Reseal(what string, sealed []byte) ([]byte, error) {
	data, err := s.Open(what, sealed)
	if err != nil {
		return nil, err
	}
	return s.Close(what, data), nil
}
