package importer

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ruche-project/ruche"
)

func TestPlainFiles(t *testing.T) {
	authority := newCA(t, "Example Trust")
	a, b, other := authority.issue("a.example", withNames("A.example", "www.a.example"), withAddress("192.0.2.1")), authority.issue("b.example"), authority.issue("c.example")
	self := newKey(t)
	template := &x509.Certificate{Subject: pkix.Name{CommonName: "self.example"}, DNSNames: []string{"self.example"}, IsCA: true, BasicConstraintsValid: true}
	selfSigned := sign(t, template, template, self.Public(), self)
	selfKey, _ := x509.MarshalPKCS8PrivateKey(self)
	withPassphrase := pemOf("ENCRYPTED PRIVATE KEY", []byte("x"))
	cases := map[string]struct {
		files map[string][]byte
		one   string // the file that is named; empty: the directory
		want  []string
		chain int
		place string // of a problem
		says  string
	}{
		"pair":                   {files: map[string][]byte{"a.crt": a.full(), "a.key": a.key}, want: []string{"a.example"}, chain: 2},
		"in one file":            {files: map[string][]byte{"a.pem": slices.Concat(a.key, a.full())}, want: []string{"a.example"}, chain: 2},
		"in the wrong order":     {files: map[string][]byte{"a.crt": slices.Concat(a.chain, pemOf("CERTIFICATE", authority.root.Raw), a.cert), "a.key": a.key}, want: []string{"a.example"}, chain: 2},
		"with the root":          {files: map[string][]byte{"a.crt": slices.Concat(a.full(), pemOf("CERTIFICATE", authority.root.Raw)), "a.key": a.key}, want: []string{"a.example"}, chain: 2},
		"chain in a file":        {files: map[string][]byte{"cert.pem": a.cert, "chain.pem": a.chain, "privkey.pem": a.key}, want: []string{"a.example"}, chain: 2},
		"twice":                  {files: map[string][]byte{"cert.pem": a.cert, "fullchain.pem": a.full(), "key.pem": a.key, "x/tls.crt": a.full(), "x/tls.key": a.key}, want: []string{"a.example"}, chain: 2},
		"without chain":          {files: map[string][]byte{"a.crt": a.cert, "a.key": a.key}, want: []string{"a.example"}, chain: 1, place: "a.crt", says: "chain is incomplete"},
		"several":                {files: map[string][]byte{"a.crt": a.full(), "a.key": a.key, "b.crt": b.full(), "b.key": b.key}, want: []string{"a.example", "b.example"}, chain: 2},
		"key of another":         {files: map[string][]byte{"a.crt": a.full(), "a.key": other.key, "b.crt": b.full(), "b.key": b.key}, want: []string{"b.example"}, chain: 2, place: "a.crt", says: "key in a.key is not that"},
		"without key":            {files: map[string][]byte{"a.crt": a.full(), "b.crt": b.full(), "b.key": b.key}, want: []string{"b.example"}, chain: 2, place: "a.crt", says: "key of the certificate of a.example and 2 more is not in the directory"},
		"with a passphrase":      {files: map[string][]byte{"a.crt": a.full(), "a.key": withPassphrase}, place: "a.key", says: "passphrase"},
		"key damaged":            {files: map[string][]byte{"a.crt": a.full(), "a.key": pemOf("PRIVATE KEY", []byte("x"))}, place: "a.key", says: "the key cannot be read"},
		"certificate damaged":    {files: map[string][]byte{"a.crt": pemOf("CERTIFICATE", []byte("x")), "a.key": a.key, "b.crt": b.full(), "b.key": b.key}, want: []string{"b.example"}, chain: 2, place: "a.crt", says: "certificate in it cannot be read"},
		"garbage":                {files: map[string][]byte{"a.crt": []byte("garbage\n"), "a.key": a.key, "b.crt": b.full(), "b.key": b.key}, want: []string{"b.example"}, chain: 2, place: "a.crt", says: "no PEM in it"},
		"empty":                  {files: map[string][]byte{"a.crt": nil, "a.key": a.key, "b.crt": b.full(), "b.key": b.key}, want: []string{"b.example"}, chain: 2, place: "a.crt", says: "it is empty"},
		"cut off":                {files: map[string][]byte{"a.crt": a.cert[:len(a.cert)/2], "a.key": a.key, "b.crt": b.full(), "b.key": b.key}, want: []string{"b.example"}, chain: 2, place: "a.crt", says: "cut off"},
		"cut off in the chain":   {files: map[string][]byte{"a.crt": a.full()[:len(a.cert)+50], "a.key": a.key}, want: []string{"a.example"}, chain: 1, place: "a.crt", says: "cut off"},
		"damaged in the base64":  {files: map[string][]byte{"a.crt": bytes.Replace(a.cert, []byte("M"), []byte("!"), 3), "a.key": a.key}, place: "a.crt", says: "damaged"},
		"in DER":                 {files: map[string][]byte{"a.crt": a.Raw, "a.key": a.key}, place: "a.crt", says: "a certificate in DER"},
		"the key is garbage":     {files: map[string][]byte{"a.crt": a.full(), "a.key": []byte("garbage")}, place: "a.key", says: "no PEM in it"},
		"a file that is garbage": {files: map[string][]byte{"a.crt": []byte("garbage"), "a.key": a.key}, one: "a.crt", place: "a.crt", says: "no PEM in it"},
		"self-signed":            {files: map[string][]byte{"self.crt": pemOf("CERTIFICATE", selfSigned.Raw), "self.key": pemOf("PRIVATE KEY", selfKey)}, place: "self.crt", says: "self-signed"},
		"dangling link":          {files: map[string][]byte{"a.crt": []byte("-> nowhere.pem"), "b.crt": b.full(), "b.key": b.key}, want: []string{"b.example"}, chain: 2, place: "a.crt", says: "cannot be read: no such file"},
		"a file and its key":     {files: map[string][]byte{"a.crt": a.full(), "a.key": a.key, "b.crt": b.full(), "b.key": b.key}, one: "b.crt", want: []string{"b.example"}, chain: 2},
		"a file that is none":    {files: map[string][]byte{"a.key": a.key}, one: "a.key", place: "a.key", says: "no certificate in it"},
		"a file of another kind": {files: map[string][]byte{"x.json": []byte(`{"a": 1}`)}, one: "x.json", place: "x.json#a", says: "cannot be read"},
		"JSON that is none":      {files: map[string][]byte{"x.json": []byte(`{`)}, one: "x.json", place: "x.json", says: "none of Traefik's"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			found := read(t, filepath.Join(tree(t, c.files), c.one))
			var names []string
			for _, cert := range found.Certificates {
				names = append(names, cert.Names[0])
				if len(cert.Chain) != c.chain {
					t.Errorf("the chain of %v has %d certificates, want %d", cert.Names, len(cert.Chain), c.chain)
				}
			}
			slices.Sort(names)
			if !slices.Equal(names, c.want) {
				t.Errorf("found %v, want %v; problems %+v", names, c.want, found.Problems)
			}
			if c.says != "" && !found.problem(c.place, c.says) || c.says == "" && len(found.Problems) > 0 {
				t.Errorf("problems are %+v, want %q at %s", found.Problems, c.says, c.place)
			}
			if len(found.Problems) > 1 && c.chain != 1 { // with an incomplete chain, that is the second one
				t.Errorf("of one thing that is wrong it said %+v", found.Problems)
			}
		})
	}
	if got := namesOf(a.Certificate); !slices.Equal(got, []string{"a.example", "www.a.example", "192.0.2.1"}) {
		t.Errorf("the names are %v", got)
	}
	if _, err := Read("/nowhere", now()); err == nil {
		t.Error("a directory that is not there is no error")
	}
}

