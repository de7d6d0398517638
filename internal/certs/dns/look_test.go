package dns_test

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/certs/dns"
)

func TestLooksAtBIND(t *testing.T) {
	l := newLab(t)
	r := l.solver(t).Resolver()
	addresses, err := r.Addresses(t.Context(), "alias.example.test")
	if want := []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")}; err != nil || !slices.Equal(addresses, want) {
		t.Errorf("addresses: %v, %v", addresses, err)
	}
	if none, err := r.Addresses(t.Context(), "nothing.example.test"); err != nil || len(none) != 0 {
		t.Errorf("addresses of nothing: %v, %v", none, err)
	}
	for name, want := range map[string]string{"hidden.example.test": "0045fe0d0041", "hides.example.test": "0045fe0d0041", "www.example.test": "", "nothing.example.test": ""} {
		lists, err := r.ECH(t.Context(), name)
		if got := fmt.Sprintf("%x", bytes.Join(lists, nil)); err != nil || got != want {
			t.Errorf("ECH of %s: %s, %v, want %s", name, got, err, want)
		}
	}
	for name, owner := range map[string]string{
		"www.example.test": "example.test", "a.b.c.example.test": "example.test", "*.example.test": "example.test", "strict.example.test": "strict.example.test",
		"x.child.example.test": "example.test", "sub.open.acme.test": "open.acme.test",
	} {
		set, err := r.CAA(t.Context(), name)
		if err != nil || len(set) == 0 || set[0].Owner != owner {
			t.Errorf("CAA of %s: %v, %v", name, set, err)
		}
	}
	q := dns.Request{Name: "*.www.example.test", CAs: []string{"ca.test"}, Account: "https://ca.test/acct/1"}
	standing, err := r.Persist(t.Context(), q, time.Now())
	if err != nil || !standing.Good || standing.Until.Unix() != 4102444800 || standing.Name != "_validation-persist.www.example.test" {
		t.Errorf("standing record: %+v, %v", standing, err)
	}
}

func TestForbids(t *testing.T) {
	dns01, http01 := []ruche.ChallengeType{ruche.ChallengeDNS01}, []ruche.ChallengeType{ruche.ChallengeHTTP01}
	for name, tc := range map[string]struct {
		records []string
		q       dns.Request
		want    string // part of the reason; empty: it may be issued
	}{
		"nothing":           {},
		"this CA":           {records: []string{`0 issue "ca.test"`}},
		"in capitals":       {records: []string{`0 ISSUE "CA.test"`}},
		"with blanks":       {records: []string{`0 issue "  ca.test ; a=b "`}},
		"one of two":        {records: []string{`0 issue "other.test"`, `0 issue "ca.test"`}},
		"another name":      {records: []string{`0 issue "ca2.test"`}},
		"another CA":        {records: []string{`0 issue "other.test"`}, want: "it lets only other.test issue, and this CA is ca.test or ca2.test"},
		"nobody":            {records: []string{`0 issue ";"`}, want: "it lets no CA issue"},
		"malformed":         {records: []string{`0 issue "ca.test; account"`}, want: "malformed: a parameter"},
		"malformed issuer":  {records: []string{`0 issue "ca test"`}, want: "no domain name"},
		"mail only":         {records: []string{`0 iodef "mailto:a@a.test"`}},
		"wild only, plain":  {records: []string{`0 issuewild ";"`}},
		"wild only":         {records: []string{`0 issuewild ";"`}, q: dns.Request{Name: "*.a.test"}, want: "issuewild"},
		"wild over plain":   {records: []string{`0 issue ";"`, `0 issuewild "ca.test"`}, q: dns.Request{Name: "*.a.test"}},
		"plain for wild":    {records: []string{`0 issue "other.test"`}, q: dns.Request{Name: "*.a.test"}, want: "only other.test"},
		"unknown, critical": {records: []string{`0 issue "ca.test"`, `128 future "x"`}, want: "critical"},
		"unknown":           {records: []string{`0 issue "ca.test"`, `0 future "x"`}},
		"the account":       {records: []string{`0 issue "ca.test; accounturi=https://ca.test/1"`}},
		"other account":     {records: []string{`0 issue "ca.test; accounturi=https://ca.test/2"`}, want: "only the account https://ca.test/2 issue, and this is https://ca.test/1"},
		"account unknown":   {records: []string{`0 issue "ca.test; accounturi=https://ca.test/2"`}, q: dns.Request{Account: "-"}},
		"two accounts":      {records: []string{`0 issue "ca.test; accounturi=https://ca.test/1; accounturi=x"`}, want: "several accounts"},
		"two records":       {records: []string{`0 issue "ca.test; accounturi=x"`, `0 issue "ca.test; accounturi=https://ca.test/1"`}},
		"method":            {records: []string{`0 issue "ca.test; validationmethods=dns-01"`}, q: dns.Request{Challenges: dns01}},
		"other method":      {records: []string{`0 issue "ca.test; validationmethods=dns-01,tls-alpn-01"`}, q: dns.Request{Challenges: http01}, want: "proved by dns-01, tls-alpn-01 only"},
		"method unknown":    {records: []string{`0 issue "ca.test; validationmethods=dns-01"`}},
	} {
		t.Run(name, func(t *testing.T) {
			var records []string
			for _, r := range tc.records {
				records = append(records, "a.test. CAA "+r)
			}
			tc.q.CAs = []string{"ca.test", "ca2.test"}
			if tc.q.Name == "" {
				tc.q.Name = "a.test"
			}
			switch tc.q.Account {
			case "":
				tc.q.Account = "https://ca.test/1"
			case "-":
				tc.q.Account = ""
			}
			got, err := newFakeZone(t, "test", records...).resolver(t).Forbids(t.Context(), tc.q)
			if err != nil || (got == "") != (tc.want == "") || !strings.Contains(got, tc.want) {
				t.Errorf("%q, %v, want %q", got, err, tc.want)
			}
		})
	}
	if why, err := newFakeZone(t, "test", `a.test. CAA 0 issue ";"`).resolver(t).Forbids(t.Context(), dns.Request{Name: "a.test"}); why != "" || err != nil {
		t.Errorf("of a CA without identities: %q, %v", why, err)
	}
}

