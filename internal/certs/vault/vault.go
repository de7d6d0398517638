// Package vault says how certificates are kept: the records in the state's buckets, and what in them is sealed. It does no I/O.
package vault

import (
	"cmp"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/ruche-project/ruche"
)

// The buckets. Only the leader of "certs" writes them, but for BucketServed, of which each edge writes its own row.
const (
	BucketSpecs        = "certspecs"    // workload ID -> ruche.CertificateSpecs; discovery writes it
	BucketCertificates = "certificates" // ID -> Record; edges follow it
	BucketStates       = "certstates"   // ID -> State
	BucketOrders       = "orders"       // ID of the certificate -> Order
	BucketAccounts     = "accounts"     // AccountKey -> Account
	BucketChallenges   = "challenges"   // ChallengeKey -> Challenge; edges follow it
	BucketIssuances    = "issuances"    // time and random -> Issuance
	BucketServed       = "served"       // node name -> Served; edges write it
	BucketTickets      = "tickets"      // "keys" -> Tickets; edges follow it
	BucketECH          = "ech"          // "keys" -> ECH; edges follow it
	BucketSights       = "sights"       // host, or host:port where the port is not 443 -> Sight; of endpoints that are watched
)

// Sealer keeps private keys unreadable in a copy of the state. What a thing was closed for is part of the seal.
type Sealer interface {
	Close(what string, data []byte) []byte
	Open(what string, sealed []byte) ([]byte, error)
}

// Origin says how a certificate came to be here.
type Origin string

// The origins.
const (
	OriginACME     Origin = "acme"
	OriginInternal Origin = "internal" // Ruche's own authority
	OriginImported Origin = "imported" // by hand, or from another product's store
)

// Record is one certificate with its key. It is written as a whole: a key is never without its certificate, nor the other way round.
type Record struct {
	// Names are those that were asked for, the first one first.
	Names  []string `json:"names"`
	Origin Origin   `json:"origin"`
	// Issuer is the issuer's name and Directory its URL, of a certificate by ACME. They say where it is renewed.
	Issuer    string        `json:"issuer,omitempty"`
	Directory string        `json:"directory,omitempty"`
	Profile   string        `json:"profile,omitempty"`
	KeyType   ruche.KeyType `json:"key_type,omitempty"`
	// Chain is the certificate and what follows it, each in DER.
	Chain [][]byte `json:"chain"`
	// Key is the private key in PKCS #8, sealed for SealedFor(ID). On its way to an edge it is sealed to that edge instead.
	Key []byte `json:"key"`
	// Issued is when it was committed; Order the URL of its order, by which a crash after the commit is told from one before it.
	Issued time.Time `json:"issued"`
	Order  string    `json:"order,omitempty"`
	// Account is the key in BucketAccounts of the account that ordered it, which may revoke it; empty when that is not known.
	Account string `json:"account,omitempty"`
	// Retired is since when nobody wants it; it is not renewed, and edges do not get it. Zero while it is wanted.
	Retired time.Time `json:"retired,omitzero"`
	// Revoked is when the CA was told to revoke it; zero when it was not.
	Revoked time.Time `json:"revoked,omitzero"`
}

// SealedFor is what the key of the record under an ID is sealed for.
func SealedFor(id string) string { return "key of certificate " + id }

// Leaf gives the certificate itself.
func (r Record) Leaf() (*x509.Certificate, error) {
	if len(r.Chain) == 0 {
		return nil, errors.New("the record has no certificate")
	}
	return x509.ParseCertificate(r.Chain[0])
}

// CAName is what people call the CA of a certificate.
func CAName(c *x509.Certificate) string {
	return cmp.Or(c.Issuer.CommonName, strings.Join(c.Issuer.Organization, ", "), c.Issuer.String())
}

// KeyTypeName is the kind and size of a certificate's key, for people: "ECDSA P-256".
func KeyTypeName(c *x509.Certificate) string {
	switch k := c.PublicKey.(type) {
	case *ecdsa.PublicKey:
		return "ECDSA " + k.Params().Name
	case *rsa.PublicKey:
		return fmt.Sprintf("RSA %d", k.N.BitLen())
	}
	return c.PublicKeyAlgorithm.String()
}

// Fingerprint is the SHA-256 of a certificate, or of a public key, in DER; in hexadecimal digits.
func Fingerprint(der []byte) string {
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:])
}

