package acmeserver

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"math/big"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestDirectory(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *Config) { c.Terms = "https://dept.example/terms" })
	a := r.raw().get("/directory")
	for _, name := range []string{"newNonce", "newAccount", "newOrder", "revokeCert", "keyChange", "renewalInfo"} {
		if !strings.HasPrefix(a.str(name), r.url+"/") {
			t.Errorf("%s is at %q", name, a.str(name))
		}
	}
	meta := a.body["meta"].(map[string]any)
	if meta["termsOfService"] != "https://dept.example/terms" || meta["website"] != "https://dept.example/ca" || meta["externalAccountRequired"] != false {
		t.Errorf("meta: %v", meta)
	}
	profiles := meta["profiles"].(map[string]any)
	if profiles["server"] == nil || profiles["short"] == nil || profiles["client"] != nil || profiles["docker-client"] != nil {
		t.Errorf("profiles: %v", profiles)
	}
	for _, tc := range []struct {
		method, path string
		status       int
	}{
		{"HEAD", "/new-nonce", 200}, {"GET", "/new-nonce", 204}, {"POST", "/new-nonce", 405}, {"GET", "/new-order", 405}, {"POST", "/directory", 405}, {"GET", "/nothing", 404},
	} {
		req, _ := http.NewRequestWithContext(t.Context(), tc.method, r.at(tc.path), nil)
		resp, err := r.client.Do(req)
		got := r.reply(resp, err)
		if got.status != tc.status || got.head.Get("Cache-Control") != "no-store" {
			t.Errorf("%s %s: %d, %v", tc.method, tc.path, got.status, got.head)
		}
		if tc.path != "/directory" && !strings.Contains(got.head.Get("Link"), `/directory>;rel="index"`) {
			t.Errorf("%s %s has no link to the directory: %v", tc.method, tc.path, got.head)
		}
	}
	// Without agreement there is no account.
	c := r.raw()
	refused := c.post("/new-account", map[string]any{})
	if refused.kind() != string(userActionRequired) || !slices.ContainsFunc(refused.head.Values("Link"), func(l string) bool { return strings.Contains(l, "terms-of-service") }) {
		t.Errorf("without agreement: %s %v", refused.text, refused.head)
	}
	c.open(map[string]any{"termsOfServiceAgreed": true})
}

// Requests that are not as they must be.
func TestBadRequests(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	c := r.opened()
	other := newECKey(t)
	weak := &rsa.PublicKey{N: new(big.Int).SetBit(big.NewInt(1), 1023, 1), E: 65537}
	order := map[string]any{"identifiers": ids("a.dept.example")}
	used := c.nonce()
	c.send("/new-order", c.sign(map[string]any{"alg": es256, "nonce": used, "url": r.at("/new-order"), "kid": c.kid}, order))
	with := func(changes map[string]any) func() []byte {
		return func() []byte {
			head := c.head("/new-order")
			for k, v := range changes {
				if head[k] = v; v == nil {
					delete(head, k)
				}
			}
			return c.sign(head, order)
		}
	}
	for name, tc := range map[string]struct {
		body   func() []byte
		kind   problemType
		status int
	}{
		"no JSON":            {func() []byte { return []byte("x") }, malformed, 400},
		"compact JWS":        {func() []byte { return []byte(`"a.b.c"`) }, malformed, 400},
		"too large":          {func() []byte { return bytes.Repeat([]byte("x"), maxBody+1) }, malformed, 413},
		"unprotected head":   {func() []byte { return []byte(`{"protected":"e30","payload":"","signature":"","header":{}}`) }, malformed, 400},
		"several signatures": {func() []byte { return []byte(`{"payload":"","signatures":[]}`) }, malformed, 400},
		"padding":            {func() []byte { return []byte(`{"protected":"e30=","payload":"","signature":""}`) }, malformed, 400},
		"alg none":           {with(map[string]any{"alg": "none"}), badSignatureAlgorithm, 400},
		"alg HS256":          {with(map[string]any{"alg": hs256}), badSignatureAlgorithm, 400},
		"alg of another key": {with(map[string]any{"alg": rs256}), malformed, 400},
		"another URL":        {with(map[string]any{"url": r.at("/new-account")}), unauthorized, 403},
		"no URL":             {with(map[string]any{"url": nil}), unauthorized, 403},
		"no nonce":           {with(map[string]any{"nonce": nil}), badNonce, 400},
		"made-up nonce":      {with(map[string]any{"nonce": "AAAA"}), badNonce, 400},
		"crit":               {with(map[string]any{"crit": []string{"exp"}}), malformed, 400},
		"kid and jwk":        {with(map[string]any{"jwk": json.RawMessage(jwkOf(t, other.Public()))}), malformed, 400},
		"neither":            {with(map[string]any{"kid": nil}), malformed, 400},
		"jwk for kid":        {with(map[string]any{"kid": nil, "jwk": json.RawMessage(jwkOf(t, c.key.Public()))}), malformed, 400},
		"unknown account":    {with(map[string]any{"kid": r.at("/account/nobody")}), accountDoesNotExist, 400},
		"strange account":    {with(map[string]any{"kid": "https://elsewhere.example/1"}), accountDoesNotExist, 400},
		"an index as kid":    {with(map[string]any{"kid": r.at("/account/key/x")}), accountDoesNotExist, 400},
		"another's key":      {func() []byte { return signJWS(t, other, c.head("/new-order"), order) }, malformed, 400},
		"weak key":           {with(map[string]any{"kid": nil, "jwk": json.RawMessage(jwkOf(t, weak))}), badPublicKey, 400},
		"payload no object":  {func() []byte { return c.sign(c.head("/new-order"), []byte("[")) }, malformed, 400},
		"payload missing":    {func() []byte { return c.sign(c.head("/new-order"), nil) }, malformed, 400},
	} {
		t.Run(name, func(t *testing.T) {
			a := c.send("/new-order", tc.body())
			if a.kind() != string(tc.kind) || a.status != tc.status || a.head.Get("Content-Type") != "application/problem+json" {
				t.Errorf("%d %s, want %d %s", a.status, a.text, tc.status, tc.kind)
			}
			if a.head.Get("Replay-Nonce") == "" {
				t.Error("there is no nonce in the answer")
			}
			if tc.kind == badSignatureAlgorithm && len(a.strs("algorithms")) != 4 {
				t.Errorf("algorithms: %s", a.text)
			}
		})
	}
	if resp, err := r.client.Post(r.at("/new-order"), "application/json", strings.NewReader("{}")); r.reply(resp, err).status != http.StatusUnsupportedMediaType {
		t.Error("another media type is taken")
	}
}

