package acmeserver

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/json"
	"io"
	"math/big"
	"net"
	"net/http"
	"strings"
	"testing"
)

// raw is a client that can send what no client should.
type raw struct {
	r   *rig
	key crypto.Signer
	alg string
	kid string
}

// reply is what came back.
type reply struct {
	status int
	head   http.Header
	text   []byte
	body   map[string]any
}

// kind is the type of the problem, "" for none.
func (a reply) kind() string {
	text, _ := a.body["type"].(string)
	return strings.TrimPrefix(text, urn)
}

func (a reply) str(name string) string {
	text, _ := a.body[name].(string)
	return text
}

// strs is a list of texts in the reply.
func (a reply) strs(name string) (list []string) {
	for _, v := range a.body[name].([]any) {
		list = append(list, v.(string))
	}
	return list
}

func newECKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func (r *rig) raw() *raw { return &raw{r: r, key: newECKey(r.t), alg: es256} }

// opened is a client with an account.
func (r *rig) opened() *raw {
	r.t.Helper()
	c := r.raw()
	c.open(map[string]any{})
	return c
}

func (c *raw) open(payload map[string]any) reply {
	c.r.t.Helper()
	a := c.post("/new-account", payload)
	if a.status != http.StatusCreated {
		c.r.t.Fatalf("no account: %d %s", a.status, a.text)
	}
	c.kid = a.head.Get("Location")
	return a
}

func (c *raw) get(path string) reply {
	c.r.t.Helper()
	resp, err := c.r.client.Get(c.r.at(path))
	return c.r.reply(resp, err)
}

// at makes a URL of a path below the server's.
func (r *rig) at(path string) string {
	if strings.HasPrefix(path, "/") {
		return r.url + path
	}
	return path
}

func (r *rig) reply(resp *http.Response, err error) reply {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	a := reply{status: resp.StatusCode, head: resp.Header, text: text, body: map[string]any{}}
	_ = json.Unmarshal(text, &a.body)
	return a
}

func (c *raw) nonce() string {
	c.r.t.Helper()
	return c.get("/new-nonce").head.Get("Replay-Nonce")
}

// post sends a payload, nil for POST-as-GET, signed as it should be.
func (c *raw) post(path string, payload any) reply {
	c.r.t.Helper()
	return c.send(path, c.sign(c.head(path), payload))
}

func (c *raw) head(path string) map[string]any {
	c.r.t.Helper()
	head := map[string]any{"alg": c.alg, "nonce": c.nonce(), "url": c.r.at(path)}
	if c.kid == "" || path == "/new-account" {
		head["jwk"] = json.RawMessage(jwkOf(c.r.t, c.key.Public()))
	} else {
		head["kid"] = c.kid
	}
	return head
}

func (c *raw) sign(head map[string]any, payload any) []byte {
	c.r.t.Helper()
	return signJWS(c.r.t, c.key, head, payload)
}

func (c *raw) send(path string, body []byte) reply {
	c.r.t.Helper()
	resp, err := c.r.client.Post(c.r.at(path), "application/jose+json", bytes.NewReader(body))
	return c.r.reply(resp, err)
}

