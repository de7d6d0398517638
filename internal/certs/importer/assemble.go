package importer

import (
	"bytes"
	"crypto/x509"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/ruche-project/ruche"
)

// maxChain bounds a chain: nobody's is half as long.
const maxChain = 8

// assemble makes certificates with key and chain of what stands together, for those certificates that want accepts, and gives where the new ones are in r.certificates.
func (r *reader) assemble(s scope, want func(held) bool) (added []int) {
	var done [][]byte
	for _, leaf := range s.certs {
		i := slices.IndexFunc(s.keys, func(k heldKey) bool { return belongs(k, leaf.Certificate) })
		if leaf.IsCA && i < 0 || !want(leaf) {
			continue
		}
		if slices.ContainsFunc(done, func(d []byte) bool { return bytes.Equal(d, leaf.Raw) }) {
			continue
		}
		done = append(done, leaf.Raw)
		if !r.usable(leaf) {
			continue
		}
		if i < 0 {
			r.keyless(s, leaf)
			continue
		}
		if r.keep(s, leaf, s.keys[i]) {
			added = append(added, len(r.certificates)-1)
		}
	}
	return added
}

// keep takes over a certificate whose key is there, and reports whether it did.
func (r *reader) keep(s scope, leaf held, k heldKey) bool {
	key, err := x509.MarshalPKCS8PrivateKey(k.Signer)
	if err != nil {
		r.skip(k.place, errUnreadable.Error(), "")
		return false
	}
	chain := chainOf(leaf, s.certs)
	if len(chain) == 1 {
		r.warn(leaf.place, "the chain is incomplete: the CA's own certificate is missing", "imported all the same; some clients will refuse it until it is renewed: put the CA's intermediate certificate into the file, and import again")
	}
	c := ruche.ImportedCertificate{Names: namesOf(leaf.Certificate), Chain: chain, Key: key, Source: r.place(leaf.place)}
	if c.Directory = guessDirectory(leaf.Certificate); c.Directory != "" {
		c.Guessed = true
	}
	r.certificates = append(r.certificates, c)
	return true
}

// usable reports whether a certificate can serve visitors, and notes why not, once for a certificate.
func (r *reader) usable(leaf held) bool {
	if r.useless[string(leaf.Raw)] {
		return false
	}
	if r.useless == nil {
		r.useless = make(map[string]bool)
	}
	what := describe(leaf.Certificate)
	switch cert := leaf.Certificate; {
	case r.now.After(cert.NotAfter):
		r.skip(leaf.place, fmt.Sprintf("the certificate %s has ended on %s", what, cert.NotAfter.UTC().Format(time.DateOnly)), "nothing is to be done: a new one is ordered when its names are published")
	case isStaging(cert):
		r.skip(leaf.place, fmt.Sprintf("the certificate %s is of a CA for tests, which no browser trusts", what), "nothing is to be done: a real one is ordered when its names are published")
	case isSelfSigned(cert):
		r.skip(leaf.place, fmt.Sprintf("the certificate %s is self-signed", what), "if clients know it, keep its files in the directory of --certs-dir")
	case len(namesOf(cert)) == 0:
		r.skip(leaf.place, "the certificate has no names of servers", "")
	case !forServers(cert):
		r.skip(leaf.place, fmt.Sprintf("the certificate %s is not for servers", what), "")
	default:
		return true
	}
	r.useless[string(leaf.Raw)] = true
	return false
}

// keyless says that the key of a certificate is not there.
func (r *reader) keyless(s scope, leaf held) {
	dir, stem := path.Dir(leaf.place), strings.TrimSuffix(path.Base(leaf.place), path.Ext(leaf.place))
	for _, name := range []string{leaf.place, path.Join(dir, stem+".key"), path.Join(dir, "key.pem"), path.Join(dir, "privkey.pem")} {
		switch {
		case slices.ContainsFunc(s.keys, func(k heldKey) bool { return k.place == name }):
			r.skip(leaf.place, fmt.Sprintf("the key in %s is not that of the certificate %s", path.Base(name), describe(leaf.Certificate)), "a renewal was cut off, maybe: look for the older pair, or let a new one be ordered")
			return
		case slices.Contains(s.broken, name) && name != leaf.place:
			return // that is said already
		}
	}
	r.skip(leaf.place, fmt.Sprintf("the key of the certificate %s is not in the directory", describe(leaf.Certificate)), "put NAME.key beside NAME.crt, or let a new certificate be ordered")
}

// chainOf gives a certificate and those that lead from it towards a root, which is left out. Those of its own file come first into question.
func chainOf(leaf held, all []held) [][]byte {
	all = slices.Clone(all)
	slices.SortStableFunc(all, func(a, b held) int {
		switch in, other := a.place == leaf.place, b.place == leaf.place; {
		case in && !other:
			return -1
		case other && !in:
			return 1
		}
		return 0
	})
	chain, last := [][]byte{leaf.Raw}, leaf.Certificate
	for len(chain) < maxChain && !isSelfSigned(last) {
		i := slices.IndexFunc(all, func(h held) bool {
			return bytes.Equal(h.RawSubject, last.RawIssuer) && !slices.ContainsFunc(chain, func(c []byte) bool { return bytes.Equal(c, h.Raw) }) &&
				last.CheckSignatureFrom(h.Certificate) == nil
		})
		if i < 0 || isSelfSigned(all[i].Certificate) {
			break
		}
		last = all[i].Certificate
		chain = append(chain, last.Raw)
	}
	return chain
}

func isSelfSigned(c *x509.Certificate) bool {
	return bytes.Equal(c.RawSubject, c.RawIssuer) && c.CheckSignature(c.SignatureAlgorithm, c.RawTBSCertificate, c.Signature) == nil
}

func forServers(c *x509.Certificate) bool {
	return len(c.ExtKeyUsage)+len(c.UnknownExtKeyUsage) == 0 ||
		slices.ContainsFunc(c.ExtKeyUsage, func(u x509.ExtKeyUsage) bool { return u == x509.ExtKeyUsageAny || u == x509.ExtKeyUsageServerAuth })
}

// namesOf gives the names in a certificate, in lower case, the common name first if it is one of them.
func namesOf(c *x509.Certificate) []string {
	var names []string
	for _, n := range c.DNSNames {
		names = append(names, strings.ToLower(n))
	}
	for _, ip := range c.IPAddresses {
		names = append(names, ip.String())
	}
	return firstName(names, c.Subject.CommonName)
}

// firstName puts a name first, if it is one of them, and leaves each once.
func firstName(names []string, first string) []string {
	first = strings.ToLower(first)
	var list []string
	if slices.Contains(names, first) {
		list = append(list, first)
	}
	for _, n := range names {
		if n != "" && !slices.Contains(list, n) {
			list = append(list, n)
		}
	}
	return list
}

// describe names a certificate in a message.
func describe(c *x509.Certificate) string {
	switch names := namesOf(c); len(names) {
	case 0:
		return fmt.Sprintf("%q", c.Subject.CommonName)
	case 1:
		return fmt.Sprintf("of %s", names[0])
	default:
		return fmt.Sprintf("of %s and %d more", names[0], len(names)-1)
	}
}
