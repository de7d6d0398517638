package mesh

import (
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
)

// MemberFiles are the files with which a control node proves itself to the other members of the state.
type MemberFiles struct {
	Certificate string // PEM, with the key
	Root        string // PEM; what those of other members are signed with
}

// FilesOfMember names them, in the directory of a node's identity.
func FilesOfMember(dir string) MemberFiles {
	return MemberFiles{Certificate: filepath.Join(dir, peerFile), Root: filepath.Join(dir, rootFile)}
}

// There reports whether the files are there and can be read.
func (f MemberFiles) There() bool {
	return readCertificate(f.Certificate) != nil && readCertificate(f.Root) != nil
}

// For reports whether the certificate is for the address host.
func (f MemberFiles) For(host string) bool {
	cert := readCertificate(f.Certificate)
	return cert != nil && cert.VerifyHostname(host) == nil
}

// Of reports whether they are of the authority whose root has that hash (AuthorityRecord.Root).
func (f MemberFiles) Of(root string) bool {
	cert := readCertificate(f.Root)
	return cert != nil && keyHash(cert.PublicKey) == root
}

// readCertificate reads the first certificate of a file; nil where there is none.
func readCertificate(file string) *x509.Certificate {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return nil
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil
	}
	return cert
}