// Pair joins chain and key, given in PKCS #8 and in the clear, if they belong together.
func (r Record) Pair(key []byte) (*tls.Certificate, error) {
	leaf, err := r.Leaf()
	if err != nil {
		return nil, err
	}
	private, err := x509.ParsePKCS8PrivateKey(key)
	if err != nil {
		return nil, errors.New("the key cannot be read") // what is wrong with a secret is not told
	}
	signer, ok := private.(crypto.Signer)
	if !ok {
		return nil, errors.New("the key cannot sign")
	}
	if public, ok := leaf.PublicKey.(interface{ Equal(crypto.PublicKey) bool }); !ok || !public.Equal(signer.Public()) {
		return nil, errors.New("the key is not that of the certificate")
	}
	return &tls.Certificate{Certificate: r.Chain, PrivateKey: signer, Leaf: leaf}, nil
}

// ID is the key under which the certificate of a spec is kept. It depends on the set of names, on the directory and on the key type, so that
// what is wanted of another CA or otherwise never overwrites what is served.
func ID(names []string, directory string, keyType ruche.KeyType) string {
	sorted := slices.Clone(names)
	slices.Sort(sorted)
	sum := sha256.Sum256([]byte(strings.Join(sorted, ",") + "\n" + directory + "\n" + string(keyType)))
	first := "certificate"
	if len(names) > 0 {
		first = strings.Trim(strings.ReplaceAll(strings.ReplaceAll(names[0], "*", "wildcard"), ":", "-"), "-")
	}
	return fmt.Sprintf("%.80s-%s", first, hex.EncodeToString(sum[:5]))
}

// State is how a certificate is doing. It is apart from the record, so that looking after a certificate never rewrites its key.
type State struct {
	// Due is when it is to be renewed, by the plan or by the CA's word (ARI, RFC 9773); zero before there is one.
	Due time.Time `json:"due,omitzero"`
	// Of is the fingerprint of the certificate that Due, the window and AskAgain are of: those of its predecessor say nothing.
	Of string `json:"of,omitempty"`
	// Window is the CA's suggestion, URL where it explains it, AskAgain when to ask for it again.
	WindowStart time.Time `json:"window_start,omitzero"`
	WindowEnd   time.Time `json:"window_end,omitzero"`
	Explanation string    `json:"explanation,omitempty"`
	AskAgain    time.Time `json:"ask_again,omitzero"`
	// Failures counts the failed tries since the last success, LastError is the newest one's reason, LastTry when it was, NextTry when the next one is.
	Failures  int       `json:"failures,omitempty"`
	LastError string    `json:"last_error,omitempty"`
	LastTry   time.Time `json:"last_try,omitzero"`
	NextTry   time.Time `json:"next_try,omitzero"`
	// Asked is when somebody asked for it to be renewed out of turn, and Replace tells why: "key-compromise", ...; zero when nobody did.
	Asked  time.Time `json:"asked,omitzero"`
	Reason string    `json:"reason,omitempty"`
	// Unwanted is since when nobody wants the certificate; zero while somebody does.
	Unwanted time.Time `json:"unwanted,omitzero"`
	// Proved is the challenge type that succeeded last. It is tried first the next time.
	Proved ruche.ChallengeType `json:"proved,omitempty"`
	// Revoke lists the certificates that are to be revoked, once their successor is served where there is to be one.
	Revoke []Revocation `json:"revoke,omitempty"`
	// Withdrawn is what the CA's list of revoked certificates says of a certificate; nil when it says nothing.
	Withdrawn *Withdrawal `json:"withdrawn,omitempty"`
}

// Withdrawal is that a CA has revoked a certificate by itself.
type Withdrawal struct {
	Of string    `json:"of"` // the certificate's fingerprint: its successor is not meant
	At time.Time `json:"at"`
}

// ReasonKeyCompromise is the State.Reason for which the key is not used again, whatever the spec says.
const ReasonKeyCompromise = "key-compromise"

// Revocation is the wish that a certificate be revoked.
type Revocation struct {
	Certificate []byte    `json:"certificate"`       // DER
	Directory   string    `json:"directory"`         // empty: Ruche's own authority
	Account     string    `json:"account,omitempty"` // as in Record
	Reason      int       `json:"reason"`            // RFC 5280 section 5.3.1
	Asked       time.Time `json:"asked"`
	// LastError is why it is not revoked yet although that was tried; it is tried again and again until the certificate has ended.
	LastError string `json:"last_error,omitempty"`
}

