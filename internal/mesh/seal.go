package mesh

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/ruche-project/ruche/internal/fsx"
)

// sealKeyBytes is the length of a sealing key.
const sealKeyBytes = 32

// ErrSeal tells that something does not open with this key.
var ErrSeal = errors.New("it was sealed with another key, or is damaged")

// Seal encrypts what must not be readable in a copy of the state alone: with AES-256-GCM, under a key that is kept elsewhere. It is safe
// for concurrent use.
type Seal struct{ aead cipher.AEAD }

// ReadSeal reads the sealing key from a file: 32 bytes in base64, as "openssl rand -base64 32" makes them.
func ReadSeal(file string) (*Seal, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("cannot read the sealing key: %w", err)
	}
	key, err := base64.StdEncoding.Strict().DecodeString(string(bytes.TrimSpace(text)))
	if err != nil || len(key) != sealKeyBytes { // what is wrong with a secret is not told
		return nil, fmt.Errorf("cannot use the sealing key in %s: it is not 32 bytes in base64 (openssl rand -base64 32 makes one)", file)
	}
	return newSeal(key)
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

func newSeal(key []byte) (*Seal, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, err
	}
	return &Seal{aead: aead}, nil
}

// Close encrypts data. What for is part of the seal: data that was closed for one thing does not open for another.
func (s *Seal) Close(what string, data []byte) []byte {
	return s.aead.Seal(nil, nil, data, []byte(what))
}

// Open decrypts what Close made with the same key for the same thing.
func (s *Seal) Open(what string, sealed []byte) ([]byte, error) {
	data, err := s.aead.Open(nil, nil, sealed, []byte(what))
	if err != nil {
		return nil, fmt.Errorf("cannot open the sealed %s: %w (give the key that it was sealed with: --seal-key-file)", what, ErrSeal)
	}
	return data, nil
}