func TestCAAThroughCNAME(t *testing.T) {
	r := newFakeZone(t, "test", "www.a.test. CNAME there.b.test.", `there.b.test. CAA 0 issue "b.test"`, `a.test. CAA 0 issue "a.test"`, "ftp.a.test. CNAME none.b.test.", `b.test. CAA 0 issue "b.test"`).resolver(t)
	for name, want := range map[string]string{"www.a.test": "b.test", "x.www.a.test": "b.test", "ftp.a.test": "a.test", "none.b.test": "b.test"} {
		if set, err := r.CAA(t.Context(), name); err != nil || len(set) != 1 || set[0].Value != want {
			t.Errorf("of %s: %v, %v, want that of %s", name, set, err, want)
		}
	}
}

func TestPersist(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	for name, tc := range map[string]struct {
		records []string
		name    string
		until   int64
		want    string // part of the reason; empty: it is good
	}{
		"none":            {want: "no record for this CA"},
		"good":            {records: []string{"ca.test; accounturi=https://ca.test/1"}},
		"in capitals":     {records: []string{"CA.test;ACCOUNTURI=https://ca.test/1;PersistUntil=1900000000"}, until: 1_900_000_000},
		"another CA":      {records: []string{"other.test; accounturi=https://ca.test/1"}, want: "no record for this CA"},
		"another account": {records: []string{"ca.test; accounturi=https://ca.test/2"}, want: "for the account https://ca.test/2, and this is https://ca.test/1"},
		"no account":      {records: []string{"ca.test"}, want: "no accounturi"},
		"wildcard":        {name: "*.a.test", records: []string{"ca.test; accounturi=https://ca.test/1; policy=WildCard"}},
		"no wildcard":     {name: "*.a.test", records: []string{"ca.test; accounturi=https://ca.test/1"}, want: "policy=wildcard"},
		"other policy":    {name: "*.a.test", records: []string{"ca.test; accounturi=https://ca.test/1; policy=all"}, want: "policy=wildcard"},
		"ended":           {records: []string{"ca.test; accounturi=https://ca.test/1; persistUntil=1700000000"}, want: "ended on 2023-11-14"},
		"no time":         {records: []string{"ca.test; accounturi=https://ca.test/1; persistUntil=tomorrow"}, want: "no time in seconds"},
		"twice":           {records: []string{"ca.test; accounturi=https://ca.test/1; accounturi=https://ca.test/1"}, want: "accounturi twice"},
		"malformed":       {records: []string{"ca.test; accounturi"}, want: "malformed"},
		"longest counts": {records: []string{"ca.test; accounturi=https://ca.test/1; persistUntil=1810000000", "ca.test; accounturi=https://ca.test/1; persistUntil=1820000000",
			"ca.test; accounturi=https://ca.test/1; persistUntil=1700000000"}, until: 1_820_000_000},
		"for ever counts": {records: []string{"ca.test; accounturi=https://ca.test/1; persistUntil=1810000000", "ca.test; accounturi=https://ca.test/1",
			"ca.test; accounturi=https://ca.test/1; persistUntil=1820000000"}},
		"one is good": {records: []string{"malformed;;;", "ca.test; accounturi=x", "ca.test; accounturi=https://ca.test/1"}},
	} {
		t.Run(name, func(t *testing.T) {
			var records []string
			for _, r := range tc.records {
				records = append(records, fmt.Sprintf("_validation-persist.a.test. TXT %q", r))
			}
			if tc.name == "" {
				tc.name = "a.test"
			}
			q := dns.Request{Name: tc.name, CAs: []string{"ca.test"}, Account: "https://ca.test/1"}
			got, err := newFakeZone(t, "test", records...).resolver(t).Persist(t.Context(), q, now)
			if err != nil || got.Good != (tc.want == "") || !strings.Contains(got.Reason, tc.want) || got.Name != "_validation-persist.a.test" {
				t.Fatalf("%+v, %v, want %q", got, err, tc.want)
			}
			if tc.until == 0 != got.Until.IsZero() || (tc.until != 0 && got.Until.Unix() != tc.until) {
				t.Errorf("until %v, want %d", got.Until, tc.until)
			}
			// What it says would do, does.
			if got, err = newFakeZone(t, "test", fmt.Sprintf("%s. TXT %q", got.Name, got.Value)).resolver(t).Persist(t.Context(), q, now); err != nil || !got.Good {
				t.Errorf("with the record %s: %+v, %v", got.Value, got, err)
			}
		})
	}
}

