package certs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/certs/vault"
	"github.com/ruche-project/ruche/internal/health"
)

// plainSeal is a seal that hides nothing, and opens only what was closed for the same thing.
type plainSeal struct{}

func (plainSeal) Close(what string, data []byte) []byte {
	return append([]byte(what+"\n"), data...)
}

func (plainSeal) Open(what string, sealed []byte) ([]byte, error) {
	data, ok := strings.CutPrefix(string(sealed), what+"\n")
	if !ok {
		return nil, errors.New("it was sealed for something else")
	}
	return []byte(data), nil
}

// wish is a record of a test.
type wish struct {
	names     []string
	origin    vault.Origin
	from, to  time.Duration // from now
	otherKey  bool
	otherSeal bool
	retired   bool
	revoked   bool
}

func (w wish) record(t testing.TB, id string) vault.Record {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "x"}, NotBefore: now.Add(w.from), NotAfter: now.Add(w.to),
	}
	for _, n := range w.names {
		if ip := net.ParseIP(n); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, n)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	if w.otherKey {
		if key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
			t.Fatal(err)
		}
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	if w.otherSeal {
		id = "other"
	}
	r := vault.Record{Names: w.names, Origin: w.origin, Chain: [][]byte{der}, Key: plainSeal{}.Close(vault.SealedFor(id), secret), Issued: now}
	if w.retired {
		r.Retired = now
	}
	if w.revoked {
		r.Revoked = now
	}
	return r
}

// withStore makes certs with files and with records, by ID.
func withStore(t testing.TB, dir string, wishes map[string]wish) *Certs {
	t.Helper()
	c := New(Config{Dir: dir, StateDir: t.TempDir(), Certificates: nobody{}, Opener: plainSeal{}, Logger: slog.New(slog.DiscardHandler), Health: &health.Registry{}})
	c.put(t, true, wishes)
	return c
}

func (c *Certs) put(t testing.TB, reset bool, wishes map[string]wish) {
	t.Helper()
	u := ruche.Update[vault.Record]{Reset: reset, Puts: map[string]vault.Record{}}
	for id, w := range wishes {
		u.Puts[id] = w.record(t, id)
	}
	c.applyRecords(u)
}

const day = 24 * time.Hour

func of(names ...string) wish {
	return wish{names: names, origin: vault.OriginACME, from: -day, to: 60 * day}
}

func with(w wish, change func(*wish)) wish {
	change(&w)
	return w
}

