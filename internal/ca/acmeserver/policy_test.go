package acmeserver

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/cluster"
)

// bind makes an external account binding as a client does.
func (c *raw) bind(key ruche.ACMEKey) json.RawMessage {
	c.r.t.Helper()
	secret, err := decode(key.Secret)
	if err != nil {
		c.r.t.Fatal(err)
	}
	return signJWS(c.r.t, secret, map[string]any{"alg": hs256, "kid": key.ID, "url": c.r.at("/new-account")}, jwkOf(c.r.t, c.key.Public()))
}

func (r *rig) makeKey(spec ruche.ACMEKeySpec) ruche.ACMEKey {
	r.t.Helper()
	key, err := r.keys.MakeKey(r.t.Context(), spec)
	if err != nil {
		r.t.Fatal(err)
	}
	return key
}

func TestExternalAccountBinding(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *Config) { c.RequireKey = true })
	good := r.makeKey(ruche.ACMEKeySpec{Names: []string{"*.dept.example"}})
	expired := r.makeKey(ruche.ACMEKeySpec{Names: []string{"*"}, Expires: r.now().Add(-time.Second)})
	c := r.raw()
	secret, _ := decode(good.Secret)
	jwk := jwkOf(t, c.key.Public())
	head := func(changes map[string]any) map[string]any {
		h := map[string]any{"alg": hs256, "kid": good.ID, "url": r.at("/new-account")}
		for k, v := range changes {
			h[k] = v
		}
		return h
	}
	for name, tc := range map[string]struct {
		binding any
		kind    problemType
	}{
		"none":            {nil, externalAccountRequired},
		"no JWS":          {map[string]any{}, malformed},
		"another alg":     {json.RawMessage(signJWS(t, secret, head(map[string]any{"alg": "HS512"}), jwk)), malformed},
		"another URL":     {json.RawMessage(signJWS(t, secret, head(map[string]any{"url": r.at("/new-order")}), jwk)), malformed},
		"a nonce":         {json.RawMessage(signJWS(t, secret, head(map[string]any{"nonce": "x"}), jwk)), malformed},
		"another account": {json.RawMessage(signJWS(t, secret, head(nil), jwkOf(t, newECKey(t).Public()))), malformed},
		"another secret":  {json.RawMessage(signJWS(t, []byte("guess"), head(nil), jwk)), unauthorized},
		"unknown key":     {json.RawMessage(signJWS(t, secret, head(map[string]any{"kid": "nobody"}), jwk)), unauthorized},
		"the shared one":  {json.RawMessage(signJWS(t, secret, head(map[string]any{"kid": sharedSecret}), jwk)), unauthorized},
		"an expired one":  {c.bind(expired), unauthorized},
	} {
		t.Run(name, func(t *testing.T) {
			if a := c.post("/new-account", map[string]any{"externalAccountBinding": tc.binding}); a.kind() != string(tc.kind) {
				t.Errorf("%d %s, want %s", a.status, a.text, tc.kind)
			}
		})
	}
	c.open(map[string]any{"externalAccountBinding": c.bind(good)})
	if c.order(nil, "a.dept.example").status != http.StatusCreated {
		t.Error("an allowed name is refused")
	}
}