// certificatesOfAll are three that are fine but for the last two.
func certificatesOfAll(t *testing.T) (good, old, staging issued) {
	le := newCA(t, "Let's Encrypt")
	return le.issue("shop.example", withNames("api.shop.example", "shop.example")), le.issue("old.example", expired), newCA(t, "(STAGING) Let's Encrypt").issue("test.example")
}

func rsaKey(t *testing.T) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func sameKey(t *testing.T, what string, pkcs8 []byte, want interface{ Equal(x any) bool }) {
	t.Helper()
	key, err := x509.ParsePKCS8PrivateKey(pkcs8)
	if err != nil || !want.Equal(key) {
		t.Errorf("%s: the key is another one (%v)", what, err)
	}
}

// equal makes the Equal of a key take any.
type equal struct{ *rsa.PrivateKey }

func (e equal) Equal(x any) bool { return e.PrivateKey.Equal(x) }

type equalEC struct{ *ecdsa.PrivateKey }

func (e equalEC) Equal(x any) bool { return e.PrivateKey.Equal(x) }

func TestTraefik(t *testing.T) {
	good, old, staging := certificatesOfAll(t)
	account := rsaKey(t)
	entry := func(i issued, key []byte) map[string]any {
		return map[string]any{"domain": map[string]any{"main": i.DNSNames[len(i.DNSNames)-1]}, "certificate": i.full(), "key": key, "Store": "default"}
	}
	file := func(v any) []byte {
		data, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	resolver := map[string]any{
		"Account": map[string]any{
			"Email": "Ops@example.org", "Registration": map[string]any{"body": map[string]any{"status": "valid"}, "uri": "https://acme-v02.api.letsencrypt.org/acme/acct/7"},
			"PrivateKey": x509.MarshalPKCS1PrivateKey(account), "KeyType": "4096",
		},
		"Certificates": []any{entry(good, good.key), entry(old, old.key), entry(staging, staging.key), entry(newCA(t, "x").issue("wrong.example"), good.key)},
	}
	dir := tree(t, map[string][]byte{"acme.json": file(map[string]any{"le": resolver, "empty": nil, "bad": 7})})
	for _, name := range []string{dir, filepath.Join(dir, "acme.json")} {
		found := read(t, name)
		c := found.certificates()["shop.example"]
		if len(found.certificates()) != 1 || c.Directory != ruche.LetsEncrypt || c.Guessed || !slices.Equal(c.Names, []string{"shop.example", "api.shop.example"}) {
			t.Errorf("found %+v", found.Certificates)
		}
		a := found.accounts()[ruche.LetsEncrypt]
		if a.URL != "https://acme-v02.api.letsencrypt.org/acme/acct/7" || a.Email != "ops@example.org" {
			t.Errorf("the account is %v", a)
		}
		sameKey(t, "account", a.Key, equal{account})
		for place, says := range map[string]string{
			"#le.Certificates[1] (old.example)": "has ended on 2026-11-12", "#le.Certificates[2] (test.example)": "for tests", "#le.Certificates[3]": "is not that of the certificate", "#bad": "cannot be read",
		} {
			if !found.problem(place, says) {
				t.Errorf("no problem at %s says %q: %+v", place, says, found.Problems)
			}
		}
	}
	first := read(t, tree(t, map[string][]byte{"acme.json": file(map[string]any{
		"Account": map[string]any{"Registration": map[string]any{"uri": "https://acme-v01.api.letsencrypt.org/acme/reg/7"}, "PrivateKey": x509.MarshalPKCS1PrivateKey(account)},
		"Certificates": []any{map[string]any{
			"Domain": map[string]any{"Main": "shop.example"}, "Certificate": good.full(), "Key": good.key,
		}},
	})}))
	if len(first.certificates()) != 1 || len(first.accounts()) != 0 || !first.problem("acme.json", "Traefik 1") {
		t.Errorf("of Traefik 1: %+v", first)
	}
}

func TestAcmeCompanion(t *testing.T) {
	good, old, staging := certificatesOfAll(t)
	files := map[string][]byte{
		"shop.example.crt": []byte("-> ./shop.example/fullchain.pem"), "shop.example.key": []byte("-> ./shop.example/key.pem"), "shop.example.chain.pem": []byte("-> ./shop.example/chain.pem"),
		"api.shop.example.crt": []byte("-> ./shop.example/fullchain.pem"), "api.shop.example.key": []byte("-> ./shop.example/key.pem"),
		"dhparam.pem": []byte("-----BEGIN DH PARAMETERS-----\nAAAA\n-----END DH PARAMETERS-----\n"), "shop.example.dhparam.pem": []byte("-> ./dhparam.pem"),
		"shop.example/.companion": nil, "old.example/.companion": nil,
	}
	for base, i := range map[string]issued{"shop.example": good, "old.example": old, "_test_test.example": staging} {
		files[base+"/cert.pem"], files[base+"/chain.pem"], files[base+"/fullchain.pem"], files[base+"/key.pem"] = i.cert, i.chain, i.full(), i.key
	}
	found := read(t, tree(t, files))
	c := found.certificates()["shop.example"]
	if len(found.Certificates) != 1 || c.Directory != ruche.LetsEncrypt || !c.Guessed || len(c.Chain) != 2 || !strings.Contains(c.Source, "shop.example/") {
		t.Errorf("found %+v", found.Certificates)
	}
	if !found.problem("_test_test.example", "for tests") || !found.problem("old.example/", "has ended") || len(found.Problems) != 2 {
		t.Errorf("problems are %+v", found.Problems)
	}
}

func TestAcmeSh(t *testing.T) {
	good, _, _ := certificatesOfAll(t)
	account, other := rsaKey(t), newKey(t)
	otherDER, _ := x509.MarshalECPrivateKey(other)
	const zero, private = "https://acme.zerossl.com/v2/DV90", "https://ca.internal:9000/acme/acme/directory"
	home := map[string][]byte{
		"account.conf": []byte("LOG_FILE='/dev/null'\n"),
		"ca/ca.internal:9000/acme/acme/directory/account.key":           pemOf("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(account)),
		"ca/ca.internal:9000/acme/acme/directory/ca.conf":               []byte("CA_KEY_HASH='x='\nACCOUNT_URL='https://ca.internal:9000/acme/acme/account/abc'\n"),
		"ca/ca.internal:9000/acme/acme/directory/account.json":          []byte(`{"status":"valid","contact":["mailto:ops@example.org"]}`),
		"ca/acme.zerossl.com/v2/DV90/account.key":                       pemOf("EC PRIVATE KEY", otherDER),
		"ca/acme.zerossl.com/v2/DV90/ca.conf":                           []byte("ACCOUNT_URL='https://acme.zerossl.com/v2/DV90/account/x'\nCA_EAB_KEY_ID='kid'\nCA_EAB_HMAC_KEY='secret'\n"),
		"ca/acme-staging-v02.api.letsencrypt.org/directory/ca.conf":     nil,
		"ca/acme-staging-v02.api.letsencrypt.org/directory/account.key": pemOf("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(account)),
		"shop.example_ecc/shop.example.conf":                            []byte("Le_Domain='shop.example'\nLe_Alt='api.shop.example'\nLe_API='" + private + "'\n"),
		"shop.example_ecc/shop.example.cer":                             good.cert,
		"shop.example_ecc/fullchain.cer":                                good.full(),
		"shop.example_ecc/ca.cer":                                       good.chain,
		"shop.example_ecc/shop.example.key":                             good.key,
		"shop.example_ecc/shop.example.csr":                             []byte("x"),
	}
	companion := map[string][]byte{}
	for name, content := range home {
		companion["ops@example.org/"+name] = content
	}
	for what, dir := range map[string]string{"home": tree(t, home), "homes of a companion": tree(t, companion)} {
		found := read(t, dir)
		c := found.certificates()["shop.example"]
		if c.Directory != private || c.Guessed || len(c.Chain) != 2 || len(found.certificates()) != 1 || len(found.Problems) != 0 {
			t.Errorf("%s: found %+v, problems %+v", what, found.Certificates, found.Problems)
		}
		accounts := found.accounts()
		a, z := accounts[private], accounts[zero]
		if a.Email != "ops@example.org" || a.URL != "https://ca.internal:9000/acme/acme/account/abc" || z.KeyID != "kid" || len(accounts) != 2 {
			t.Errorf("%s: the accounts are %v", what, accounts)
		}
		sameKey(t, what, a.Key, equal{account})
		sameKey(t, what, z.Key, equalEC{other})
	}
}

func TestCaddy(t *testing.T) {
	good, old, _ := certificatesOfAll(t)
	account := newKey(t)
	der, _ := x509.MarshalECPrivateKey(account)
	const private = "https://ca.internal/acme/acme/directory"
	wild := newCA(t, "Example").issue("*.wild.example")
	files := map[string][]byte{
		"acme/ca.internal-acme-acme-directory/users/ops@example.org/ops.json": []byte(`{"status":"valid","contact":["mailto:ops@example.org"],"location":"https://ca.internal/acme/acme/account/1"}`),
		"acme/ca.internal-acme-acme-directory/users/ops@example.org/ops.key":  pemOf("EC PRIVATE KEY", der),
		"acme/unknown.example-dir/users/default/default.json":                 []byte(`{"status":"valid","location":"https://unknown.example/1"}`),
		"acme/unknown.example-dir/users/default/default.key":                  pemOf("EC PRIVATE KEY", der),
		"acme/unknown.example-dir/challenge_tokens/x.json":                    []byte("{}"),
		"certificates/local/intern.example/intern.example.crt":                good.full(),
		"locks/x.lock":         []byte("{}"),
		"last_clean.json":      []byte("{}"),
		"ocsp/shop.example-1a": []byte("x"),
	}
	site := func(ca, name, directory string, i issued) {
		base := "certificates/" + ca + "/" + name + "/" + name
		files[base+".crt"], files[base+".key"] = i.full(), i.key
		files[base+".json"] = fmt.Appendf(nil, `{"sans":[%q],"issuer_data":{"url":"x","ca":%q,"renewal_info":{}}}`, name, directory)
	}
	site("acme-v02.api.letsencrypt.org-directory", "shop.example", ruche.LetsEncrypt, good)
	site("acme-v02.api.letsencrypt.org-directory", "old.example", ruche.LetsEncrypt, old)
	site("ca.internal-acme-acme-directory", "wildcard_.wild.example", private, wild)
	inVolume := map[string][]byte{}
	for name, content := range files {
		inVolume["caddy/"+name] = content
	}
	for what, dir := range map[string]string{"storage": tree(t, files), "volume": tree(t, inVolume)} {
		found := read(t, dir)
		certs := found.certificates()
		if certs["shop.example"].Directory != ruche.LetsEncrypt || certs["*.wild.example"].Directory != private || certs["*.wild.example"].Guessed || len(certs) != 2 {
			t.Errorf("%s: found %+v", what, found.Certificates)
		}
		a := found.accounts()[private]
		if a.URL != "https://ca.internal/acme/acme/account/1" || a.Email != "ops@example.org" || len(found.accounts()) != 1 {
			t.Errorf("%s: the accounts are %v", what, found.accounts())
		}
		sameKey(t, what, a.Key, equalEC{account})
		if !found.problem("old.example", "has ended") || !found.problem("certificates/local", "Caddy's own authority") || !found.problem("unknown.example-dir/users/default", "not known at which CA") || len(found.Problems) != 3 {
			t.Errorf("%s: problems are %+v", what, found.Problems)
		}
	}
}

// jwk writes a key as certbot does.
func jwk(key *rsa.PrivateKey) []byte {
	number := func(n *big.Int) string { return base64.RawURLEncoding.EncodeToString(n.Bytes()) }
	return fmt.Appendf(nil, `{"n": %q, "e": %q, "d": %q, "p": %q, "q": %q, "kty": "RSA"}`, number(key.N), number(big.NewInt(int64(key.E))), number(key.D), number(key.Primes[0]), number(key.Primes[1]))
}

func jwkEC(t *testing.T, key *ecdsa.PrivateKey) []byte {
	t.Helper()
	d, err := key.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	point, err := key.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	text := base64.RawURLEncoding.EncodeToString
	return fmt.Appendf(nil, `{"crv": "P-256", "kty": "EC", "d": %q, "x": %q, "y": %q}`, text(d), text(point[1:33]), text(point[33:]))
}

func TestCertbot(t *testing.T) {
	good, old, _ := certificatesOfAll(t)
	account, other := rsaKey(t), newKey(t)
	const private = "https://ca.internal/acme/acme/directory"
	files := map[string][]byte{
		"live/README": []byte("x"), "renewal/shop.example.conf": []byte("version = 2.1.0\ncert = /etc/letsencrypt/live/shop.example/cert.pem\n[renewalparams]\naccount = abc\nserver = " + private + "\n"),
		"accounts/ca.internal/acme/acme/directory/abc/private_key.json":                jwk(account),
		"accounts/ca.internal/acme/acme/directory/abc/regr.json":                       []byte(`{"body": {"contact": ["mailto:ops@example.org"]}, "uri": "https://ca.internal/acme/acme/account/1"}`),
		"accounts/acme-v02.api.letsencrypt.org/directory/def/private_key.json":         jwkEC(t, other),
		"accounts/acme-v02.api.letsencrypt.org/directory/def/regr.json":                []byte(`{"body": {}, "uri": "https://acme-v02.api.letsencrypt.org/acme/acct/9"}`),
		"accounts/acme-staging-v02.api.letsencrypt.org/directory/xyz/private_key.json": jwk(account),
		"accounts/acme-v02.api.letsencrypt.org/directory/broken/private_key.json":      []byte(`{"kty": "RSA", "n": "AQAB"}`),
		"archive/shop.example/cert1.pem":                                               good.cert,
	}
	for name, i := range map[string]issued{"shop.example": good, "old.example": old} {
		for file, content := range map[string][]byte{"cert": i.cert, "chain": i.chain, "fullchain": i.full(), "privkey": i.key} {
			files["archive/"+name+"/"+file+"1.pem"] = content
			files["live/"+name+"/"+file+".pem"] = []byte("-> ../../archive/" + name + "/" + file + "1.pem")
		}
	}
	dir := tree(t, files)
	found := read(t, dir)
	if c := found.certificates()["shop.example"]; c.Directory != private || c.Guessed || len(c.Chain) != 2 || len(found.certificates()) != 1 {
		t.Errorf("found %+v", found.Certificates)
	}
	accounts := found.accounts()
	if a := accounts[private]; a.Email != "ops@example.org" || a.URL != "https://ca.internal/acme/acme/account/1" || len(accounts) != 2 {
		t.Errorf("the accounts are %v", accounts)
	}
	sameKey(t, "RSA", accounts[private].Key, equal{account})
	sameKey(t, "EC", accounts[ruche.LetsEncrypt].Key, equalEC{other})
	if !found.problem("live/old.example", "has ended") || !found.problem("broken/private_key.json", "cannot be read") || len(found.Problems) != 2 {
		t.Errorf("problems are %+v", found.Problems)
	}
	if one := read(t, filepath.Join(dir, "live/shop.example")); len(one.certificates()) != 1 {
		t.Errorf("in the directory of one certificate was found %+v", one)
	}
}

func TestMergeKeepsWhatIsKnownBest(t *testing.T) {
	chain := [][]byte{{1}, {2}}
	list := Merge([]ruche.ImportedCertificate{
		{Source: "guess", Chain: chain, Directory: "https://a", Guessed: true},
		{Source: "nothing", Chain: chain}, {Source: "known", Chain: chain[:1], Directory: "https://b"}, {Source: "other", Chain: chain[1:]},
		{Source: "account"},
	})
	var got []string
	for _, c := range list {
		got = append(got, c.Source)
	}
	if !slices.Equal(got, []string{"known", "other", "account"}) {
		t.Errorf("merged to %v", got)
	}
}

func TestNoSecretIsPrinted(t *testing.T) {
	c := ruche.ImportedCertificate{Names: []string{"a"}, Key: []byte("SECRET"), Account: &ruche.ImportedAccount{Key: []byte("SECRET")}}
	for _, text := range []string{fmt.Sprint(c), fmt.Sprintf("%+v", c), fmt.Sprintf("%+v", &c), fmt.Sprintf("%+v", c.Account), fmt.Sprintf("%+v", []ruche.ImportedCertificate{c})} {
		if strings.Contains(text, "SECRET") || strings.Contains(text, fmt.Sprint([]byte("SECRET"))) {
			t.Errorf("printed %s", text)
		}
	}
}