func TestManagedChoice(t *testing.T) {
	internal := func(w *wish) { w.origin = vault.OriginInternal }
	imported := func(w *wish) { w.origin = vault.OriginImported }
	newer := func(w *wish) { w.from = -time.Hour }
	expired := func(w *wish) { w.from, w.to = -90*day, -day }
	early := func(w *wish) { w.from = day }
	ask := func(name string) ruche.CertificateQuery { return ruche.CertificateQuery{ServerName: name, Host: name} }
	in := func(mode ruche.TLSMode, certName string) ruche.CertificateQuery {
		q := ask("a.example")
		q.Mode, q.CertName = mode, certName
		return q
	}
	acme := func(name string) ruche.CertificateQuery {
		return ruche.CertificateQuery{ServerName: name, Host: name, Mode: ruche.TLSACME}
	}
	for _, tt := range []struct {
		name    string
		files   []string
		records map[string]wish
		query   ruche.CertificateQuery
		want    string // base name of the file, ID of the record, "self-signed" or "none"
		reason  string
	}{
		{"by name", nil, map[string]wish{"r": of("a.example")}, ask("a.example"), "r", "by ACME r is for a.example"},
		{"by a name that is written otherwise", nil, map[string]wish{"r": of("A.Example")}, ask("a.example"), "r", ""},
		{"by another of its names", nil, map[string]wish{"r": of("b.example", "a.example")}, ask("a.example"), "r", ""},
		{"by address", nil, map[string]wish{"r": of("192.0.2.1")}, ask("192.0.2.1"), "r", ""},
		{"wildcard", nil, map[string]wish{"r": of("*.example")}, ask("a.example"), "r", "r is for *.example"},
		{"wildcard takes one label", nil, map[string]wish{"r": of("*.example")}, ask("x.a.example"), "self-signed", "no certificate by ACME for it"},
		{"wildcard does not take its base", nil, map[string]wish{"r": of("*.a.example")}, ask("a.example"), "self-signed", ""},
		{"name before wildcard", nil, map[string]wish{"w": with(of("*.example"), newer), "r": of("a.example")}, ask("a.example"), "r", ""},
		{"good wildcard before expired name", nil, map[string]wish{"w": of("*.example"), "r": with(of("a.example"), expired)}, ask("a.example"), "w", ""},
		{"expired name before expired wildcard", nil, map[string]wish{"w": with(of("*.example"), expired), "r": with(of("a.example"), expired)}, ask("a.example"), "r", "expired at"},
		{"not expired before newer", nil, map[string]wish{"a": with(of("a.example"), func(w *wish) { w.from, w.to = -time.Hour, -time.Minute }), "b": of("a.example")}, ask("a.example"), "b", ""},
		{"newest", nil, map[string]wish{"a": of("a.example"), "b": with(of("a.example"), newer)}, ask("a.example"), "b", ""},
		{"not one of tomorrow", nil, map[string]wish{"a": of("a.example"), "b": with(of("a.example"), early)}, ask("a.example"), "a", ""},
		{"a CA's before the own authority's", nil, map[string]wish{"a": of("a.example"), "b": with(with(of("a.example"), newer), internal)}, ask("a.example"), "a", ""},
		{"revoked last", nil, map[string]wish{"a": of("a.example"), "b": with(with(of("a.example"), newer), func(w *wish) { w.revoked = true })}, ask("a.example"), "a", ""},
		{"retired not at all", nil, map[string]wish{"a": with(of("a.example"), func(w *wish) { w.retired = true })}, ask("a.example"), "self-signed", ""},
		{"file before store", []string{"a.example"}, map[string]wish{"r": of("a.example")}, ask("a.example"), "a.example", "the host's own"},
		{"parent's file before store", []string{"a.example"}, map[string]wish{"r": of("www.a.example")}, ask("www.a.example"), "a.example", ""},
		{"store before default file", []string{"default"}, map[string]wish{"r": of("a.example")}, ask("a.example"), "r", ""},
		{"expired before a default file for others", []string{"default"}, map[string]wish{"r": with(of("a.example"), expired)}, ask("a.example"), "r", "none better"},
		{"default file for it before expired", []string{"default"}, map[string]wish{"r": with(of("default"), expired)}, ask("default"), "default", ""},
		{"expired before self-signed", nil, map[string]wish{"r": with(of("a.example"), expired)}, ask("a.example"), "r", "expired at"},
		{"CERT_NAME without a file", []string{"default"}, map[string]wish{"r": of("a.example")}, in("", "shared"), "r", ""},
		{"mode file", []string{"default"}, map[string]wish{"r": of("a.example")}, in(ruche.TLSFile, ""), "default", ""},
		{"mode file without one", nil, map[string]wish{"r": of("a.example")}, in(ruche.TLSFile, ""), "none", ""},
		{"mode acme", []string{"a.example", "default"}, map[string]wish{"r": of("a.example")}, in(ruche.TLSACME, ""), "r", ""},
		{"mode acme, imported", nil, map[string]wish{"r": with(of("a.example"), imported)}, in(ruche.TLSACME, ""), "r", "imported certificate r"},
		{"mode acme, not the own authority's", nil, map[string]wish{"r": with(of("a.example"), internal)}, in(ruche.TLSACME, ""), "self-signed", "no certificate by ACME for it yet"},
		{"mode acme before there is one", []string{"a.example", "default"}, nil, in(ruche.TLSACME, ""), "a.example", "the host's own, until there is a good certificate by ACME"},
		{"mode acme before there is one, parent's file", []string{"a.example"}, nil, acme("www.a.example"), "a.example", ""},
		{"mode acme before there is one, default file", []string{"default"}, nil, in(ruche.TLSACME, ""), "default", "so default.crt serves, until"},
		{"mode acme, file before expired", []string{"a.example"}, map[string]wish{"r": with(of("a.example"), expired)}, in(ruche.TLSACME, ""), "a.example", ""},
		{"mode acme, file before revoked", []string{"a.example"}, map[string]wish{"r": with(of("a.example"), func(w *wish) { w.revoked = true })}, in(ruche.TLSACME, ""), "a.example", ""},
		{"mode acme, expired before a default file for others", []string{"default"}, map[string]wish{"r": with(of("a.example"), expired)}, in(ruche.TLSACME, ""), "r", "none better"},
		{"mode acme, default file for it before expired", []string{"default"}, map[string]wish{"r": with(of("default"), expired)}, acme("default"), "default", ""},
		{"mode acme, expired before self-signed", nil, map[string]wish{"r": with(of("a.example"), expired)}, in(ruche.TLSACME, ""), "r", "expired at"},
		{"mode acme with CERT_NAME without a file", []string{"a.example"}, nil, in(ruche.TLSACME, "shared"), "self-signed", "CERT_NAME asks"},
		{"mode acme with CERT_NAME", []string{"shared"}, map[string]wish{"r": of("a.example")}, in(ruche.TLSACME, "shared"), "shared", "CERT_NAME asks"},
		{"mode internal", []string{"a.example"}, map[string]wish{"r": of("a.example"), "i": with(of("a.example"), internal)}, in(ruche.TLSInternal, ""), "i", "Ruche's own authority i"},
		{"mode internal before there is one", []string{"a.example"}, map[string]wish{"r": of("a.example")}, in(ruche.TLSInternal, ""), "self-signed", "own authority for it yet"},
		{"mode off", nil, map[string]wish{"r": of("a.example")}, in(ruche.TLSOff, ""), "none", ""},
		{"a host that no route has", nil, map[string]wish{"r": with(of("a.example"), internal)}, ruche.CertificateQuery{ServerName: "a.example"}, "r", "no route has this name, but the certificate of Ruche's own authority r is for a.example"},
		{"a host that no route has, by wildcard", []string{"default"}, map[string]wish{"r": of("*.example")}, ruche.CertificateQuery{ServerName: "a.example"}, "r", "is for *.example"},
		{"a host that no route has, expired", nil, map[string]wish{"r": with(of("a.example"), expired)}, ruche.CertificateQuery{ServerName: "a.example"}, "r", "expired at"},
		{"a host that no route has, default file before expired", []string{"default"}, map[string]wish{"r": with(of("default"), expired)}, ruche.CertificateQuery{ServerName: "default"}, "default", ""},
		{"a host that no route has, retired", nil, map[string]wish{"r": with(of("a.example"), func(w *wish) { w.retired = true })}, ruche.CertificateQuery{ServerName: "a.example"}, "none", "neither a certificate for it"},
		{"a stranger", nil, map[string]wish{"r": of("a.example")}, ruche.CertificateQuery{ServerName: "b.example"}, "none", "neither a certificate for it"},
		{"a stranger without a name", nil, map[string]wish{"r": of("a.example")}, ruche.CertificateQuery{}, "none", ""},
		{"another key", nil, map[string]wish{"r": with(of("a.example"), func(w *wish) { w.otherKey = true })}, ask("a.example"), "self-signed", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			for _, f := range tt.files {
				writePair(t, dir, f, inAYear())
			}
			c := withStore(t, dir, tt.records)
			certificate, st := c.Certificate(tt.query)
			got := string(st.Kind)
			switch {
			case st.Kind == ruche.CertificateFile:
				got = strings.TrimSuffix(filepath.Base(st.File), ".crt")
			case certificate != nil && st.Fingerprint != "":
				for id, m := range c.store.byID {
					if m.fingerprint == st.Fingerprint {
						got = id
					}
				}
			}
			if got != tt.want || !strings.Contains(st.Reason, tt.reason) || st.Reason == "" {
				t.Errorf("chose %s (%s), want %s (%s)", got, st.Reason, tt.want, tt.reason)
			}
			if trusted := c.Trusted(tt.query); trusted != st.Trusted() && tt.query.Host != "" {
				t.Errorf("Trusted() = %v of kind %s", trusted, st.Kind)
			}
			if asked := c.Status(tt.query); asked.Trusted() != st.Trusted() || st.Trusted() && asked.Reason != st.Reason {
				t.Errorf("Status() = %+v, want %+v", asked, st)
			}
		})
	}
}

