package importer

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"path"
	"slices"
	"strings"

	"github.com/ruche-project/ruche"
)

// held is a certificate of a file.
type held struct {
	*x509.Certificate
	place string
}

// heldKey is a private key of a file.
type heldKey struct {
	crypto.Signer
	place string
}

// scope is what stands together: certificates, of which some lead to others, and keys that belong to some.
type scope struct {
	certs []held
	keys  []heldKey
	// broken are files of which something could not be read.
	broken []string
}

var (
	errPassphrase = errors.New("the key has a passphrase")
	errUnreadable = errors.New("the key cannot be read") // what is wrong with a secret is not told
	errCutOff     = errors.New("it is cut off or damaged: a part in it begins and does not end")
)

// add reads what is in PEM. Blocks of other kinds are passed over.
func (s *scope) add(place string, data []byte) error {
	var failure error
	begun := begins(data)
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			break
		}
		begun--
		switch {
		case block.Type == "CERTIFICATE" || block.Type == "X509 CERTIFICATE" || block.Type == "TRUSTED CERTIFICATE":
			cert, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				failure = errors.New("a certificate in it cannot be read")
				continue
			}
			s.certs = append(s.certs, held{cert, place})
		case strings.HasSuffix(block.Type, "PRIVATE KEY"):
			key, err := parseKeyBlock(block)
			if err != nil {
				failure = err
				continue
			}
			s.keys = append(s.keys, heldKey{key, place})
		}
	}
	if failure == nil && begun > 0 {
		failure = errCutOff
	}
	if failure != nil {
		s.broken = append(s.broken, place)
	}
	return failure
}

// begins counts the blocks of PEM that begin, of which those alone can be read that also end.
func begins(data []byte) int {
	n := bytes.Count(data, []byte("\n-----BEGIN "))
	if bytes.HasPrefix(data, []byte("-----BEGIN ")) {
		n++
	}
	return n
}

// noPEM says what a file is that ought to be PEM and is not.
func noPEM(data []byte) (message, hint string) {
	if _, err := x509.ParseCertificate(data); err == nil {
		return "no PEM in it: it is a certificate in DER", "make PEM of it: openssl x509 -inform der -in FILE -out NEWFILE"
	}
	hint = "bring the file back from a backup, or let a new certificate be ordered"
	if len(bytes.TrimSpace(data)) == 0 {
		return "no PEM in it: it is empty", hint
	}
	return "no PEM in it", hint
}

func parseKeyBlock(block *pem.Block) (crypto.Signer, error) {
	if strings.Contains(block.Type, "ENCRYPTED") || block.Headers["DEK-Info"] != "" {
		return nil, errPassphrase
	}
	return parseKey(block.Bytes)
}

// parseKey reads a private key in any of the three encodings that are about.
func parseKey(der []byte) (crypto.Signer, error) {
	if key, err := x509.ParsePKCS8PrivateKey(der); err == nil {
		if signer, ok := key.(crypto.Signer); ok {
			return signer, nil
		}
		return nil, errUnreadable
	}
	if key, err := x509.ParsePKCS1PrivateKey(der); err == nil {
		return key, nil
	}
	if key, err := x509.ParseECPrivateKey(der); err == nil {
		return key, nil
	}
	return nil, errUnreadable
}

// parsePEMKey reads the first private key in PEM.
func parsePEMKey(data []byte) (crypto.Signer, error) {
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			return nil, errors.New("there is no key in it")
		}
		if strings.HasSuffix(block.Type, "PRIVATE KEY") {
			return parseKeyBlock(block)
		}
	}
}

// belongs reports whether a key is that of a certificate.
func belongs(key crypto.Signer, cert *x509.Certificate) bool {
	public, ok := cert.PublicKey.(interface{ Equal(crypto.PublicKey) bool })
	return ok && public.Equal(key.Public())
}

// keyTypeOf gives the type of a key; empty where it is none that Ruche would ask for.
func keyTypeOf(public crypto.PublicKey) ruche.KeyType {
	switch k := public.(type) {
	case *ecdsa.PublicKey:
		switch k.Curve.Params().BitSize {
		case 256:
			return ruche.KeyP256
		case 384:
			return ruche.KeyP384
		}
	case *rsa.PublicKey:
		switch k.N.BitLen() {
		case 2048:
			return ruche.KeyRSA2048
		case 3072:
			return ruche.KeyRSA3072
		case 4096:
			return ruche.KeyRSA4096
		}
	case ed25519.PublicKey:
	}
	return ""
}

// scope reads the PEM files of a directory.
func (r *reader) scope(dir string) scope {
	var s scope
	_, files := r.list(dir)
	for _, name := range files {
		if !isPEMName(name) {
			continue
		}
		data, ok := r.read(name, maxPEM)
		if !ok {
			continue
		}
		if begins(data) == 0 {
			s.broken = append(s.broken, name)
			message, hint := noPEM(data)
			r.skip(name, message, hint)
			continue
		}
		if err := s.add(name, data); err != nil {
			hint := "look at it with: openssl x509 -in FILE -noout -text, or openssl pkey -in FILE -noout"
			switch {
			case errors.Is(err, errPassphrase):
				hint = "take the passphrase away: openssl pkey -in FILE -out NEWFILE"
			case errors.Is(err, errCutOff):
				hint = "bring the file back from a backup, or let a new certificate be ordered"
			}
			r.skip(name, err.Error(), hint)
		}
	}
	return s
}

func isPEMName(name string) bool {
	return slices.Contains([]string{".pem", ".crt", ".cer", ".cert", ".key"}, path.Ext(name))
}
