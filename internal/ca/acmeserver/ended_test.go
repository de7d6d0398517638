package acmeserver

import (
	"testing"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/cluster"
)

// An order that was begun and proved while the account might have the name is not signed when it may not any more.
func TestRightsEndBeforeTheOrderDoes(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	c, key := r.raw(), r.makeKey(ruche.ACMEKeySpec{Names: []string{"*.dept.example"}})
	c.open(map[string]any{"externalAccountBinding": c.bind(key)})
	r.serveHTTP01(c.answers())
	order := c.prove(c.order(nil, "a.dept.example"))
	if order.str("status") != "ready" {
		t.Fatalf("the order: %s", order.text)
	}
	if err := r.keys.RemoveKey(t.Context(), key.ID); err != nil {
		t.Fatal(err)
	}
	request := map[string]any{"csr": csrFor(t, newECKey(t), "a.dept.example")}
	if a := c.post(order.str("finalize"), request); a.kind() != string(unauthorized) {
		t.Errorf("with a removed key: %d %s", a.status, a.text)
	}
}

// An account of the time when everybody could open one has no rights once a key is needed.
func TestAnAccountFromBeforeAKeyWasNeeded(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *Config) { c.RequireKey = true })
	c, key := r.raw(), r.makeKey(ruche.ACMEKeySpec{Names: []string{"*"}})
	c.open(map[string]any{"externalAccountBinding": c.bind(key)})
	accounts := cluster.NewBucket[Account](r.state, BucketAccounts)
	all, err := accounts.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for id, e := range all {
		if e.Value.Bound = ""; e.Value.Of == "" {
			if _, err := accounts.CompareAndSet(t.Context(), id, e.Value, e.Revision); err != nil {
				t.Fatal(err)
			}
		}
	}
	if a := c.order(nil, "a.dept.example"); a.kind() != string(externalAccountRequired) {
		t.Errorf("%d %s", a.status, a.text)
	}
}