// nobody is a bucket that says nothing.
type nobody struct{ Watcher[vault.Record] }

func TestManagedCertificatesChange(t *testing.T) {
	c := withStore(t, t.TempDir(), map[string]wish{"a": of("a.example", "b.example"), "w": of("*.c.example")})
	serves := func(name, id string) {
		t.Helper()
		_, st := c.Certificate(ruche.CertificateQuery{ServerName: name, Host: name})
		got := ""
		for i, m := range c.store.byID {
			if m.fingerprint == st.Fingerprint {
				got = i
			}
		}
		if got != id {
			t.Errorf("%s is served with %q (%s), want %q", name, got, st.Reason, id)
		}
	}
	serves("b.example", "a")
	serves("x.c.example", "w")
	changed := c.Changed()
	before := c.store.byID["a"].certificate
	c.put(t, false, map[string]wish{"a": of("a.example")}) // without the other name
	<-changed
	serves("a.example", "a")
	serves("b.example", "")

	// What cannot be used leaves what was there, and says so.
	last := c.store.byID["a"].fingerprint
	for name, change := range map[string]func(*wish){"key": func(w *wish) { w.otherKey = true }, "seal": func(w *wish) { w.otherSeal = true }} {
		c.put(t, false, map[string]wish{"a": with(of("a.example"), change)})
		if w := warning(t, c); w.Code != ruche.CodeCertUnusable || !strings.Contains(w.Message, "a (") || !strings.Contains(w.Message, "last good version") || c.store.byID["a"].fingerprint != last {
			t.Errorf("after a record with another %s: %+v, fingerprint %s", name, w, c.store.byID["a"].fingerprint)
		}
	}
	good := of("a.example").record(t, "a")
	c.applyRecords(ruche.Update[vault.Record]{Puts: map[string]vault.Record{"a": good}})
	if w := warning(t, c); w.Code != "" || c.store.byID["a"].fingerprint == last {
		t.Errorf("after a good record: %+v", w)
	}
	// The same certificate comes again, sealed anew: its key need not be opened.
	good.Key = nil
	c.applyRecords(ruche.Update[vault.Record]{Puts: map[string]vault.Record{"a": good}})
	if w := warning(t, c); w.Code != "" || c.store.byID["a"].certificate.PrivateKey == before.PrivateKey {
		t.Errorf("after the same record: %+v", w)
	}
	many := map[string]wish{}
	for i := range 50 {
		many[fmt.Sprint(i)] = with(of("many.example"), func(w *wish) { w.otherSeal = true })
	}
	c.put(t, false, many)
	if w := warning(t, c); !strings.Contains(w.Message, "and 45 more") || len(w.Message) > 1000 {
		t.Errorf("of 50 broken records it says %+v", w)
	}
	c.applyRecords(ruche.Update[vault.Record]{Deletes: slices.Collect(maps.Keys(many))})
	if w := warning(t, c); w.Code != "" {
		t.Errorf("after they are gone: %+v", w)
	}
	c.put(t, false, map[string]wish{"a": with(of("a.example"), func(w *wish) { w.retired = true })})
	serves("a.example", "")
	c.applyRecords(ruche.Update[vault.Record]{Deletes: []string{"w", "never was"}})
	serves("x.c.example", "")
	c.put(t, true, map[string]wish{"z": of("z.example")})
	c.put(t, true, map[string]wish{"y": of("y.example")})
	serves("z.example", "")
	serves("y.example", "y")
	if len(c.store.byID) != 1 {
		t.Errorf("%d certificates are kept, want 1", len(c.store.byID))
	}
}