// A nonce is good once at a node, whichever node has made it.
func TestNonceIsTakenOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.behind(r.nodes[0])
	c := r.opened()
	body := c.sign(c.head("/new-order"), map[string]any{"identifiers": ids("a.dept.example")})
	if a := c.send("/new-order", body); a.status != http.StatusCreated {
		t.Fatalf("%d %s", a.status, a.text)
	}
	if a := c.send("/new-order", body); a.kind() != string(badNonce) {
		t.Errorf("the same request again: %d %s", a.status, a.text)
	}
	old := c.sign(c.head("/new-order"), map[string]any{"identifiers": ids("a.dept.example")})
	r.skew.Store(int64(nonceLife + time.Minute))
	if a := c.send("/new-order", old); a.kind() != string(badNonce) {
		t.Errorf("an old nonce: %d %s", a.status, a.text)
	}
}

// Each kind of account key that RFC 8555 clients have.
func TestAccountKeys(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	p384, _ := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	rsa2048, _ := rsa.GenerateKey(rand.Reader, 2048)
	_, ed, _ := ed25519.GenerateKey(rand.Reader)
	for alg, key := range map[string]crypto.Signer{es256: newECKey(t), es384: p384, rs256: rsa2048, eddsa: ed} {
		t.Run(alg, func(t *testing.T) {
			c := &raw{r: r, key: key, alg: alg}
			if a := c.post("/new-account", map[string]any{"onlyReturnExisting": true}); a.kind() != string(accountDoesNotExist) {
				t.Errorf("no account yet: %d %s", a.status, a.text)
			}
			c.open(map[string]any{"contact": []string{"mailto:ops@dept.example"}})
			again := c.post("/new-account", map[string]any{"onlyReturnExisting": true})
			if again.status != http.StatusOK || again.head.Get("Location") != c.kid {
				t.Errorf("the account again: %d %s", again.status, again.text)
			}
			if a := c.post(c.kid, nil); a.str("status") != "valid" || a.strs("contact")[0] != "mailto:ops@dept.example" {
				t.Errorf("the account: %s", a.text)
			}
		})
	}
}