// Order is the journal of one certificate being ordered, written before each step that the CA sees, so that whoever leads next goes on where it stopped.
type Order struct {
	Names     []string `json:"names"`
	Issuer    string   `json:"issuer"`
	Directory string   `json:"directory"`
	Account   string   `json:"account"` // key in BucketAccounts
	// Key is the new certificate's private key in PKCS #8, sealed for SealedFor(ID).
	Key      []byte `json:"key"`
	Profile  string `json:"profile,omitempty"`
	Replaces string `json:"replaces,omitempty"` // ARI's ID of the certificate that it renews
	// Renewal tells that the same names had a certificate when the order began.
	Renewal bool `json:"renewal,omitempty"`
	// URL is where the order is at the CA; empty until the CA has said so.
	URL string `json:"url,omitempty"`
	// Records are the DNS records that were written for it and are to be removed.
	Records []DNSRecord `json:"records,omitempty"`
	Began   time.Time   `json:"began"`
	// Tried lists the challenge types that have failed for this certificate, by name.
	Tried map[string][]ruche.ChallengeType `json:"tried,omitempty"`
}

// DNSRecord is a TXT record.
type DNSRecord struct {
	Name  string `json:"name"` // fully qualified, without the last dot
	Value string `json:"value"`
}

// Account is an account at a CA.
type Account struct {
	Directory string   `json:"directory"`
	Contact   []string `json:"contact,omitempty"` // "mailto:..."
	KeyID     string   `json:"key_id,omitempty"`  // of the external account, if there is one
	// Key is its private key in PKCS #8, sealed for AccountSealedFor(key). It is written before the CA hears of it.
	Key []byte `json:"key"`
	// URL is what the CA calls it; empty until the CA has said so.
	URL     string    `json:"url,omitempty"`
	Created time.Time `json:"created"`
}

// AccountKey is the key of an account in its bucket.
func AccountKey(directory, email, keyID string) string {
	sum := sha256.Sum256([]byte(directory + "\n" + email + "\n" + keyID))
	return hex.EncodeToString(sum[:8])
}

// AccountSealedFor is what the key of an account is sealed for.
func AccountSealedFor(key string) string { return "key of account " + key }

// Challenge is what an edge answers a CA with.
type Challenge struct {
	Type ruche.ChallengeType `json:"type"` // ChallengeHTTP01 or ChallengeTLSALPN01
	// Name is the DNS name or IP address.
	Name  string `json:"name"`
	Token string `json:"token"`
	// KeyAuthorization is the answer (RFC 8555 section 8.1).
	KeyAuthorization string    `json:"key_authorization"`
	Expires          time.Time `json:"expires"`
}

// ChallengeKey is the key of a challenge in its bucket.
func ChallengeKey(t ruche.ChallengeType, name, token string) string {
	return string(t) + "/" + name + "/" + token
}

// Issuance is one order that was finished or has failed: by these the CA's rate limits are kept.
type Issuance struct {
	At        time.Time `json:"at"`
	Directory string    `json:"directory"`
	Account   string    `json:"account"`
	Names     []string  `json:"names"`
	// Renewal tells that the same names had a certificate before, Replaces that ARI's exemption was asked for.
	Renewal  bool `json:"renewal,omitempty"`
	Replaces bool `json:"replaces,omitempty"`
	// Failed tells that the CA refused, FailedName for which name.
	Failed     bool   `json:"failed,omitempty"`
	FailedName string `json:"failed_name,omitempty"`
}

// Served is what an edge serves its names with.
type Served struct {
	Node string `json:"node"`
	// Names has each exact or wildcard host of a route with TLS.
	Names map[string]Serving `json:"names"`
	// Seen has the names that are passed through to endpoints, and what came of a look. It is in a row of its own.
	Seen map[string]Sight `json:"seen,omitempty"`
}