// What accounts of a key may have is the key's to say, as it is now.
func TestKeysAllow(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	open := func(spec ruche.ACMEKeySpec) (*raw, ruche.ACMEKey) {
		c, key := r.raw(), r.makeKey(spec)
		c.open(map[string]any{"externalAccountBinding": c.bind(key)})
		return c, key
	}
	c, key := open(ruche.ACMEKeySpec{Names: []string{"*.DEPT.example", "dept.example", "127.0.0.0/24"}, Profiles: []string{"short"}, Comment: "the department"})
	ends, _ := open(ruche.ACMEKeySpec{Names: []string{"*"}, Expires: r.now().Add(time.Hour)})
	for name, tc := range map[string]struct {
		profile string
		names   []string
		kind    problemType
	}{
		"allowed":         {"short", []string{"dept.example", "a.b.dept.example", "*.dept.example", "127.0.0.9"}, ""},
		"another profile": {"server", []string{"dept.example"}, invalidProfile},
		"another domain":  {"short", []string{"dept.example", "other.example"}, rejectedIdentifier},
		"another suffix":  {"short", []string{"xdept.example"}, rejectedIdentifier},
		"another network": {"short", []string{"127.0.1.1"}, rejectedIdentifier},
	} {
		t.Run(name, func(t *testing.T) {
			if a := c.order(map[string]any{"profile": tc.profile}, tc.names...); a.kind() != string(tc.kind) {
				t.Errorf("%d %s, want %q", a.status, a.text, tc.kind)
			}
		})
	}
	list, err := r.keys.ListKeys(t.Context())
	if err != nil || len(list.Keys) != 2 || list.Keys[0].ID != key.ID || list.Keys[0].Comment != "the department" || list.Keys[0].Secret != "" || list.Keys[0].Names[0] != "*.dept.example" {
		t.Errorf("the list: %+v, %v", list, err)
	}
	if err := r.keys.RemoveKey(t.Context(), key.ID); err != nil {
		t.Fatal(err)
	}
	if a := c.order(map[string]any{"profile": "short"}, "b.dept.example"); a.kind() != string(unauthorized) {
		t.Errorf("with a removed key: %d %s", a.status, a.text)
	}
	if a := ends.order(nil, "other.example"); a.status != http.StatusCreated {
		t.Errorf("%d %s", a.status, a.text)
	}
	r.skew.Store(int64(2 * time.Hour))
	if a := ends.order(nil, "b.other.example"); a.kind() != string(unauthorized) {
		t.Errorf("with an expired key: %d %s", a.status, a.text)
	}
	for _, id := range []string{key.ID, "nobody", sharedSecret} {
		if err := r.keys.RemoveKey(t.Context(), id); !errors.Is(err, ruche.ErrNotFound) {
			t.Errorf("RemoveKey(%s): %v", id, err)
		}
	}
	for _, names := range [][]string{nil, {""}, {"a..b"}, {"10.0.0.1/8"}, {"*.*.a"}, {"a.*"}} {
		if _, err := r.keys.MakeKey(t.Context(), ruche.ACMEKeySpec{Names: names}); err == nil {
			t.Errorf("MakeKey takes the names %q", names)
		}
	}
	for _, profile := range []string{"srever", "client"} { // clients prove no name
		if _, err := r.keys.MakeKey(t.Context(), ruche.ACMEKeySpec{Names: []string{"*"}, Profiles: []string{"short", profile}}); err == nil {
			t.Errorf("MakeKey takes the profile %q", profile)
		}
	}
}