func TestResolver(t *testing.T) {
	good := newFakeZone(t, "test", "a.test. A 192.0.2.1")
	bad := newFakeZone(t, "test")
	bad.fails("A a.test.", "AAAA a.test.", "CAA a.test.")
	both, err := dns.NewResolver(bad.address, good.address)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := both.Addresses(t.Context(), "A.test."); err != nil || len(got) != 1 {
		t.Errorf("the second resolver was not asked: %v, %v", got, err)
	}
	if _, err := bad.resolver(t).Forbids(t.Context(), dns.Request{Name: "a.test", CAs: []string{"ca.test"}}); err == nil || !strings.Contains(err.Error(), "cannot look up CAA of a.test") || !strings.Contains(err.Error(), "SERVFAIL") {
		t.Errorf("error: %v", err)
	}
	var many []string
	for i := range 200 { // more than fits into UDP
		many = append(many, fmt.Sprintf("b.test. A 192.0.2.%d", i))
	}
	if got, err := newFakeZone(t, "test", many...).resolver(t).Addresses(t.Context(), "b.test"); err != nil || len(got) != 200 {
		t.Errorf("over TCP: %d addresses, %v", len(got), err)
	}
	for server, ok := range map[string]bool{"192.0.2.1": true, "2001:db8::1": true, "[2001:db8::1]:53": true, "ns.test:5353": true, "ns.test": true, "": false, ":53": false, "a:b:c": false, "ns.test:": false} {
		if _, err := dns.NewResolver(server); (err == nil) != ok {
			t.Errorf("resolver %q: %v", server, err)
		}
	}
}

func TestNoZone(t *testing.T) {
	z := newFakeZone(t, "test")
	err := z.solver(t).Present(t.Context(), ruche.DNSProvider{Name: "rfc2136", Settings: map[string]string{"server": z.address}}, "_acme-challenge.a.invalid", "v")
	if err == nil || !strings.Contains(err.Error(), "no name above it has a SOA record") {
		t.Errorf("error: %v", err)
	}
}
