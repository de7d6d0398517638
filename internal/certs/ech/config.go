// Package ech makes and rotates the keys of Encrypted Client Hello (RFC 9849), by which clients hide the name that they ask for, and says which DNS records tell clients of them.
package ech

import (
	"bytes"
	"crypto/ecdh"
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"encoding/json"
	"errors"
	"slices"

	"github.com/ruche-project/ruche/internal/certs/vault"
)

const (
	version  = 0xfe0d // RFC 9849 section 4
	kemX25   = 0x0020 // DHKEM(X25519, HKDF-SHA256), RFC 9180 section 7.1
	kdfSHA   = 0x0001 // HKDF-SHA256, section 7.2
	aesGCM   = 0x0001 // AES-128-GCM, section 7.3
	chacha   = 0x0003 // ChaCha20Poly1305
	publicAt = 9      // where the public key begins in a config
	keySize  = 32
	// longestName is the length to which clients pad names, so that they cannot be told by it (RFC 9849 section 6.1.3). Longer ones are padded, too, to steps of 32.
	longestName = 64
)

// config gives an ECHConfig (RFC 9849 section 4).
func config(id byte, public []byte, publicName string) []byte {
	b := []byte{id}
	b = binary.BigEndian.AppendUint16(b, kemX25)
	b = sized(b, public)
	var suites []byte
	for _, n := range []uint16{kdfSHA, aesGCM, kdfSHA, chacha} {
		suites = binary.BigEndian.AppendUint16(suites, n)
	}
	b = sized(b, suites)
	b = append(b, longestName, byte(len(publicName)))
	b = append(b, publicName...)
	b = sized(b, nil) // no extensions
	return sized(binary.BigEndian.AppendUint16(nil, version), b)
}

// sized appends data behind its length in two bytes.
func sized(b, data []byte) []byte {
	return append(binary.BigEndian.AppendUint16(b, uint16(len(data))), data...)
}

// List gives the ECHConfigList of one config, as it stands in an HTTPS record.
func List(config []byte) []byte { return sized(nil, config) }

// newKey makes a key and its config, with an ID that none of the others has.
func newKey(publicName string, others [][]byte) (key, own []byte, err error) {
	private, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	var id [1]byte
	taken := func(c []byte) bool { return len(c) > 4 && c[4] == id[0] }
	for {
		_, _ = rand.Read(id[:]) // never fails
		if !slices.ContainsFunc(others, taken) {
			return private.Bytes(), config(id[0], private.PublicKey().Bytes(), publicName), nil
		}
	}
}

// Opener opens what is sealed to a node, or for the installation.
type Opener interface {
	Open(what string, sealed []byte) ([]byte, error)
}

var errDamaged = errors.New("the keys of Encrypted Client Hello cannot be read") // what is wrong with a secret is not told

// Keys gives the keys of a row as servers use them, the newest first. With a config that does not belong to its key every client that offers ECH would fail, so none is given then.
func Keys(open Opener, row vault.ECH) ([]tls.EncryptedClientHelloKey, error) {
	data, err := open.Open(vault.SealedForECH, row.Keys)
	if err != nil {
		return nil, err
	}
	defer clear(data)
	var secrets [][]byte
	if json.Unmarshal(data, &secrets) != nil || len(secrets) != len(row.Configs) {
		return nil, errDamaged
	}
	keys := make([]tls.EncryptedClientHelloKey, len(secrets))
	for i, secret := range secrets {
		private, err := ecdh.X25519().NewPrivateKey(secret)
		own := row.Configs[i]
		if err != nil || len(own) < publicAt+keySize || !bytes.Equal(own[publicAt:publicAt+keySize], private.PublicKey().Bytes()) {
			return nil, errDamaged
		}
		// A client whose config is not known any more gets the newest (RFC 9849 section 7.1).
		keys[i] = tls.EncryptedClientHelloKey{Config: own, PrivateKey: secret, SendAsRetry: i == 0}
	}
	return keys, nil
}
