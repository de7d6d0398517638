package inventory

import (
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ruche-project/ruche/internal/certs/vault"
)

// Memory keeps what was found out about stored certificates, some 0.5 kB for each: to read one and to verify its chain takes a tenth of a millisecond, and the inventory is made again and
// again, of thousands, while visitors want the processor. It is for the records of one store. It is safe for concurrent use, and ready as it is.
type Memory struct {
	mu       sync.Mutex
	readings map[string]*reading // by ID
}

// reading is what stands in a certificate, and what is wrong with its chain. It is never changed.
type reading struct {
	of                                    [sha256.Size]byte // the record that was read
	ca, keyType, serial, fingerprint, key string
	notBefore, notAfter                   time.Time
	problems                              []string
	err                                   error
}

// read gives the readings of records, by ID. What it knows of other records is forgotten.
func (m *Memory) read(records map[string]vault.Record) map[string]*reading {
	known := m.known()
	readings := make(map[string]*reading, len(records))
	for id, r := range records {
		of := identity(r)
		c := known[id]
		if c == nil || c.of != of {
			c = newReading(r)
			c.of = of
		}
		readings[id] = c
	}
	if m != nil {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.readings = readings
	}
	return readings
}

// known gives what is known so far; nobody changes it.
func (m *Memory) known() map[string]*reading {
	if m == nil {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.readings
}

// identity is the same for records of which the same is read.
func identity(r vault.Record) (sum [sha256.Size]byte) {
	h := sha256.New()
	for _, der := range r.Chain {
		fmt.Fprintf(h, "%d ", len(der))
		h.Write(der)
	}
	fmt.Fprintf(h, "%q %s", r.Names, r.Origin)
	h.Sum(sum[:0])
	return sum
}

func newReading(r vault.Record) *reading {
	leaf, err := r.Leaf()
	if err != nil {
		return &reading{err: err}
	}
	return &reading{
		ca: vault.CAName(leaf), keyType: vault.KeyTypeName(leaf), serial: fmt.Sprintf("%x", leaf.SerialNumber), fingerprint: vault.Fingerprint(leaf.Raw),
		key: vault.Fingerprint(leaf.RawSubjectPublicKeyInfo), notBefore: leaf.NotBefore, notAfter: leaf.NotAfter, problems: chainProblems(r, leaf),
	}
}

// chainProblems looks whether a stored chain is one, and good for the names that were asked for.
func chainProblems(r vault.Record, leaf *x509.Certificate) (problems []string) {
	for _, name := range r.Names {
		if !goodFor(leaf, name) {
			problems = append(problems, fmt.Sprintf("it is not good for %s, which was asked for", name))
		}
	}
	child := leaf
	for i, der := range r.Chain[1:] {
		parent, err := x509.ParseCertificate(der)
		if err != nil {
			return append(problems, fmt.Sprintf("certificate %d of the chain cannot be read", i+2))
		}
		if err := child.CheckSignatureFrom(parent); err != nil {
			return append(problems, fmt.Sprintf("certificate %d of the chain has not signed the one before it", i+2))
		}
		if parent.NotAfter.Before(leaf.NotAfter) {
			problems = append(problems, fmt.Sprintf("%s in its chain expires before it, at %s", parent.Subject.CommonName, parent.NotAfter.UTC().Format(time.RFC3339)))
		}
		child = parent
	}
	if len(r.Chain) == 1 && vault.CAName(leaf) != leaf.Subject.CommonName && r.Origin != vault.OriginInternal {
		problems = append(problems, "it is stored without the certificate of its issuer, by which clients find their root")
	}
	return problems
}

// goodFor is as clients look at it, for wildcards as well.
func goodFor(leaf *x509.Certificate, name string) bool {
	if slices.ContainsFunc(leaf.DNSNames, func(n string) bool { return strings.EqualFold(n, name) }) {
		return true
	}
	return !strings.HasPrefix(name, "*.") && leaf.VerifyHostname(name) == nil
}
