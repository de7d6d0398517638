package importer

import (
	"crypto/rand"
	"crypto/rsa"
	"testing"
	"testing/fstest"
)

// FuzzFiles reads what may stand in the files of every product, as each of them.
func FuzzFiles(f *testing.F) {
	authority := newCA(f, "Let's Encrypt")
	good := authority.issue("a.example")
	f.Add(good.full(), good.key)
	f.Add(good.chain, good.full())
	f.Add([]byte(`{"le": {"Account": {"Email": "a", "Registration": {"uri": "https://acme-v02.api.letsencrypt.org/1"}, "PrivateKey": "AAAA"}, "Certificates": [{"domain": {"main": "a"}, "certificate": "AAAA", "key": "AAAA"}]}}`), good.key)
	f.Add([]byte(`{"Certificates": [{}]}`), []byte(`{"issuer_data": {"ca": "https://a/b"}}`))
	f.Add([]byte("Le_API='https://a/b'\nserver = https://a/b\n"), []byte(`{"contact": ["mailto:a@b"], "location": "https://a/1"}`))
	f.Fuzz(func(t *testing.T, a, b []byte) {
		for _, layout := range [][2]string{
			{"a.crt", "a.key"}, {"acme.json", "x"}, {"certificates/ca/a/a.crt", "certificates/ca/a/a.json"}, {"acme/ca/users/a/a.json", "certificates/ca/a/a.key"},
			{"live/a/cert.pem", "renewal/a.conf"}, {"ca/host/account.key", "ca/host/ca.conf"}, {"account.conf", "ca/host/account.key"},
		} {
			found := ReadFS(fstest.MapFS{layout[0]: {Data: a}, layout[1]: {Data: b}}, "dir", now())
			for _, c := range found.Certificates {
				if len(c.Chain) == 0 {
					if err := checkAccount(c.Account); err != nil && c.Account.URL == "" {
						t.Errorf("%v: an account was read that would be refused: %v", layout, err)
					}
					continue
				}
				if _, err := (Store{Now: now}).check(c); err != nil && c.Directory == "" {
					t.Errorf("%v: a certificate was read that would be refused: %v", layout, err)
				}
			}
		}
	})
}

func FuzzJWK(f *testing.F) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(jwk(key))
	f.Add([]byte(`{"crv": "P-256", "kty": "EC", "d": "AQ", "x": "AQ", "y": "AQ"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if key, err := parseJWK(data); err == nil && key.Public() == nil {
			t.Error("a key without its public part")
		}
	})
}

func FuzzSettings(f *testing.F) {
	f.Add([]byte("A='b'\n#c=d\nserver = https://a\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		parseShell(data)
		parseINI(data)
		parseRegistration(data)
		parseCaddyMeta(data)
	})
}
