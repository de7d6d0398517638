package importer

import (
	"encoding/json"
	"path"
	"strings"

	"github.com/ruche-project/ruche"
)

// certbot reads its directory /etc/letsencrypt: certificates in live/NAME, where they were ordered in renewal/NAME.conf, and accounts in accounts/HOST/PATH/ID.
func (r *reader) certbot() {
	names, _ := r.list("live")
	for _, dir := range names {
		var settings map[string]string
		if conf := path.Join("renewal", path.Base(dir)+".conf"); r.isFile(conf) {
			data, _ := r.read(conf, maxPEM)
			settings = parseINI(data)
		}
		for _, n := range r.assemble(r.scope(dir), func(held) bool { return true }) {
			kept := &r.certificates[n]
			if server := settings["server"]; strings.HasPrefix(server, "https://") {
				kept.Directory, kept.Guessed = server, false
			}
		}
	}
	if r.isDir("accounts") {
		r.certbotAccounts("accounts", 0)
	}
}

// certbotAccounts reads the accounts below a directory.
func (r *reader) certbotAccounts(dir string, depth int) {
	if depth > maxDepth {
		return
	}
	dirs, _ := r.list(dir)
	for _, d := range dirs {
		file := path.Join(d, "private_key.json")
		if !r.isFile(file) {
			r.certbotAccounts(d, depth+1)
			continue
		}
		data, ok := r.read(file, maxPEM)
		if !ok {
			continue
		}
		key, err := parseJWK(data)
		if err != nil {
			r.skip(file, err.Error(), "nothing is to be done: another account is made when it is needed")
			continue
		}
		a := ruche.ImportedAccount{Directory: "https://" + strings.TrimPrefix(dir, "accounts/")}
		if regr := path.Join(d, "regr.json"); r.isFile(regr) {
			data, _ := r.read(regr, maxPEM)
			a.URL, a.Email = parseRegistration(data)
		}
		r.account(file, a, key)
	}
}

// parseRegistration reads what the CA has said of an account.
func parseRegistration(data []byte) (uri, email string) {
	var v struct {
		Body struct{ Contact []string }
		URI  string
	}
	if json.Unmarshal(data, &v) != nil {
		return "", ""
	}
	if len(v.Body.Contact) > 0 {
		email = v.Body.Contact[0]
	}
	return v.URI, email
}

// parseINI reads lines "name = value"; of several with one name the last one counts. Which section they are in does not matter here.
func parseINI(data []byte) map[string]string {
	values := map[string]string{}
	for line := range strings.Lines(string(data)) {
		name, value, ok := strings.Cut(line, "=")
		if ok && !strings.HasPrefix(strings.TrimSpace(name), "#") {
			values[strings.TrimSpace(name)] = strings.TrimSpace(value)
		}
	}
	return values
}
