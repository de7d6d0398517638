package certs

import (
	"crypto/tls"
	"errors"
	"fmt"
	"strings"

	"github.com/ruche-project/ruche"
)

// checkKey names a file of authorities and one of revocations by their base names; without the latter it is the one beside the authorities, if there is one.
type checkKey struct{ authority, revoked string }

// ClientCheck tells how certificates of clients are verified where a route has declared this, which may be nil. named and pattern are host patterns, as
// they were declared, that files may be named after. It is nil where nobody asks for certificates. The error says why the route must not be served: it asks
// for a check that cannot be made. It costs a map look-up or two.
func (c *Certs) ClientCheck(declared *ruche.ClientAuth, named, pattern string) (*ruche.PeerCheck, error) {
	switch {
	case declared != nil && declared.Mode == ruche.ClientAuthOff:
		return nil, nil
	case declared != nil && declared.CA == ruche.AuthorityInternal:
		return c.internalAuthority(ruche.AuthorityClients)
	case declared != nil && declared.CA != "":
		return c.authority(declared.CA, declared.CRL)
	}
	files := c.files.Load()
	revoked := ""
	if declared != nil {
		revoked = declared.CRL
	}
	if len(files.authorities) > 0 {
		for _, host := range [...]string{hashed(named), hashed(pattern), everyHost} {
			if files.authorities[host] != nil {
				return files.check(host, revoked)
			}
		}
	}
	if declared != nil && declared.Mode == ruche.ClientAuthRequire {
		return nil, fmt.Errorf("it asks for client certificates, but %s has neither %s%s nor ca.crt", c.cfg.Dir, hashed(named), authoritySuffix)
	}
	return nil, nil
}

// EndpointCheck tells how endpoints are verified, and which certificate they are shown; both may be nil. The error says why they cannot be spoken to.
func (c *Certs) EndpointCheck(e ruche.EndpointTLS) (check *ruche.PeerCheck, own *tls.Certificate, err error) {
	if e.ClientCert != "" {
		p := c.files.Load().pairs[strings.ToLower(e.ClientCert)]
		if p == nil {
			return nil, nil, fmt.Errorf("the certificate to show, %s.crt, is not in %s or cannot be used", e.ClientCert, c.cfg.Dir)
		}
		own = &p.certificate
	}
	switch e.CA {
	case "":
		return nil, own, nil
	case ruche.AuthoritySystem:
		return c.system, own, nil
	case ruche.AuthorityInternal:
		check, err = c.internalAuthority(ruche.AuthorityServices)
		return check, own, err
	}
	check, err = c.authority(e.CA, "")
	return check, own, err
}

// authority returns the check by the name of a file that a declaration gives.
func (c *Certs) authority(name, revoked string) (*ruche.PeerCheck, error) {
	files, base := c.files.Load(), strings.ToLower(name)
	if files.authorities[base] == nil {
		return nil, fmt.Errorf("there is no %s%s in %s", name, authoritySuffix, c.cfg.Dir)
	}
	return files.check(base, revoked)
}

// check returns the check by authorities that are there.
func (f *files) check(base, revoked string) (*ruche.PeerCheck, error) {
	a := f.authorities[base]
	if a.err != nil {
		return nil, a.err
	}
	key := checkKey{base, strings.ToLower(revoked)}
	if made, ok := f.checks.Load(key); ok {
		return made.(*ruche.PeerCheck), nil
	}
	r := f.revoked[key.revoked]
	switch {
	case revoked != "" && r == nil:
		return nil, errors.New("there is no " + revoked + revocationSuffix + " beside " + a.path)
	case revoked == "" && base == everyHost:
		r = f.revoked["ca"]
	case revoked == "":
		r = f.revoked[base]
	}
	if r != nil && r.err != nil {
		return nil, r.err
	}
	made, _ := f.checks.LoadOrStore(key, newPeerCheck(a, r))
	return made.(*ruche.PeerCheck), nil
}
