package mesh

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/ruche-project/ruche/internal/fsx"
)

// The files of an identity, in the node's own directory. The last two are there on control nodes only.
const (
	identityFile = "identity.pem" // key (sealed, if the node has a seal), certificate, root and, on a control node, its certificate as a member of the state
	peerFile     = "peer.pem"     // certificate and key as a member of the state
	rootFile     = "root.pem"     // what those of other members are signed with
)

const (
	pemKey         = "PRIVATE KEY"
	pemCertificate = "CERTIFICATE"
)

// whatNodeKey is what a node's own key is sealed for.
const whatNodeKey = "key of this node"

// identity is what a node proves its name with. It is never changed once it was made.
type identity struct {
	Peer
	key   *ecdsa.PrivateKey
	cert  *x509.Certificate // nil before the node is enrolled
	root  *x509.Certificate
	peer  []byte // DER; nil on a node that is not control
	tls   *tls.Certificate
	stale bool // its key is to be written to the disk again, sealed otherwise
}

// newIdentity makes one that has a key only.
func newIdentity() (*identity, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	return &identity{key: key}, nil
}

// request makes the certificate request of the identity's key.
func (i *identity) request() ([]byte, error) {
	return x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, i.key)
}

// granted makes the identity with the certificates that its key was granted.
func (i *identity) granted(cert, root, peer []byte) (*identity, error) {
	n := &identity{key: i.key, peer: peer, stale: i.stale}
	var err error
	if n.cert, err = x509.ParseCertificate(cert); err == nil {
		n.root, err = x509.ParseCertificate(root)
	}
	if err != nil {
		return nil, err
	}
	// The time is not looked at here: an expired identity may still have been one.
	if n.Peer, err = verify(n.cert, n.root, x509.ExtKeyUsageClientAuth, n.cert.NotBefore); err != nil {
		return nil, err
	}
	if n.hash != keyHash(i.key.Public()) {
		return nil, errors.New("the certificate is for another key")
	}
	// The root goes along, so that a node that has only a token can hold it against the token's pin.
	n.tls = &tls.Certificate{Certificate: [][]byte{cert, root}, PrivateKey: i.key, Leaf: n.cert}
	return n, nil
}

// save writes the identity into its directory: whole or not at all.
func (i *identity) save(dir string, safe Safe) error {
	all, err := i.keyPEM(safe)
	if err != nil {
		return err
	}
	if i.cert != nil {
		all = append(all, certificatePEM(i.cert.Raw)...)
		all = append(all, certificatePEM(i.root.Raw)...)
	}
	if i.peer != nil {
		all = append(all, certificatePEM(i.peer)...)
	}
	if err := fsx.WriteFile(filepath.Join(dir, identityFile), all, 0o600); err != nil {
		return fmt.Errorf("cannot keep this node's identity: %w", err)
	}
	return i.savePeer(dir, safe)
}

func (i *identity) keyPEM(safe Safe) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(i.key)
	if err != nil {
		return nil, fmt.Errorf("cannot keep this node's identity: %w", err)
	}
	return safe.Block(whatNodeKey, der), nil
}

// savePeer writes the files that the state reads, in the order in which a reader needs them.
func (i *identity) savePeer(dir string, safe Safe) error {
	if i.peer == nil {
		return nil
	}
	key, err := i.keyPEM(safe)
	if err != nil {
		return err
	}
	err = fsx.WriteFile(filepath.Join(dir, rootFile), certificatePEM(i.root.Raw), 0o600)
	if err == nil {
		err = fsx.WriteFile(filepath.Join(dir, peerFile), append(certificatePEM(i.peer), key...), 0o600)
	}
	if err != nil {
		return fmt.Errorf("cannot keep this node's identity: %w", err)
	}
	return nil
}

func certificatePEM(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: pemCertificate, Bytes: der})
}

// loadIdentity reads what save wrote. A missing file gives an error that wraps fs.ErrNotExist, a key that was sealed with another seal one that wraps ErrSeal.
func loadIdentity(dir string, safe Safe) (*identity, error) {
	rest, err := os.ReadFile(filepath.Join(dir, identityFile))
	if err != nil {
		return nil, fmt.Errorf("cannot read this node's identity: %w", err)
	}
	var i identity
	var certs [][]byte
	for block, rest := pem.Decode(rest); block != nil; block, rest = pem.Decode(rest) {
		if block.Type == pemCertificate {
			certs = append(certs, block.Bytes)
			continue
		}
		der, err := safe.Unblock(whatNodeKey, block)
		if err != nil {
			return nil, fmt.Errorf("cannot read this node's identity: %w", err)
		}
		key, _ := x509.ParsePKCS8PrivateKey(der)
		i.key, _ = key.(*ecdsa.PrivateKey)
		i.stale = safe.stale(block.Type == pemSealed, block.Bytes)
	}
	if i.key == nil || len(certs) > 3 {
		return nil, errors.New("cannot use this node's identity: the file is damaged")
	}
	if len(certs) < 2 {
		return &i, nil
	}
	n, err := i.granted(certs[0], certs[1], append(certs, nil)[2])
	if err != nil {
		return nil, fmt.Errorf("cannot use this node's identity: %w", err)
	}
	return n, nil
}