// The state alone tells no secret.
func TestSecretsAreSealed(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	key := r.makeKey(ruche.ACMEKeySpec{Names: []string{"*"}})
	c := r.raw()
	c.open(map[string]any{"externalAccountBinding": c.bind(key)})
	all, err := cluster.NewBucket[json.RawMessage](r.state, BucketKeys).List(t.Context())
	if err != nil || len(all) != 2 {
		t.Fatalf("%d entries, %v", len(all), err)
	}
	secret, _ := decode(key.Secret)
	for id, e := range all {
		var k Key
		if err := json.Unmarshal(e.Value, &k); err != nil {
			t.Fatal(err)
		}
		for _, plain := range []string{string(secret), string(r.nodes[0].shared.Load().secret)} {
			if strings.Contains(string(k.Secret), plain) {
				t.Errorf("the secret of %s stands in the state", id)
			}
		}
	}
	if r.log.has(key.Secret) {
		t.Error("the secret stands in the log")
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *Config) {
		c.Limits = Limits{Orders: 3, Authorizations: 5, Certificates: 4, Accounts: 3}
	})
	c, orders := r.opened(), r.opened()
	r.serveHTTP01(c.answers())
	_, cert := c.obtain(nil, "a.dept.example")
	c.obtain(nil, "b.dept.example")
	c.obtain(nil, "c.dept.example")
	r.skew.Store(int64(61 * time.Minute))
	if a := c.order(nil, "d.dept.example"); a.status != http.StatusCreated {
		t.Fatalf("%d %s", a.status, a.text)
	}
	refused := func(what string, a reply) {
		t.Helper()
		if a.kind() != string(rateLimited) || a.status != http.StatusTooManyRequests || a.head.Get("Retry-After") == "" {
			t.Errorf("%s: %d %s %v", what, a.status, a.text, a.head)
		}
	}
	refused("certificates of a day, with the one that is ordered", c.order(nil, "e.dept.example"))
	replaces := renewalID(cert)
	second, _ := c.obtain(map[string]any{"replaces": replaces}, "a.dept.example")
	if second.str("replaces") != replaces {
		t.Errorf("a renewal: %s", second.text)
	}
	r.settled() // what is replaced is looked up in what a node has heard of
	if a := c.order(map[string]any{"replaces": replaces}, "a.dept.example"); a.kind() != string(alreadyReplaced) || a.status != http.StatusConflict {
		t.Errorf("replaced again: %d %s", a.status, a.text)
	}
	if a := orders.order(map[string]any{"replaces": replaces}, "a.dept.example"); a.kind() != string(unauthorized) {
		t.Errorf("another's replaced: %d %s", a.status, a.text)
	}
	if a := c.order(map[string]any{"replaces": replaces}, "z.dept.example"); a.kind() != string(malformed) {
		t.Errorf("replaced by other names: %d %s", a.status, a.text)
	}
	refused("pending authorizations", orders.order(nil, "1.dept.example", "2.dept.example", "3.dept.example", "4.dept.example", "5.dept.example", "6.dept.example"))
	for _, name := range []string{"1.dept.example", "2.dept.example", "3.dept.example"} {
		if a := orders.order(nil, name); a.status != http.StatusCreated {
			t.Fatalf("%d %s", a.status, a.text)
		}
	}
	refused("orders of an hour", orders.order(nil, "4.dept.example"))
	for range 3 {
		r.opened()
	}
	refused("accounts of an address", r.raw().post("/new-account", map[string]any{}))
	r.skew.Store(int64(123 * time.Minute))
	if a := orders.order(nil, "4.dept.example"); a.status != http.StatusCreated {
		t.Errorf("an hour later: %d %s", a.status, a.text)
	}
}

func TestRequestsOfAnAddress(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *Config) { c.Limits = Limits{Requests: 5} })
	r.behind(r.nodes[0])
	c := r.raw()
	var kinds []string
	for range 20 {
		kinds = append(kinds, c.get("/directory").kind())
	}
	if n := slices.Index(kinds, string(rateLimited)); n < 5 {
		t.Errorf("refused after %d: %v", n, kinds)
	}
	r.skew.Store(int64(time.Minute))
	if a := c.get("/directory"); a.status != 200 {
		t.Errorf("a minute later: %d %s", a.status, a.text)
	}
}

// What was proven is good for further orders for an hour, until it is given up.
func TestAuthorizationsAreReused(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	c := r.opened()
	answers := c.answers()
	var asked atomic.Int32
	r.serveHTTP01(func(token string) (string, bool) { asked.Add(1); return answers(token) })
	c.obtain(nil, "a.dept.example")
	r.settled()
	second := c.order(nil, "a.dept.example")
	if second.str("status") != "ready" || asked.Load() != 1 {
		t.Fatalf("%s, looked %d times", second.text, asked.Load())
	}
	if a := r.opened().order(nil, "a.dept.example"); a.str("status") != "pending" {
		t.Errorf("another account: %s", a.text)
	}
	if a := c.order(nil, "a.dept.example", "b.dept.example"); a.str("status") != "pending" {
		t.Errorf("with another name: %s", a.text)
	}
	r.settled()
	url := second.strs("authorizations")[0]
	if a := c.post(url, map[string]any{"status": "valid"}); a.kind() != string(malformed) {
		t.Errorf("%s", a.text)
	}
	if a := c.post(url, map[string]any{"status": "deactivated"}); a.str("status") != "deactivated" {
		t.Errorf("%s", a.text)
	}
	if a := c.post(second.head.Get("Location"), nil); a.str("status") != "invalid" {
		t.Errorf("the order: %s", a.text)
	}
	r.settled()
	if a := c.order(nil, "a.dept.example"); a.str("status") != "pending" {
		t.Errorf("after it was given up: %s", a.text)
	}
	c.obtain(nil, "c.dept.example")
	r.settled()
	r.skew.Store(int64(61 * time.Minute))
	if a := c.order(nil, "c.dept.example"); a.str("status") != "pending" {
		t.Errorf("after an hour: %s", a.text)
	}
}