func TestSecretsAreCertificateFilesToo(t *testing.T) {
	dir, secrets := t.TempDir(), t.TempDir()
	writePair(t, dir, "both.example", inAYear())
	writePair(t, secrets, "both.example", inAYear())
	writePair(t, secrets, "secret.example", inAYear())
	write(t, filepath.Join(secrets, "ruche-join"), "x")
	write(t, filepath.Join(secrets, "x.ca.crt"), "x")
	c := New(Config{Dir: dir, SecretsDir: secrets, StateDir: t.TempDir(), Logger: slog.New(slog.DiscardHandler), Health: &health.Registry{}})
	for name, where := range map[string]string{"both.example": dir, "secret.example": secrets} {
		if _, st := c.Certificate(ruche.CertificateQuery{ServerName: name, Host: name}); filepath.Dir(st.File) != where {
			t.Errorf("%s is served from %q, want %s", name, st.File, where)
		}
	}
	if w := warning(t, c); w.Code != "" {
		t.Errorf("warning %+v", w)
	}
}

func TestSelfSignedKeysAreKeptSealed(t *testing.T) {
	state := t.TempDir()
	get := func(safe vault.Sealer) string {
		c := New(Config{Dir: t.TempDir(), StateDir: state, Safe: safe, Logger: slog.New(slog.DiscardHandler), Health: &health.Registry{}})
		certificate, _ := c.Certificate(ruche.CertificateQuery{ServerName: "a.example", Host: "a.example", Declared: true})
		return string(certificate.Certificate[0])
	}
	file := filepath.Join(state, "selfsigned", "a.example.key")
	bare := get(nil)
	if !strings.Contains(read(t, file), "PRIVATE KEY") {
		t.Fatal("without a seal the key is not kept in the clear")
	}
	if get(plainSeal{}) != bare || strings.Contains(read(t, file), "PRIVATE KEY") {
		t.Error("with a seal another certificate was made, or its key is kept in the clear")
	}
	if get(plainSeal{}) != bare {
		t.Error("a restart made another certificate")
	}
	if get(nil) == bare {
		t.Error("a sealed key was opened without a seal")
	}
}