func TestAccounts(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	c, other := r.opened(), r.opened()
	for contact, kind := range map[string]problemType{
		"tel:+1": unsupportedContact, "mailto:": invalidContact, "mailto:a@b.example,c@d.example": invalidContact, "mailto:a@b.example?subject=x": invalidContact, "mailto:x": invalidContact,
	} {
		if a := c.post(c.kid, map[string]any{"contact": []string{contact}}); a.kind() != string(kind) {
			t.Errorf("%s: %s", contact, a.text)
		}
	}
	if a := c.post(c.kid, map[string]any{"contact": []string{"mailto:new@dept.example"}}); a.status != 200 || a.strs("contact")[0] != "mailto:new@dept.example" {
		t.Errorf("changed: %s", a.text)
	}
	if a := c.post(other.kid, nil); a.kind() != string(unauthorized) {
		t.Errorf("another's account: %s", a.text)
	}
	if a := c.post(c.kid, map[string]any{"status": "valid", "contact": []string{}}); a.status != 200 || len(a.body["contact"].([]any)) != 0 {
		t.Errorf("no contacts: %s", a.text)
	}
	order := c.order(nil, "a.dept.example")
	if a := other.post(order.head.Get("Location"), nil); a.kind() != string(unauthorized) {
		t.Errorf("another's order: %s", a.text)
	}
	for _, url := range order.strs("authorizations") {
		if a := other.post(url, nil); a.kind() != string(unauthorized) {
			t.Errorf("another's authorization: %s", a.text)
		}
		if a := c.post(url+"1", nil); a.status != http.StatusNotFound {
			t.Errorf("an authorization that does not exist: %s", a.text)
		}
	}
	r.settled()
	if a := c.post(c.kid+"/orders", nil); len(a.strs("orders")) != 1 || a.strs("orders")[0] != order.head.Get("Location") {
		t.Errorf("orders: %s", a.text)
	}
	if a := c.post(c.kid, map[string]any{"status": "deactivated"}); a.str("status") != "deactivated" {
		t.Errorf("deactivated: %s", a.text)
	}
	if a := c.post(c.kid, nil); a.kind() != string(unauthorized) || a.status != http.StatusForbidden {
		t.Errorf("after that: %d %s", a.status, a.text)
	}
	if a := c.post("/new-account", map[string]any{}); a.kind() != string(unauthorized) {
		t.Errorf("opened again: %d %s", a.status, a.text)
	}
}

// An account has one key, and a key one account.
func TestKeyChange(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	c, other := r.opened(), r.opened()
	old := c.key
	change := func(key crypto.Signer, account string, oldKey crypto.PublicKey, url string) reply {
		inner := signJWS(t, key, map[string]any{"alg": es256, "url": r.at(url), "jwk": json.RawMessage(jwkOf(t, key.Public()))},
			map[string]any{"account": account, "oldKey": json.RawMessage(jwkOf(t, oldKey))})
		return c.post("/key-change", inner)
	}
	next := newECKey(t)
	for name, a := range map[string]reply{
		"another's account": change(next, other.kid, old.Public(), "/key-change"),
		"another old key":   change(next, c.kid, other.key.Public(), "/key-change"),
		"another URL":       change(next, c.kid, old.Public(), "/new-order"),
	} {
		if a.kind() != string(malformed) || a.status != 400 {
			t.Errorf("%s: %d %s", name, a.status, a.text)
		}
	}
	if a := change(other.key, c.kid, old.Public(), "/key-change"); a.status != http.StatusConflict || a.head.Get("Location") != other.kid {
		t.Errorf("to another's key: %d %s %v", a.status, a.text, a.head)
	}
	if a := change(next, c.kid, old.Public(), "/key-change"); a.status != 200 {
		t.Fatalf("%d %s", a.status, a.text)
	}
	if a := c.post(c.kid, nil); a.kind() != string(malformed) {
		t.Errorf("the old key still signs: %s", a.text)
	}
	kid := c.kid
	if a := c.open(map[string]any{}); a.head.Get("Location") == kid {
		t.Error("the old key still has the account")
	}
	c.key, c.kid = next, kid
	if a := c.post("/new-account", map[string]any{"onlyReturnExisting": true}); a.head.Get("Location") != kid {
		t.Errorf("the new key has not the account: %s", a.text)
	}
}