func TestRenewalInfo(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	c := r.opened()
	r.serveHTTP01(c.answers())
	_, cert := c.obtain(nil, "a.dept.example")
	id := renewalID(cert)
	a := c.get("/renewal-info/" + id)
	window, _ := a.body["suggestedWindow"].(map[string]any)
	start, err := time.Parse(time.RFC3339, window["start"].(string))
	if share := float64(start.Sub(cert.NotBefore)) / float64(cert.NotAfter.Sub(cert.NotBefore)); err != nil || share < 0.66 || share > 0.67 || a.head.Get("Retry-After") != "21600" {
		t.Errorf("%s %v, %v", a.text, a.head, err)
	}
	for id, status := range map[string]int{"x": 400, "x.y": 400, "AAAA.": 400, "AAAA.gA": 400, "AAAA.AAAB": 404} {
		if a := c.get("/renewal-info/" + id); a.status != status {
			t.Errorf("%s: %d %s", id, a.status, a.text)
		}
	}
	if _, err := r.authority.Replace(t.Context(), ruche.ReplacementRequest{What: "a.dept.example", Spread: time.Hour}); err != nil {
		t.Fatal(err)
	}
	a = c.get("/renewal-info/" + id)
	if end, err := time.Parse(time.RFC3339, a.body["suggestedWindow"].(map[string]any)["end"].(string)); err != nil || end.After(r.now()) {
		t.Errorf("to be replaced: %s", a.text)
	}
	if a := c.post("/revoke-cert", revocation(cert, 4)); a.status != 200 {
		t.Fatalf("%s", a.text)
	}
	a = c.get("/renewal-info/" + id)
	if end, err := time.Parse(time.RFC3339, a.body["suggestedWindow"].(map[string]any)["end"].(string)); err != nil || end.After(r.now()) {
		t.Errorf("after the revocation: %s", a.text)
	}
}

func TestAudit(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	c := r.opened()
	r.serveHTTP01(c.answers())
	_, cert := c.obtain(nil, "a.dept.example")
	c.order(nil, "www.elsewhere.example")
	c.post("/revoke-cert", revocation(cert, 4))
	account, serial := lastPart(c.kid), serialText(cert.SerialNumber)
	for _, parts := range [][]string{
		{"account opened", account, "127.0.0.1:"}, {"order begun", account, "a.dept.example"}, {"challenge met", "http-01", "a.dept.example", account},
		{"certificate issued", serial, account, "a.dept.example"}, {"order refused", "www.elsewhere.example"}, {"certificate revoked", serial, `"reason":4`},
	} {
		if !r.log.has(append(parts, `"audit":true`)...) {
			t.Errorf("the log has no line with %v", parts)
		}
	}
	count := ruche.ACMEServerCount{Orders: map[string]uint64{}, Challenges: map[string]uint64{}, Refused: map[string]uint64{}}
	for _, s := range r.nodes {
		got := s.Counts()
		count.Accounts = max(count.Accounts, got.Accounts)
		for all, list := range map[*map[string]uint64]map[string]uint64{&count.Orders: got.Orders, &count.Challenges: got.Challenges, &count.Refused: got.Refused} {
			for label, n := range list {
				(*all)[label] += n
			}
		}
	}
	if o := count.Orders; o["begun"] != 1 || o["issued"] != 1 || o["refused"] != 1 || o["failed"] != 0 || count.Challenges["met"] != 1 || count.Refused["rejectedIdentifier"] != 1 || count.Accounts != 1 {
		t.Errorf("counted are %+v", count)
	}
}
