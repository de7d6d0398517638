package inventory_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/certs/inventory"
	"github.com/ruche-project/ruche/internal/certs/vault"
)

const day = 24 * time.Hour

func now() time.Time { return time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC) }

// ca signs the certificates of a test.
type ca struct {
	t    testing.TB
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	next int64
}

func newCA(t testing.TB, until time.Time) *ca {
	c := &ca{t: t, next: 1}
	c.key = key(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Test CA"}, NotBefore: now().Add(-day), NotAfter: until,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	c.cert = c.sign(template, template, c.key.Public())
	return c
}

func key(t testing.TB) *ecdsa.PrivateKey {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func (c *ca) sign(template, parent *x509.Certificate, public crypto.PublicKey) *x509.Certificate {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, c.key)
	if err != nil {
		c.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		c.t.Fatal(err)
	}
	return cert
}

// record makes a record for names; those asked for may be others.
func (c *ca) record(until time.Time, names ...string) vault.Record {
	c.next++
	leaf := c.sign(&x509.Certificate{
		SerialNumber: big.NewInt(c.next), DNSNames: names, NotBefore: now().Add(-day), NotAfter: until,
	}, c.cert, key(c.t).Public())
	return vault.Record{Names: names, Origin: vault.OriginACME, Issuer: "default", Chain: [][]byte{leaf.Raw, c.cert.Raw}, Issued: now().Add(-day)}
}

func serving(r vault.Record) vault.Serving {
	leaf, _ := r.Leaf()
	return vault.Serving{Kind: ruche.CertificateACME, Fingerprint: vault.Fingerprint(leaf.Raw), NotAfter: leaf.NotAfter}
}

func TestState(t *testing.T) {
	c := newCA(t, now().Add(1000*day))
	later := now().Add(60 * day)
	retired, revoked := c.record(later, "a.example"), c.record(later, "a.example")
	retired.Retired, revoked.Revoked = now(), now()
	for name, tc := range map[string]struct {
		record *vault.Record
		state  vault.State
		wanted bool
		want   ruche.CertificateState
	}{
		"all is well":      {ptr(c.record(later, "a.example")), vault.State{Due: later}, true, ruche.CertificateValid},
		"due":              {ptr(c.record(later, "a.example")), vault.State{Due: now()}, true, ruche.CertificateDue},
		"failing":          {ptr(c.record(later, "a.example")), vault.State{Due: now(), Failures: 2, LastError: "no"}, true, ruche.CertificateFailing},
		"expired":          {ptr(c.record(now(), "a.example")), vault.State{Failures: 9}, true, ruche.CertificateExpired},
		"retired":          {&retired, vault.State{}, false, ruche.CertificateRetired},
		"revoked":          {&revoked, vault.State{}, true, ruche.CertificateRevoked},
		"not there":        {nil, vault.State{}, true, ruche.CertificatePending},
		"not to be had":    {nil, vault.State{Failures: 1, LastError: "no"}, true, ruche.CertificateFailing},
		"nothing is in it": {&vault.Record{Names: []string{"a.example"}}, vault.State{}, true, ruche.CertificateFailing},
	} {
		t.Run(name, func(t *testing.T) {
			in := inventory.Input{Now: now(), Records: map[string]vault.Record{}, States: map[string]vault.State{"id": tc.state}, Wants: map[string]inventory.Want{}}
			if tc.record != nil {
				in.Records["id"] = *tc.record
			}
			if tc.wanted {
				in.Wants["id"] = inventory.Want{Names: []string{"a.example"}, Sources: []string{"service a", "service b"}}
			}
			list := inventory.List(in)
			if len(list.Certificates) != 1 || list.Certificates[0].State != tc.want {
				t.Fatalf("got %+v, want one that is %s", list.Certificates, tc.want)
			}
			if got := list.Certificates[0].Source; tc.wanted && got != "service a; service b" {
				t.Errorf("it is wanted by %q", got)
			}
		})
	}
}

// What cannot be ordered never comes by itself, so whoever watches states has to see it.
func TestAWantThatCannotBeHadIsFailing(t *testing.T) {
	c := newCA(t, now().Add(1000*day))
	wild := inventory.Want{Names: []string{"*.a.example"}, Problem: "it is a wildcard", Hint: "configure a DNS provider"}
	waits, both, optional := wild, wild, wild
	waits.Problem, waits.Waiting, both.Waiting, optional.Optional = "", "no edge serves it yet", "no edge serves it yet", true
	good, ended, retired := c.record(now().Add(day), "*.a.example", "a.example"), c.record(now(), "*.a.example"), c.record(now().Add(day), "*.a.example")
	retired.Retired = now()
	for name, tc := range map[string]struct {
		want    inventory.Want
		records map[string]vault.Record
		state   ruche.CertificateState
	}{
		"it cannot be ordered":              {wild, nil, ruche.CertificateFailing},
		"it waits for an edge":              {waits, nil, ruche.CertificatePending},
		"it waits for an edge all the same": {both, nil, ruche.CertificatePending},
		"nobody asked in so many words":     {optional, nil, ruche.CertificatePending},
		"an imported one has the names":     {wild, map[string]vault.Record{"imported": good}, ruche.CertificatePending},
		"an imported one has ended":         {wild, map[string]vault.Record{"imported": ended}, ruche.CertificateFailing},
		"one that is retired has the names": {wild, map[string]vault.Record{"imported": retired}, ruche.CertificateFailing},
		"it is there and cannot be renewed": {wild, map[string]vault.Record{"id": good}, ruche.CertificateValid},
	} {
		list := inventory.List(inventory.Input{Now: now(), Records: tc.records, Wants: map[string]inventory.Want{"id": tc.want}})
		i := slices.IndexFunc(list.Certificates, func(c ruche.CertificateInfo) bool { return c.ID == "id" })
		if got := list.Certificates[i]; got.State != tc.state || len(got.Problems) != 1 {
			t.Errorf("%s: it is %s with the problems %q, want %s", name, got.State, got.Problems, tc.state)
		}
	}
}

func ptr[T any](v T) *T { return &v }

func TestProblems(t *testing.T) {
	c, other := newCA(t, now().Add(1000*day)), newCA(t, now().Add(1000*day))
	short := newCA(t, now().Add(10*day))
	later := now().Add(60 * day)
	good := c.record(later, "a.example", "*.a.example")
	lacks := c.record(later, "a.example")
	lacks.Names = []string{"a.example", "b.example", "*.a.example"}
	wrong, alone := c.record(later, "a.example"), c.record(later, "a.example")
	wrong.Chain[1], alone.Chain = other.cert.Raw, alone.Chain[:1]
	broken := c.record(later, "a.example")
	broken.Chain[1] = []byte("no")
	for name, tc := range map[string]struct {
		record vault.Record
		want   []string
	}{
		"none":                  {good, nil},
		"names are missing":     {lacks, []string{"not good for b.example", "not good for *.a.example"}},
		"another CA's chain":    {wrong, []string{"certificate 2 of the chain has not signed"}},
		"no chain":              {alone, []string{"without the certificate of its issuer"}},
		"a broken chain":        {broken, []string{"certificate 2 of the chain cannot be read"}},
		"the CA expires before": {short.record(later, "a.example"), []string{"Test CA in its chain expires before it"}},
	} {
		t.Run(name, func(t *testing.T) {
			list := inventory.List(inventory.Input{Now: now(), Records: map[string]vault.Record{"id": tc.record}})
			got := list.Certificates[0].Problems
			if len(got) != len(tc.want) {
				t.Fatalf("got %q, want %q", got, tc.want)
			}
			for i, w := range tc.want {
				if !strings.Contains(got[i], w) {
					t.Errorf("got %q, want %q", got[i], w)
				}
			}
		})
	}
}

func TestServed(t *testing.T) {
	c := newCA(t, now().Add(1000*day))
	old, current := c.record(now().Add(20*day), "a.example"), c.record(now().Add(60*day), "a.example")
	self := vault.Serving{Kind: ruche.CertificateSelfSigned, Fingerprint: "ab", NotAfter: now().Add(50 * day)}
	file := vault.Serving{Kind: ruche.CertificateFile, Fingerprint: "cd", NotAfter: now().Add(-day), File: "/certs/f.example.crt"}
	leaf, _ := old.Leaf()
	list := inventory.List(inventory.Input{
		Now: now(), Records: map[string]vault.Record{"a": current},
		Served: map[string]vault.Served{
			"n1": {Names: map[string]vault.Serving{"a.example": serving(current), "f.example": file, "s.example": self}},
			"n2": {Names: map[string]vault.Serving{"a.example": serving(current)}},
			"n3": {Names: map[string]vault.Serving{"a.example": serving(old)}},
		},
		Wants: map[string]inventory.Want{"a": {Names: []string{"a.example"}}},
		Sights: map[string]vault.Sight{
			"a.example": {Seen: now(), Fingerprint: vault.Fingerprint(leaf.Raw)}, "vpn.example:8443": {Seen: now(), Problem: "connection refused"},
		},
	})
	if got := list.Certificates[0]; got.ID != "a" || !slices.Equal(got.ServedBy, []string{"n1", "n2"}) || len(got.Problems) != 1 || !strings.Contains(got.Problems[0], "edge n3 serves a.example") {
		t.Errorf("the stored certificate: %+v", got)
	}
	if got := list.Certificates[1]; got.ID != "file:/certs/f.example.crt@n1" || got.State != ruche.CertificateExpired || !slices.Equal(got.Names, []string{"f.example"}) {
		t.Errorf("the file: %+v", got)
	}
	names := map[string]ruche.ServedName{}
	for _, n := range list.Names {
		names[n.Name] = n
	}
	if n := names["a.example"]; n.Certificate != "a" || !slices.Equal(n.Edges, []string{"n1", "n2"}) || n.Others["n3"] != serving(old).Fingerprint || !strings.Contains(n.Problem, "seen from outside") {
		t.Errorf("a.example: %+v", n)
	}
	if n := names["vpn.example:8443"]; n.Problem != "connection refused" || n.Kind != ruche.CertificateNone {
		t.Errorf("the name that is watched: %+v", n)
	}
	if n := names["s.example"]; n.Kind != ruche.CertificateSelfSigned || n.Certificate != "" {
		t.Errorf("s.example: %+v", n)
	}
}

// Whoever asks for a renewal hears of each certificate that he meant and that nothing renews.
func TestRenewable(t *testing.T) {
	infos := []ruche.CertificateInfo{
		{ID: "good", Kind: ruche.CertificateACME, Names: []string{"a.example"}},
		{ID: "old", Kind: ruche.CertificateACME, Names: []string{"a.example"}},
		{ID: "wild", Kind: ruche.CertificateACME, Names: []string{"*.b.example"}},
		{ID: "intranet", Kind: ruche.CertificateNone, Names: []string{"intranet"}},
		{ID: "imported", Kind: ruche.CertificateImported, Names: []string{"c.example"}},
		{ID: "left", Kind: ruche.CertificateACME, Names: []string{"left.example"}},
	}
	in := inventory.Input{Wants: map[string]inventory.Want{
		"good": {Names: []string{"a.example"}}, "wild": {Names: []string{"*.b.example"}, Problem: "it is a wildcard", Hint: "configure a DNS provider"},
		"intranet": {Names: []string{"intranet"}, Problem: "no public name", Optional: true},
	}}
	named := func(ids ...string) ruche.CertificateSelection { return ruche.CertificateSelection{IDs: ids} }
	all := ruche.CertificateSelection{All: true}
	for name, tc := range map[string]struct {
		infos  []ruche.CertificateInfo
		s      ruche.CertificateSelection
		can    string
		cannot map[string]string // by ID, a part of the reason
	}{
		"all: nobody meant what is not looked after":     {infos, all, "good", map[string]string{"wild": "it is a wildcard (configure a DNS provider)"}},
		"all, and none can be":                           {infos[4:], all, "", map[string]string{"imported": "it was imported, and nobody orders it", "left": "nobody wants it any more"}},
		"a name that has a better one":                   {infos[:2], named("a.example"), "good", nil},
		"its ID":                                         {infos[1:2], named("old"), "", map[string]string{"old": "ruche certs renew good orders that"}},
		"both IDs":                                       {infos[:2], named("old", "good"), "good", map[string]string{"old": "another one takes its place"}},
		"a name of an imported one, and a good one":      {[]ruche.CertificateInfo{infos[0], infos[4]}, named("a.example", "c.example"), "good", map[string]string{"imported": "it was imported"}},
		"a name that cannot be had, though only perhaps": {infos[3:4], named("intranet"), "", map[string]string{"intranet": "no public name"}},
		"a name that has left":                           {infos[5:], named("left.example"), "", map[string]string{"left": "publish its names again"}},
	} {
		can, cannot := inventory.Renewable(in, tc.infos, tc.s)
		var ids []string
		for _, c := range can {
			ids = append(ids, c.ID)
		}
		if got := strings.Join(ids, " "); got != tc.can || len(cannot) != len(tc.cannot) {
			t.Errorf("%s: can %q, cannot %+v", name, got, cannot)
		}
		for _, r := range cannot {
			if part := tc.cannot[r.ID]; part == "" || !strings.Contains(r.Why, part) {
				t.Errorf("%s: %s is not renewed because %q, want %q", name, r.ID, r.Why, part)
			}
		}
	}
}

// What nobody wants is not renewed, whatever was planned while somebody did.
func TestWhatNobodyWantsHasNoRenewal(t *testing.T) {
	c := newCA(t, now().Add(1000*day))
	in := inventory.Input{
		Now: now(), Records: map[string]vault.Record{"id": c.record(now().Add(day), "a.example")},
		States: map[string]vault.State{"id": {Due: now().Add(-day), WindowStart: now(), WindowEnd: now()}},
	}
	if got := inventory.List(in).Certificates[0]; got.Wanted || !got.Due.IsZero() || !got.WindowStart.IsZero() || got.State != ruche.CertificateValid {
		t.Errorf("nobody wants it: %+v", got)
	}
	in.Wants = map[string]inventory.Want{"id": {Names: []string{"a.example"}}}
	if got := inventory.List(in).Certificates[0]; !got.Wanted || got.Due.IsZero() || got.State != ruche.CertificateDue {
		t.Errorf("it is wanted: %+v", got)
	}
}

// A wish is shown until it is fulfilled.
func TestWhatIsAskedForIsTold(t *testing.T) {
	c := newCA(t, now().Add(1000*day))
	rec, before := c.record(now().Add(60*day), "a.example"), c.record(now().Add(50*day), "a.example") // both issued a day ago
	revoke := func(of vault.Record, at time.Time) vault.State {
		return vault.State{Asked: at, Reason: vault.ReasonKeyCompromise, Revoke: []vault.Revocation{{Certificate: of.Chain[0], Asked: at, Reason: 4}}}
	}
	soon, old := now().Add(time.Hour), now().Add(-2*day)
	fulfilled := revoke(before, old)
	withdrawn := vault.State{Asked: now(), Reason: vault.ReasonKeyCompromise, Withdrawn: &vault.Withdrawal{Of: serving(rec).Fingerprint, At: now()}}
	serial := func(r vault.Record) string {
		leaf, _ := r.Leaf()
		return leaf.SerialNumber.Text(16)
	}
	for name, tc := range map[string]struct {
		state       vault.State
		unwanted    bool
		missing     bool
		want        ruche.CertificateState
		asked       time.Time
		reason      string
		revocations []ruche.PendingRevocation
	}{
		"nothing":                        {vault.State{}, false, false, ruche.CertificateValid, time.Time{}, "", nil},
		"a renewal, later":               {vault.State{Asked: soon, Reason: "x"}, false, false, ruche.CertificateValid, soon, "x", nil},
		"a renewal, now":                 {vault.State{Asked: now(), Reason: "x"}, false, false, ruche.CertificateDue, now(), "x", nil},
		"a renewal that failed":          {vault.State{Asked: now(), Reason: "x", Failures: 1}, false, false, ruche.CertificateFailing, now(), "x", nil},
		"a renewal that was done":        {vault.State{Asked: old, Reason: "x"}, false, false, ruche.CertificateValid, time.Time{}, "", nil},
		"a renewal of what nobody wants": {vault.State{Asked: now(), Reason: "x"}, true, false, ruche.CertificateValid, time.Time{}, "", nil},
		"the first one, again":           {vault.State{Asked: now(), Reason: "x"}, false, true, ruche.CertificatePending, now(), "x", nil},
		"a revocation, later": {
			revoke(rec, soon), false, false, ruche.CertificateValid, soon, "it is to be revoked",
			[]ruche.PendingRevocation{{Serial: serial(rec), At: soon, Reason: "superseded"}},
		},
		"a revocation of its predecessor":    {fulfilled, false, false, ruche.CertificateValid, time.Time{}, "", []ruche.PendingRevocation{{Serial: serial(before), At: old, Reason: "superseded"}}},
		"a revocation of what nobody wants":  {revoke(rec, now()), true, false, ruche.CertificateValid, time.Time{}, "", []ruche.PendingRevocation{{Serial: serial(rec), At: now(), Reason: "superseded"}}},
		"its CA has revoked it, replacement": {withdrawn, false, false, ruche.CertificateRevoked, now(), "its CA has revoked it", nil},
	} {
		in := inventory.Input{Now: now(), Records: map[string]vault.Record{"id": rec}, States: map[string]vault.State{"id": tc.state}, Wants: map[string]inventory.Want{"id": {Names: rec.Names}}}
		if tc.unwanted {
			in.Wants = nil
		}
		if tc.missing {
			in.Records = nil
		}
		got := inventory.List(in).Certificates[0]
		if got.State != tc.want || !got.Asked.Equal(tc.asked) || got.AskedReason != tc.reason || !slices.Equal(got.Revocations, tc.revocations) {
			t.Errorf("%s: %s, asked for %s (%s), revocations %+v; want %s, %s (%s), %+v", name, got.State, got.Asked, got.AskedReason, got.Revocations, tc.want, tc.asked, tc.reason, tc.revocations)
		}
	}
}

func TestSelect(t *testing.T) {
	list := []ruche.CertificateInfo{
		{ID: "a-1", Kind: ruche.CertificateACME, Names: []string{"a.example", "www.a.example"}, Issuer: "default", CA: "R11", Serial: "ab12", Fingerprint: "0099"},
		{ID: "b-1", Kind: ruche.CertificateACME, Names: []string{"b.example"}, Issuer: "other", CA: "R12", Serial: "1", Fingerprint: "ff"},
		{ID: "c-1", Kind: ruche.CertificateACME, Names: []string{"c.example"}, Issuer: "default", CA: "R11", Retired: now()},
		{ID: "file:x", Kind: ruche.CertificateFile, Names: []string{"f.example"}},
	}
	for name, tc := range map[string]struct {
		s    ruche.CertificateSelection
		want []string
		err  bool
	}{
		"nothing":              {ruche.CertificateSelection{}, nil, true},
		"by ID":                {ruche.CertificateSelection{IDs: []string{"b-1"}}, []string{"b-1"}, false},
		"by name":              {ruche.CertificateSelection{IDs: []string{"WWW.a.example"}}, []string{"a-1"}, false},
		"an unknown name":      {ruche.CertificateSelection{IDs: []string{"a.example", "x.example"}}, nil, true},
		"a retired one, named": {ruche.CertificateSelection{IDs: []string{"c.example"}}, []string{"c-1"}, false},
		"all":                  {ruche.CertificateSelection{All: true}, []string{"a-1", "b-1"}, false},
		"an issuer":            {ruche.CertificateSelection{Issuer: "default"}, []string{"a-1"}, false},
		"a part of a CA":       {ruche.CertificateSelection{Issuer: "r1"}, []string{"a-1", "b-1"}, false},
		"a serial with colons": {ruche.CertificateSelection{Serial: "AB:12"}, []string{"a-1"}, false},
		"a serial with zeros":  {ruche.CertificateSelection{Serial: "01"}, []string{"b-1"}, false},
		"a fingerprint":        {ruche.CertificateSelection{Fingerprint: "00:99"}, []string{"a-1"}, false},
		"both have to fit":     {ruche.CertificateSelection{Issuer: "other", Serial: "ab12"}, nil, false},
		"a file":               {ruche.CertificateSelection{IDs: []string{"f.example"}}, nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			chosen, err := inventory.Select(list, tc.s)
			var got []string
			for _, c := range chosen {
				got = append(got, c.ID)
			}
			if (err != nil) != tc.err || !slices.Equal(got, tc.want) {
				t.Errorf("got %v and %v, want %v", got, err, tc.want)
			}
			if name == "an unknown name" && !errors.Is(err, ruche.ErrNotFound) {
				t.Errorf("the error is %v", err)
			}
		})
	}
}
