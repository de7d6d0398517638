package importer

import (
	"encoding/json"
	"net/url"
	"path"
	"strings"

	"github.com/ruche-project/ruche"
)

// caddy reads a storage of Caddy, or of another program that uses certmagic: certificates/CA/NAME/NAME.{crt,key,json}, and accounts in acme/CA/users/MAIL.
func (r *reader) caddy() {
	known := map[string]string{} // how the storage calls a CA -> its directory
	for _, a := range authorities() {
		known[caddyName(a.directory)] = a.directory
	}
	cas, _ := r.list("certificates")
	for _, ca := range cas {
		if path.Base(ca) == "local" {
			r.skip(ca, "these are of Caddy's own authority", "nothing is to be done: names for which Ruche orders no certificate get one that it makes")
			continue
		}
		names, _ := r.list(ca)
		for _, dir := range names {
			r.caddySite(dir, known)
		}
	}
	if !r.isDir("acme") {
		return
	}
	cas, _ = r.list("acme")
	for _, ca := range cas {
		if !r.isDir(path.Join(ca, "users")) {
			continue
		}
		users, _ := r.list(path.Join(ca, "users"))
		for _, dir := range users {
			r.caddyUser(dir, known[path.Base(ca)])
		}
	}
}

// caddySite reads one certificate, and learns from it where its CA's directory is.
func (r *reader) caddySite(dir string, known map[string]string) {
	ca := path.Base(path.Dir(dir))
	if meta := path.Join(dir, path.Base(dir)+".json"); r.isFile(meta) {
		if data, ok := r.read(meta, maxPEM); ok {
			if directory := parseCaddyMeta(data); caddyName(directory) == ca {
				known[ca] = directory
			}
		}
	}
	for _, n := range r.assemble(r.scope(dir), func(held) bool { return true }) {
		if directory := known[ca]; directory != "" {
			r.certificates[n].Directory, r.certificates[n].Guessed = directory, false
		}
	}
}

// parseCaddyMeta gives the URL of the directory that a certificate was ordered at; empty when it does not tell.
func parseCaddyMeta(data []byte) string {
	var meta struct {
		IssuerData struct {
			CA string `json:"ca"`
		} `json:"issuer_data"`
	}
	if json.Unmarshal(data, &meta) != nil {
		return ""
	}
	return meta.IssuerData.CA
}

// caddyName is how the storage calls a CA: host and path of its directory, as one part of a file name.
func caddyName(directory string) string {
	u, err := url.Parse(directory)
	if err != nil || u.Host == "" {
		return ""
	}
	name := strings.ToLower(u.Host)
	if p := strings.Trim(strings.ReplaceAll(u.Path, "/", "-"), "-"); p != "" {
		name += "-" + strings.ToLower(p)
	}
	return strings.ReplaceAll(name, ":", "-")
}

// caddyUser reads an account.
func (r *reader) caddyUser(dir, directory string) {
	_, files := r.list(dir)
	for _, file := range files {
		if path.Ext(file) != ".json" {
			continue
		}
		var account struct {
			Status, Location string
			Contact          []string
		}
		data, ok := r.read(file, maxPEM)
		if !ok {
			continue
		}
		if json.Unmarshal(data, &account) != nil {
			r.skip(file, "the account cannot be read", "nothing is to be done: another account is made when it is needed")
			continue
		}
		keyFile := strings.TrimSuffix(file, ".json") + ".key"
		if data, ok = r.read(keyFile, maxPEM); !ok {
			continue
		}
		key, err := parsePEMKey(data)
		if err != nil {
			r.skip(keyFile, err.Error(), "nothing is to be done: another account is made when it is needed")
			continue
		}
		a := ruche.ImportedAccount{Directory: directory, URL: account.Location}
		if a.Directory == "" {
			a.Directory = directoryOfHost(account.Location)
		}
		if len(account.Contact) > 0 {
			a.Email = account.Contact[0]
		}
		r.account(file, a, key)
	}
}
