package mesh

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/url"
	"time"

	"github.com/ruche-project/ruche"
)

const (
	rootLifetime        = 20 * 365 * 24 * time.Hour
	certificateLifetime = 30 * 24 * time.Hour
	// memberLifetime is longer, though renewed as often: control nodes that were all off for longer could not find together to make new ones.
	memberLifetime = 180 * 24 * time.Hour
	// backdate lets nodes in whose clock is behind.
	backdate = time.Hour
	// rootKey is the key of the only value in the authority's bucket.
	rootKey = "root"
)

// SealedForRoot is what AuthorityRecord.SealedKey is sealed for.
const SealedForRoot = "key of the mesh's authority"

// PeerName is the common name of the certificates with which control nodes replicate the state. No node can have this name.
const PeerName = "ruche-control"

// Bucket is what the mesh needs of a part of the state. Errors are those that package ruche names.
type Bucket[T any] interface {
	Get(ctx context.Context, key string) (ruche.Entry[T], error)
	Put(ctx context.Context, key string, v T) (revision int64, err error)
	Create(ctx context.Context, key string, v T) (int64, error)
	CompareAndSet(ctx context.Context, key string, v T, revision int64) (int64, error)
	Delete(ctx context.Context, key string) error
	List(ctx context.Context) (map[string]ruche.Entry[T], error)
	Watch(ctx context.Context, fn func(ruche.Update[T])) error
}

// AuthorityRecord is how the authority is kept in the bucket "authority".
type AuthorityRecord struct {
	Certificate []byte `json:"certificate"` // DER
	SealedKey   []byte `json:"sealed_key"`  // PKCS #8, sealed
}

// Authority makes the certificates of an installation's nodes. It is safe for concurrent use.
type Authority struct {
	root *x509.Certificate
	key  crypto.Signer
	now  func() time.Time
}

// OpenAuthority gives the installation's authority, and makes it when there is none. Of several callers at once one makes it. now tells the
// time; nil stands for the clock.
func OpenAuthority(ctx context.Context, kept Bucket[AuthorityRecord], seal *Seal, now func() time.Time) (*Authority, error) {
	if now == nil {
		now = time.Now
	}
	entry, err := kept.Get(ctx, rootKey)
	if errors.Is(err, ruche.ErrNotFound) {
		var made AuthorityRecord
		if made, err = makeRoot(seal, now()); err != nil {
			return nil, fmt.Errorf("cannot make the mesh's authority: %w", err)
		}
		if _, err = kept.Create(ctx, rootKey, made); err == nil || errors.Is(err, ruche.ErrExists) {
			entry, err = kept.Get(ctx, rootKey)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("cannot open the mesh's authority: %w", err)
	}
	a := &Authority{now: now}
	if a.root, err = x509.ParseCertificate(entry.Value.Certificate); err != nil {
		return nil, fmt.Errorf("cannot open the mesh's authority: %w", err)
	}
	der, err := seal.Open(SealedForRoot, entry.Value.SealedKey)
	if err != nil {
		return nil, err
	}
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, fmt.Errorf("cannot open the mesh's authority: %w", err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok || keyHash(signer.Public()) != keyHash(a.root.PublicKey) {
		return nil, errors.New("cannot open the mesh's authority: its key does not fit its certificate")
	}
	a.key = signer
	return a, nil
}

func makeRoot(seal *Seal, now time.Time) (AuthorityRecord, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return AuthorityRecord{}, err
	}
	template := &x509.Certificate{
		Subject:   pkix.Name{CommonName: "Ruche mesh " + keyHash(key.Public())[:8]},
		NotBefore: now.Add(-backdate), NotAfter: now.Add(rootLifetime),
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		IsCA:     true, BasicConstraintsValid: true,
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return AuthorityRecord{}, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return AuthorityRecord{}, err
	}
	return AuthorityRecord{Certificate: cert, SealedKey: seal.Close(SealedForRoot, der)}, nil
}

// RootHash is the SHA-256 of the root's public key, in hexadecimal digits, as AuthorityRecord.Root gives it.
func (a *Authority) RootHash() string { return keyHash(a.root.PublicKey) }

// Root is the certificate that all others of the installation are signed with. It must not be changed.
func (a *Authority) Root() *x509.Certificate { return a.root }

// nodeCertificate makes the certificate by which a node is known in the mesh.
func (a *Authority) nodeCertificate(key crypto.PublicKey, name string, roles []Role) ([]byte, error) {
	subject := pkix.Name{CommonName: name}
	for _, r := range roles {
		subject.OrganizationalUnit = append(subject.OrganizationalUnit, string(r))
	}
	return a.issue(key, &x509.Certificate{Subject: subject, URIs: []*url.URL{nodeURI(name)}}, certificateLifetime)
}

// peerCertificate makes the certificate by which control nodes know one another as members of the state. host is where the node is reached.
func (a *Authority) peerCertificate(key crypto.PublicKey, host string) ([]byte, error) {
	template := &x509.Certificate{Subject: pkix.Name{CommonName: PeerName}}
	if ip := net.ParseIP(host); ip != nil {
		template.IPAddresses = []net.IP{ip}
	} else {
		template.DNSNames = []string{host}
	}
	return a.issue(key, template, memberLifetime)
}

func (a *Authority) issue(key crypto.PublicKey, template *x509.Certificate, lifetime time.Duration) ([]byte, error) {
	now := a.now()
	template.NotBefore, template.NotAfter = now.Add(-backdate), now.Add(lifetime)
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	template.BasicConstraintsValid = true
	return x509.CreateCertificate(rand.Reader, template, a.root, key, a.key)
}

// keyHash is the SHA-256 of a public key's SubjectPublicKeyInfo, in hexadecimal digits.
func keyHash(key crypto.PublicKey) string {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:])
}
