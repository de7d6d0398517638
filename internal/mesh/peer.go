package mesh

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"time"
)

// Role is what a node does in the installation.
type Role string

// The roles. A node may have several.
const (
	RoleControl Role = "control" // keeps the replicated state
	RoleAgent   Role = "agent"   // watches its node's Engine
	RoleEdge    Role = "edge"    // faces the internet
)

// checkRoles gives roles sorted and each once.
func checkRoles(roles []Role) ([]Role, error) {
	roles = slices.Compact(slices.Sorted(slices.Values(roles)))
	if len(roles) == 0 {
		return nil, errors.New("no role is named (there are control, agent and edge)")
	}
	for _, r := range roles {
		if r != RoleControl && r != RoleAgent && r != RoleEdge {
			return nil, fmt.Errorf("%.32q is no role (there are control, agent and edge)", r)
		}
	}
	return roles, nil
}

// maxName is as long as the label of a host name.
const maxName = 63

// checkName says what is wrong with the name of a node. It stands in certificates, addresses and logs, so that few characters can be in it.
func checkName(name string) error {
	if name == PeerName {
		return fmt.Errorf("no node can be named %q: members of the state are known by it", name)
	}
	ok := name != "" && len(name) <= maxName
	for i, c := range []byte(name) {
		alnum := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
		ok = ok && (alnum || i > 0 && (c == '-' || c == '.' || c == '_'))
	}
	if !ok {
		return fmt.Errorf("%.64q is no name for a node: 1 to %d letters, digits, dots, dashes and underscores, a letter or digit first", name, maxName)
	}
	return nil
}

// nodeURI is what makes a certificate one of a node.
func nodeURI(name string) *url.URL { return &url.URL{Scheme: "ruche", Host: "node", Path: "/" + name} }

// Peer is who is at the other end of a connection, as its certificate says.
type Peer struct {
	Name    string
	Roles   []Role
	hash    string // keyHash of its key
	expires time.Time
}

// has reports whether the peer has the role.
func (p Peer) has(r Role) bool { return slices.Contains(p.Roles, r) }

// Why a certificate is refused.
var (
	errExpired = errors.New("the certificate is expired, or not valid yet (look at the clocks of both nodes)")
	errForged  = errors.New("the certificate is not of this installation's authority")
	errNoNode  = errors.New("the certificate is not one of a node")
)

// verify checks that a certificate was made by the authority with this root, is valid at the time now and is a node's.
func verify(cert, root *x509.Certificate, usage x509.ExtKeyUsage, now time.Time) (Peer, error) {
	roots := x509.NewCertPool()
	roots.AddCert(root)
	// What the other side sends besides is not looked at: the root itself signs nodes, nobody between.
	_, err := cert.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{usage}})
	var invalid x509.CertificateInvalidError
	switch {
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return Peer{}, errExpired
	case err != nil:
		return Peer{}, errForged
	}
	p := Peer{Name: cert.Subject.CommonName, hash: keyHash(cert.PublicKey), expires: cert.NotAfter}
	for _, unit := range cert.Subject.OrganizationalUnit {
		p.Roles = append(p.Roles, Role(unit))
	}
	if p.Roles, err = checkRoles(p.Roles); err != nil || checkName(p.Name) != nil || len(cert.URIs) != 1 || cert.URIs[0].String() != nodeURI(p.Name).String() {
		return Peer{}, errNoNode
	}
	return p, nil
}

// readRequest reads a certificate signing request and gives the key that it proves to hold. Nothing else in it counts: name and roles are
// not for the node to say.
func readRequest(der []byte) (*ecdsa.PublicKey, error) {
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, errors.New("the certificate request cannot be read")
	}
	// Before the signature is checked, since other keys may cost much time.
	key, ok := csr.PublicKey.(*ecdsa.PublicKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, errors.New("the certificate request has a key that is not ECDSA P-256")
	}
	if err := csr.CheckSignature(); err != nil {
		return nil, errors.New("the certificate request is not signed with its key")
	}
	return key, nil
}