// TestMemoryOfACertificate tells in its output what a managed certificate costs.
func TestMemoryOfACertificate(t *testing.T) {
	const n = 1000
	records := map[string]vault.Record{}
	issuer := of("issuer").record(t, "i").Chain[0]
	for i := range n {
		id := "c" + strconv.Itoa(i)
		r := of("name-"+strconv.Itoa(i)+".example").record(t, id)
		r.Chain = append(r.Chain, append([]byte(nil), issuer...))
		records[id] = r
	}
	c := withStore(t, t.TempDir(), nil)
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	for id, r := range records {
		fresh := vault.Record{Names: r.Names, Origin: r.Origin, Key: r.Key, Issued: r.Issued}
		for _, der := range r.Chain {
			fresh.Chain = append(fresh.Chain, append([]byte(nil), der...))
		}
		c.applyRecords(ruche.Update[vault.Record]{Puts: map[string]vault.Record{id: fresh}})
	}
	each := int64(heap()-before) / n
	t.Logf("a managed certificate takes %d bytes", each)
	if each > 20_000 {
		t.Errorf("a managed certificate takes %d bytes", each)
	}
	runtime.KeepAlive(c)
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// TestRenewalLeavesNoGap looks up a name while its certificate is replaced: a visitor in between must not get a self-signed one.
func TestRenewalLeavesNoGap(t *testing.T) {
	w := wish{names: []string{"a.example", "*.a.example"}, from: -time.Hour, to: time.Hour}
	c := withStore(t, t.TempDir(), map[string]wish{"a": w})
	updates := [2]ruche.Update[vault.Record]{}
	for i := range updates {
		updates[i].Puts = map[string]vault.Record{"a": w.record(t, "a")}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range 2000 {
			c.applyRecords(updates[i%2])
		}
	}()
	for {
		for _, name := range []string{"a.example", "b.a.example"} {
			if m, _ := c.store.find(name, ruche.TLSAuto, time.Now()); m == nil {
				t.Fatalf("%s has no certificate while it is renewed", name)
			}
		}
		select {
		case <-done:
			return
		default:
		}
	}
}
