package plan_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/certs/plan"
	"github.com/ruche-project/ruche/internal/certs/vault"
)

func TestNext(t *testing.T) {
	order := func(change func(*vault.Issuance), names ...string) vault.Issuance {
		i := vault.Issuance{At: at(0), Directory: ruche.LetsEncrypt, Account: "a", Names: names}
		if change != nil {
			change(&i)
		}
		return i
	}
	many := func(n int, each time.Duration, change func(*vault.Issuance), name func(int) string) []vault.Issuance {
		var all []vault.Issuance
		for k := range n {
			i := order(change, name(k))
			i.At = at(time.Duration(k)*each - time.Duration(n)*each)
			all = append(all, i)
		}
		return all
	}
	below := func(k int) string { return fmt.Sprintf("h%d.shop.example.co.uk", k) }
	apart := func(k int) string { return fmt.Sprintf("shop%d.com", k) }
	same := func(int) string { return "shop.com" }
	renewal := func(i *vault.Issuance) { i.Renewal = true }
	replaces := func(i *vault.Issuance) { i.Replaces = true }
	failed := func(i *vault.Issuance) { i.Failed, i.FailedName = true, "shop.com" }
	staging := func(i *vault.Issuance) { i.Directory = ruche.LetsEncryptStaging }
	other := func(i *vault.Issuance) { i.Directory = "https://ca.example/letsencrypt.org/directory" }
	for _, tc := range []struct {
		name   string
		ledger []vault.Issuance
		order  vault.Issuance
		wait   time.Duration
		why    string
	}{
		{"nothing before", nil, order(nil, "shop.com"), 0, ""},
		{"299 orders in a moment", many(299, 0, nil, apart), order(nil, "a.com"), 0, ""},
		{"300 orders in a moment", many(300, 0, nil, apart), order(nil, "a.com"), 36 * time.Second, "300 orders"},
		{"300 orders in ten hours", many(300, 2*time.Minute, nil, apart), order(nil, "a.com"), 0, ""},
		{"300 orders, a renewal", many(300, 0, nil, apart), order(renewal, "a.com"), 0, ""},
		{"300 renewals", many(300, 0, renewal, apart), order(nil, "a.com"), 0, ""},
		{"50 of a domain", many(50, 0, nil, below), order(nil, "new.example.co.uk"), 12096 * time.Second, "for example.co.uk"},
		{"50 of another domain", many(50, 0, nil, below), order(nil, "new.other.co.uk"), 0, ""},
		{"50 of a domain, a renewal", many(50, 0, nil, below), order(renewal, "new.example.co.uk"), 0, ""},
		{"50 of a domain, with another name", many(50, 0, nil, below), order(nil, "a.com", "*.example.co.uk"), 12096 * time.Second, "for example.co.uk"},
		{"5 of a set", many(5, 0, renewal, same), order(renewal, "shop.com"), 7 * day / 5, "same names"},
		{"5 of a set, replaced", many(5, 0, renewal, same), order(replaces, "shop.com"), 0, ""},
		{"5 of a set in two months", many(5, 12*day, renewal, same), order(renewal, "shop.com"), 0, ""},
		{"5 failures", many(5, 0, failed, same), order(nil, "shop.com"), 12 * time.Minute, "failed validations of shop.com"},
		{"5 failures in an order with others", many(5, 0, failed, same), order(nil, "a.com", "shop.com"), 12 * time.Minute, "failed validations of shop.com"},
		{"5 failures of another name", many(5, 0, failed, same), order(nil, "a.com"), 0, ""},
		{"an order of a clock that was a year ahead", []vault.Issuance{order(func(i *vault.Issuance) { i.At = at(365 * day) }, "shop.com")}, order(nil, "shop.com"), 0, ""},
		{"at the CA for tries", many(400, 0, staging, same), order(staging, "shop.com"), 0, ""},
		{"at another CA", many(400, 0, other, same), order(other, "shop.com"), 0, ""},
		{"at another CA before", many(400, 0, other, same), order(nil, "shop.com"), 0, ""},
	} {
		until, why := plan.Next(at(0), tc.ledger, tc.order)
		if until.Sub(at(0)) != tc.wait || !strings.Contains(why, tc.why) || (why == "") != (tc.why == "") {
			t.Errorf("%s: wait %s for %q, want %s for %q", tc.name, until.Sub(at(0)), why, tc.wait, tc.why)
		}
	}
}

func TestRegistered(t *testing.T) {
	for name, want := range map[string]string{
		"a.b.example.com": "example.com", "*.example.com": "example.com", "example.co.uk": "example.co.uk", "co.uk": "co.uk", "192.0.2.1": "192.0.2.1",
		"x.github.io": "x.github.io", "host": "host",
	} {
		if got := plan.Registered(name); got != want {
			t.Errorf("%s belongs to %s, want %s", name, got, want)
		}
	}
}