func jwkOf(t testing.TB, public crypto.PublicKey) []byte {
	t.Helper()
	var m map[string]string
	switch k := public.(type) {
	case *ecdsa.PublicKey:
		point, err := k.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		half := len(point) / 2
		m = map[string]string{"kty": "EC", "crv": k.Params().Name, "x": encode(point[1 : 1+half]), "y": encode(point[1+half:])}
	case ed25519.PublicKey:
		m = map[string]string{"kty": "OKP", "crv": "Ed25519", "x": encode(k)}
	case *rsa.PublicKey:
		m = map[string]string{"kty": "RSA", "n": encode(k.N.Bytes()), "e": encode(big.NewInt(int64(k.E)).Bytes())}
	}
	data, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// signJWS signs by the head's algorithm; key is a crypto.Signer or, for HS256, the secret.
func signJWS(t testing.TB, key any, head map[string]any, payload any) []byte {
	t.Helper()
	protected, err := json.Marshal(head)
	if err != nil {
		t.Fatal(err)
	}
	var text []byte
	switch p := payload.(type) {
	case nil:
	case []byte:
		text = p
	default:
		if text, err = json.Marshal(p); err != nil {
			t.Fatal(err)
		}
	}
	input := encode(protected) + "." + encode(text)
	data, err := json.Marshal(map[string]string{"protected": encode(protected), "payload": encode(text), "signature": encode(signature(t, key, head["alg"].(string), input))})
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func signature(t testing.TB, key any, alg, input string) []byte {
	t.Helper()
	if secret, ok := key.([]byte); ok {
		mac := hmac.New(sha256.New, secret)
		mac.Write([]byte(input))
		return mac.Sum(nil)
	}
	var sum []byte
	hash := crypto.SHA256
	switch alg {
	case es384:
		s := sha512.Sum384([]byte(input))
		sum = s[:]
	case eddsa:
		sum, hash = []byte(input), 0
	default:
		s := sha256.Sum256([]byte(input))
		sum = s[:]
	}
	if k, ok := key.(*ecdsa.PrivateKey); ok {
		r, s, err := ecdsa.Sign(rand.Reader, k, sum)
		if err != nil {
			t.Fatal(err)
		}
		size := (k.Params().BitSize + 7) / 8
		return append(r.FillBytes(make([]byte, size)), s.FillBytes(make([]byte, size))...)
	}
	text, err := key.(crypto.Signer).Sign(rand.Reader, sum, hash)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// ids are identifiers of names.
func ids(names ...string) []Identifier {
	list := []Identifier{}
	for _, n := range names {
		list = append(list, identifierOf(n))
	}
	return list
}

// csrFor is a certificate request in base64url.
func csrFor(t testing.TB, key crypto.Signer, names ...string) string {
	t.Helper()
	template := &x509.CertificateRequest{}
	for _, n := range names {
		if ip := net.ParseIP(n); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, n)
		}
	}
	return requestOf(t, key, template)
}

func requestOf(t testing.TB, key crypto.Signer, template *x509.CertificateRequest) string {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, template, key)
	if err != nil {
		t.Fatal(err)
	}
	return encode(der)
}

// order makes an order.
func (c *raw) order(extra map[string]any, names ...string) reply {
	c.r.t.Helper()
	wish := map[string]any{"identifiers": ids(names...)}
	for k, v := range extra {
		wish[k] = v
	}
	return c.post("/new-order", wish)
}

// answers has what http-01 is answered with: the key authorization of the client's key.
func (c *raw) answers() func(token string) (string, bool) {
	thumb, err := parseJWK(jwkOf(c.r.t, c.key.Public()))
	if err != nil {
		c.r.t.Fatal(err)
	}
	return func(token string) (string, bool) { return token + "." + thumb.thumbprint() + "\n", true }
}

// prove says of all authorizations of an order that they can be proven by http-01, and waits until the order is no longer pending.
func (c *raw) prove(order reply) reply {
	c.r.t.Helper()
	for _, url := range order.strs("authorizations") {
		authz := c.post(url, nil)
		for _, ch := range authz.body["challenges"].([]any) {
			if m := ch.(map[string]any); m["type"] == "http-01" && authz.str("status") == "pending" {
				c.post(m["url"].(string), map[string]any{})
			}
		}
	}
	return c.until(order.head.Get("Location"), "ready", "invalid")
}

// until polls until the status is one of those.
func (c *raw) until(url string, statuses ...string) (a reply) {
	c.r.t.Helper()
	wait(c.r.t, url+" is "+strings.Join(statuses, " or "), func() bool {
		a = c.post(url, nil)
		for _, s := range statuses {
			if a.str("status") == s {
				return true
			}
		}
		return false
	})
	return a
}

// obtain goes all the way to a certificate.
func (c *raw) obtain(extra map[string]any, names ...string) (order reply, cert *x509.Certificate) {
	c.r.t.Helper()
	order = c.order(extra, names...)
	if order.status != http.StatusCreated {
		c.r.t.Fatalf("no order: %d %s", order.status, order.text)
	}
	if ready := c.prove(order); ready.str("status") != "ready" {
		c.r.t.Fatalf("the order is not ready: %s", ready.text)
	}
	done := c.post(order.str("finalize"), map[string]any{"csr": csrFor(c.r.t, newECKey(c.r.t), names...)})
	if done.str("status") != "valid" {
		c.r.t.Fatalf("the order is not valid: %s", done.text)
	}
	return done, c.r.verify(c.post(done.str("certificate"), nil).text, names...)
}

// revocation is the payload of a request to revoke.
func revocation(cert *x509.Certificate, reason int) map[string]any {
	return map[string]any{"certificate": encode(cert.Raw), "reason": reason}
}

// renewalID is ARI's ID of a certificate. A serial that begins with a one bit has a zero byte in front, as in DER.
func renewalID(cert *x509.Certificate) string {
	serial := cert.SerialNumber.Bytes()
	if serial[0] >= 0x80 {
		serial = append([]byte{0}, serial...)
	}
	return encode(cert.AuthorityKeyId) + "." + encode(serial)
}