func TestOrders(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	c := r.opened()
	for name, tc := range map[string]struct {
		wish map[string]any
		kind problemType
		subs int
	}{
		"nothing":           {map[string]any{}, malformed, 0},
		"no identifiers":    {map[string]any{"identifiers": []string{}}, malformed, 0},
		"too many":          {map[string]any{"identifiers": slices.Repeat(ids("a.dept.example"), maxNames+1)}, malformed, 0},
		"of another type":   {map[string]any{"identifiers": []Identifier{{"email", "a@dept.example"}}}, unsupportedIdentifier, 1},
		"an IP as dns":      {map[string]any{"identifiers": []Identifier{{"dns", "127.0.0.1"}}}, malformed, 1},
		"a dns as IP":       {map[string]any{"identifiers": []Identifier{{"ip", "dept.example"}}}, malformed, 1},
		"an IP otherwise":   {map[string]any{"identifiers": []Identifier{{"ip", "::FFFF:127.0.0.1"}}}, malformed, 1},
		"a wildcard inside": {map[string]any{"identifiers": ids("a.*.dept.example")}, malformed, 1},
		"two wildcards":     {map[string]any{"identifiers": ids("*.*.dept.example")}, malformed, 1},
		"not ASCII":         {map[string]any{"identifiers": ids("bücher.dept.example")}, malformed, 1},
		"several bad ones":  {map[string]any{"identifiers": ids("-a.dept.example", "b..dept.example", "c.dept.example")}, malformed, 2},
		"bad in two ways":   {map[string]any{"identifiers": []Identifier{{"dns", "-a.dept.example"}, {"email", "a@dept.example"}}}, compound, 2},
		"not permitted":     {map[string]any{"identifiers": ids("www.elsewhere.example", "a.dept.example", "192.0.2.1")}, rejectedIdentifier, 2},
		"unknown profile":   {map[string]any{"identifiers": ids("a.dept.example"), "profile": "client"}, invalidProfile, 0},
		"too long":          {map[string]any{"identifiers": ids("a.dept.example"), "profile": "short", "notAfter": time.Now().Add(48 * time.Hour)}, malformed, 0},
		"past":              {map[string]any{"identifiers": ids("a.dept.example"), "notAfter": time.Now().Add(-time.Hour)}, malformed, 0},
		"later":             {map[string]any{"identifiers": ids("a.dept.example"), "notBefore": time.Now().Add(time.Hour)}, malformed, 0},
		"replaces nonsense": {map[string]any{"identifiers": ids("a.dept.example"), "replaces": "x"}, malformed, 0},
		"replaces nothing":  {map[string]any{"identifiers": ids("a.dept.example"), "replaces": "AAAA.AAAB"}, malformed, 0},
	} {
		t.Run(name, func(t *testing.T) {
			a := c.post("/new-order", tc.wish)
			subs, _ := a.body["subproblems"].([]any)
			if a.kind() != string(tc.kind) || len(subs) != tc.subs {
				t.Errorf("%d %s, want %s with %d subproblems", a.status, a.text, tc.kind, tc.subs)
			}
			// RFC 8555 section 6.7.1
			if a.body["identifier"] != nil || slices.ContainsFunc(subs, func(s any) bool {
				sub, _ := s.(map[string]any)
				return sub["identifier"] == nil || sub["subproblems"] != nil
			}) {
				t.Errorf("identifiers do not stand in subproblems alone: %s", a.text)
			}
		})
	}
	a := c.order(map[string]any{"profile": "short", "notAfter": time.Now().Add(2 * time.Hour)}, "WWW.dept.example", "*.dept.example", "127.0.0.1", "www.dept.example")
	if a.status != http.StatusCreated || a.str("status") != "pending" || a.str("profile") != "short" || fmt.Sprint(a.body["identifiers"]) !=
		"[map[type:dns value:www.dept.example] map[type:dns value:*.dept.example] map[type:ip value:127.0.0.1]]" {
		t.Fatalf("%d %s", a.status, a.text)
	}
	for n, want := range []string{"http-01 tls-alpn-01 dns-01", "dns-01", "http-01 tls-alpn-01"} {
		authz := c.post(a.strs("authorizations")[n], nil)
		var types, tokens []string
		for _, ch := range authz.body["challenges"].([]any) {
			m := ch.(map[string]any)
			types, tokens = append(types, m["type"].(string)), append(tokens, m["token"].(string))
			got := c.post(m["url"].(string), nil)
			if got.str("status") != "pending" || got.str("token") != m["token"] || !slices.ContainsFunc(got.head.Values("Link"), func(l string) bool { return strings.HasSuffix(l, `;rel="up"`) }) {
				t.Errorf("challenge: %s %v", got.text, got.head)
			}
		}
		slices.Sort(tokens)
		if strings.Join(types, " ") != want || len(slices.Compact(tokens)) != len(types) || (authz.body["wildcard"] == true) != (n == 1) {
			t.Errorf("authorization %d: %s", n, authz.text)
		}
	}
	r.settled()
	if again := c.order(map[string]any{"profile": "short", "notAfter": a.str("notAfter")}, "127.0.0.1", "*.dept.example", "www.dept.example"); again.head.Get("Location") != a.head.Get("Location") {
		t.Error("the same again is another order")
	}
	if done := c.post(a.str("finalize"), map[string]any{"csr": csrFor(t, newECKey(t), "www.dept.example", "*.dept.example", "127.0.0.1")}); done.kind() != string(orderNotReady) {
		t.Errorf("finalized before it is ready: %s", done.text)
	}
}