// Sight is what came of a look at a certificate that others look after.
type Sight struct {
	Seen time.Time `json:"seen"`
	// Fingerprint, the issuer's common name, and the life of the certificate; empty where there was no handshake.
	Fingerprint string    `json:"fingerprint,omitempty"`
	Issuer      string    `json:"issuer,omitempty"`
	NotBefore   time.Time `json:"not_before,omitzero"`
	NotAfter    time.Time `json:"not_after,omitzero"`
	// Problem is why there was no handshake, or what clients have against the certificate but for its end.
	Problem string `json:"problem,omitempty"`
	// Revoked is when its CA has revoked it, by the CA's list; zero when it has not, or that is not known.
	Revoked time.Time `json:"revoked,omitzero"`
}

// Serving is the certificate that an edge serves a name with.
type Serving struct {
	Kind ruche.CertificateKind `json:"kind"`
	// Fingerprint, NotAfter and File are as far as there is a certificate, or a file.
	Fingerprint string    `json:"fingerprint,omitempty"`
	NotAfter    time.Time `json:"not_after,omitzero"`
	File        string    `json:"file,omitempty"`
	// Stopgap tells that it is default.crt and not for the name, so that any other certificate goes before it.
	Stopgap bool `json:"stopgap,omitempty"`
	// NotBefore is when a file begins to be valid. Unfit says of one that is not for the name what it is for: "other.example"; empty where it is for the name, or a stopgap.
	NotBefore time.Time `json:"not_before,omitzero"`
	Unfit     string    `json:"unfit,omitempty"`
	// Issuer (the CA's common name), KeyType and Serial are those of a file, where the edge serves few enough names to tell.
	Issuer  string `json:"issuer,omitempty"`
	KeyType string `json:"key_type,omitempty"`
	Serial  string `json:"serial,omitempty"`
}

// Tickets are the keys by which edges seal TLS session tickets, so that a session of one edge goes on at another.
type Tickets struct {
	// Keys are 32 bytes each, sealed as one JSON list for SealedForTickets; the first one seals new tickets. On their way to an edge they are sealed to that edge instead.
	Keys    []byte    `json:"keys"`
	Rotated time.Time `json:"rotated"`
}

// ECH are the keys of Encrypted Client Hello (RFC 9849), which all edges share.
type ECH struct {
	PublicName string `json:"public_name"`
	// Configs are ECHConfigs, which are public, the newest first.
	Configs [][]byte `json:"configs"`
	// Keys are the private keys of the configs, in the same order, sealed as one JSON list for SealedForECH. On their way to an edge they are sealed to that edge instead.
	Keys    []byte    `json:"keys"`
	Rotated time.Time `json:"rotated"`
}

// SealedForECH is what the keys of Encrypted Client Hello are sealed for.
const SealedForECH = "keys of Encrypted Client Hello"

// SealedForTickets is what ticket keys are sealed for.
const SealedForTickets = "TLS session ticket keys"

// Covers reports whether a certificate for name is good for host, which may be a wildcard itself: the same, or one label below a wildcard
// (RFC 6125 section 6.4.3). Both are lower case.
func Covers(name, host string) bool {
	if name == host {
		return true
	}
	suffix, wild := strings.CutPrefix(name, "*.")
	if !wild {
		if !strings.Contains(name, ":") { // else it may be an address in another form
			return false
		}
		a, err1 := netip.ParseAddr(name)
		b, err2 := netip.ParseAddr(host)
		return err1 == nil && err2 == nil && a == b
	}
	label, rest, ok := strings.Cut(host, ".")
	return ok && label != "" && label != "*" && rest == suffix
}

// Covering gives the names that cover a host, as Covers tells, for look-ups. An address has to be in its usual form.
func Covering(host string) []string {
	label, rest, ok := strings.Cut(host, ".")
	if !ok || label == "" || label == "*" {
		return []string{host}
	}
	return []string{host, "*." + rest}
}

// CoversAll reports whether the names of a certificate are good for all hosts.
func CoversAll(names, hosts []string) bool {
	for _, h := range hosts {
		if !slices.ContainsFunc(names, func(n string) bool { return Covers(n, h) }) {
			return false
		}
	}
	return true
}

// Redacted gives the record without its key, for logs and listings.
func (r Record) Redacted() Record {
	r.Key = nil
	return r
}

// Decode reads a record as it stands in the bucket.
func Decode(value json.RawMessage) (Record, error) {
	var r Record
	if err := json.Unmarshal(value, &r); err != nil {
		return Record{}, errors.New("the record of a certificate cannot be read")
	}
	return r, nil
}
