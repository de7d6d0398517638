package importer

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/ruche-project/ruche"
)

// resolver is what Traefik keeps for one of its certificate resolvers. Bytes are in base64: a key of an account in DER, the others PEM.
type resolver struct {
	Account *struct {
		Email        string
		Registration *struct{ URI string }
		PrivateKey   encoded
	}
	Certificates []struct {
		Domain           struct{ Main string }
		Certificate, Key encoded
	}
}

// encoded are bytes in base64. What is not leaves it empty, so that one bad entry does not take the others with it.
type encoded []byte

func (e *encoded) UnmarshalJSON(data []byte) error {
	var b []byte
	if json.Unmarshal(data, &b) == nil {
		*e = b
	}
	return nil
}

// traefik reads an acme.json: that of Traefik 2 and 3, by names of resolvers, or that of Traefik 1, which had one without a name.
func (r *reader) traefik(name string, data []byte) {
	var parts map[string]json.RawMessage
	if err := json.Unmarshal(data, &parts); err != nil {
		r.skip(name, "it is JSON, but none of Traefik's", "name the file of Traefik's setting certificatesresolvers.NAME.acme.storage")
		return
	}
	_, certs := parts["Certificates"]
	if _, account := parts["Account"]; account || certs {
		r.warn(name, "this is the file of Traefik 1", "its certificates are taken all the same")
		r.resolver(name, data)
		return
	}
	for _, part := range slices.Sorted(maps.Keys(parts)) {
		r.resolver(name+"#"+part, parts[part])
	}
}

func (r *reader) resolver(place string, data []byte) {
	var v resolver
	if err := json.Unmarshal(data, &v); err != nil {
		r.skip(place, "what Traefik keeps for this resolver cannot be read", "a write was cut off, maybe: bring the file back from a backup")
		return
	}
	directory := ""
	if a := v.Account; a != nil {
		account := ruche.ImportedAccount{Email: a.Email}
		if a.Registration != nil {
			account.URL = a.Registration.URI
		}
		directory = directoryOfHost(account.URL)
		account.Directory = directory
		if key, err := parseKey(a.PrivateKey); err != nil {
			r.skip(place+".Account", err.Error(), "nothing is to be done: another account is made when it is needed")
		} else {
			r.account(place+".Account", account, key)
		}
	}
	for i, c := range v.Certificates {
		var s scope
		at := fmt.Sprintf("%s.Certificates[%d]", place, i)
		if c.Domain.Main != "" {
			at += " (" + c.Domain.Main + ")"
		}
		if err := s.add(at, c.Certificate); err != nil {
			r.skip(at, err.Error(), "let a new one be ordered")
			continue
		}
		if err := s.add(at, c.Key); err != nil {
			r.skip(at, err.Error(), "let a new certificate be ordered")
			continue
		}
		if len(s.certs) == 0 {
			r.skip(at, "there is no certificate in it", "let one be ordered")
			continue
		}
		for _, n := range r.assemble(s, func(held) bool { return true }) {
			kept := &r.certificates[n]
			kept.Names = firstName(kept.Names, c.Domain.Main)
			if directory != "" {
				kept.Directory, kept.Guessed = directory, false
			}
		}
	}
}
