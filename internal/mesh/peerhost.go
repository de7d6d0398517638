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

// Fit reports whether the files are there, and whether they are for the address host.
func (f MemberFiles) Fit(host string) (there, fit bool) {
	data, err := os.ReadFile(f.Certificate)
	if err != nil {
		return false, false
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return false, false
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return false, false
	}
	if _, err := os.Stat(f.Root); err != nil {
		return false, false
	}
	return true, cert.VerifyHostname(host) == nil
}
