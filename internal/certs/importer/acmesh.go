package importer

import (
	"encoding/json"
	"path"
	"strings"

	"github.com/ruche-project/ruche"
)

// isAcmeSh reports whether a directory is a configuration home of acme.sh: accounts are in ca/HOST/PATH.
func (r *reader) isAcmeSh(dir string) bool {
	return r.isDir(path.Join(dir, "ca")) && (r.isFile(path.Join(dir, "account.conf")) || len(r.accountKeys(path.Join(dir, "ca"), 0)) > 0)
}

// acmeShHomes gives the homes in the directory of an acme-companion, which has one for each e-mail address.
func (r *reader) acmeShHomes() []string {
	var homes []string
	dirs, _ := r.quiet().list(".")
	for _, d := range dirs {
		if r.quiet().isAcmeSh(d) {
			homes = append(homes, d)
		}
	}
	return homes
}

// quiet gives a reader whose problems nobody hears of: to look what there is.
func (r *reader) quiet() *reader { return &reader{fsys: r.fsys, root: r.root} }

// acmeSh reads a home of acme.sh: accounts, and certificates in DOMAIN or DOMAIN_ecc, with DOMAIN.conf beside them.
func (r *reader) acmeSh(home string) {
	settings := r.shellFile(path.Join(home, "account.conf"))
	ca := path.Join(home, "ca")
	for _, file := range r.accountKeys(ca, 0) {
		data, ok := r.read(file, maxPEM)
		if !ok {
			continue
		}
		key, err := parsePEMKey(data)
		if err != nil {
			r.skip(file, err.Error(), "nothing is to be done: another account is made when it is needed")
			continue
		}
		conf := r.shellFile(path.Join(path.Dir(file), "ca.conf"))
		a := ruche.ImportedAccount{
			Directory: "https://" + strings.TrimPrefix(path.Dir(file), ca+"/"), URL: conf["ACCOUNT_URL"], KeyID: conf["CA_EAB_KEY_ID"],
			Email: r.acmeShMail(path.Dir(file), conf["CA_EMAIL"], settings["ACCOUNT_EMAIL"], path.Base(home)),
		}
		r.account(file, a, key)
	}
	dirs, _ := r.list(home)
	for _, d := range dirs {
		if d == ca {
			continue
		}
		domain := strings.TrimSuffix(path.Base(d), "_ecc")
		conf := r.shellFile(path.Join(d, domain+".conf"))
		for _, n := range r.assemble(r.scope(d), func(held) bool { return true }) {
			kept := &r.certificates[n]
			kept.Names = firstName(kept.Names, conf["Le_Domain"])
			if api := conf["Le_API"]; strings.HasPrefix(api, "https://") {
				kept.Directory, kept.Guessed = api, false
			}
		}
	}
}

// acmeShMail finds the e-mail address of an account, which has been kept in several places over the years.
func (r *reader) acmeShMail(dir, conf, settings, home string) string {
	if conf != "" {
		return conf
	}
	if name := path.Join(dir, "account.json"); r.isFile(name) {
		var account struct{ Contact []string }
		if data, ok := r.read(name, maxPEM); ok && json.Unmarshal(data, &account) == nil && len(account.Contact) > 0 {
			return account.Contact[0]
		}
	}
	if settings == "" && strings.Contains(home, "@") {
		return home
	}
	return settings
}

// accountKeys finds the files account.key below a directory.
func (r *reader) accountKeys(dir string, depth int) []string {
	var keys []string
	if depth > maxDepth {
		return nil
	}
	if file := path.Join(dir, "account.key"); r.isFile(file) {
		keys = append(keys, file)
	}
	dirs, _ := r.quiet().list(dir)
	for _, d := range dirs {
		keys = append(keys, r.accountKeys(d, depth+1)...)
	}
	return keys
}

// shellFile reads a file of acme.sh's settings, if there is one.
func (r *reader) shellFile(name string) map[string]string {
	if !r.isFile(name) {
		return nil
	}
	data, _ := r.read(name, maxPEM)
	return parseShell(data)
}

// parseShell reads lines NAME='value'. Nothing in them is expanded.
func parseShell(data []byte) map[string]string {
	values := map[string]string{}
	for line := range strings.Lines(string(data)) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), "=")
		if !ok || strings.HasPrefix(name, "#") {
			continue
		}
		for _, quote := range []string{"'", `"`} {
			if len(value) > 1 && strings.HasPrefix(value, quote) && strings.HasSuffix(value, quote) {
				value = value[1 : len(value)-1]
				break
			}
		}
		values[strings.TrimSpace(name)] = value
	}
	return values
}
