package ech

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"log/slog"
	"math/big"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/certs/rotation/rotationtest"
	"github.com/ruche-project/ruche/internal/certs/vault"
)

// openSeal leaves things as they are, behind what they are for.
type openSeal struct{}

func (openSeal) Close(what string, data []byte) []byte { return append([]byte(what), data...) }

func (openSeal) Open(what string, sealed []byte) ([]byte, error) {
	data, ok := bytes.CutPrefix(sealed, []byte(what))
	if !ok {
		return nil, errors.New("it was sealed for something else")
	}
	return slices.Clone(data), nil
}

// server takes connections with keys, and gives the names that clients ask for.
func server(t *testing.T, keys []tls.EncryptedClientHelloKey) (address string, names chan string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	names = make(chan string, 10)
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, EncryptedClientHelloKeys: keys,
	})
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				_ = c.(*tls.Conn).Handshake()
				names <- c.(*tls.Conn).ConnectionState().ServerName
				_ = c.Close()
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		serving.Wait()
	})
	return l.Addr().String(), names
}

func TestClientsUnderstandTheConfig(t *testing.T) {
	for _, publicName := range []string{"ech.example", strings.Repeat("a.", 120) + "example"} {
		m := &rotationtest.Row[vault.ECH]{}
		if _, err := Renew(t.Context(), m, openSeal{}, publicName, time.Now()); err != nil {
			t.Fatal(err)
		}
		keys, err := Keys(openSeal{}, m.Value())
		if err != nil {
			t.Fatal(err)
		}
		address, names := server(t, keys)
		raw, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		c := tls.Client(raw, &tls.Config{ServerName: "shop.example", InsecureSkipVerify: true, EncryptedClientHelloConfigList: List(m.Value().Configs[0])})
		if err := c.Handshake(); err != nil || !c.ConnectionState().ECHAccepted {
			t.Errorf("%.20s: accepted %v, %v", publicName, c.ConnectionState().ECHAccepted, err)
		}
		if got := <-names; got != "shop.example" {
			t.Errorf("%.20s: the server was asked for %q", publicName, got)
		}
		_ = c.Close()
	}
}

// The form is that of RFC 9849 section 4, octet by octet.
func TestTheFormOfAConfig(t *testing.T) {
	got := hex.EncodeToString(List(config(0x2a, bytes.Repeat([]byte{0x11}, 32), "a.example")))
	want := "0040" + "fe0d" + "003c" + "2a" + "0020" + "0020" + strings.Repeat("11", 32) + "0008" + "00010001" + "00010003" + "40" + "09" + hex.EncodeToString([]byte("a.example")) + "0000"
	if got != want {
		t.Errorf("the list is\n%s, want\n%s", got, want)
	}
}

func TestKeysThatCannotBeUsed(t *testing.T) {
	m := &rotationtest.Row[vault.ECH]{}
	if _, err := Renew(t.Context(), m, openSeal{}, "ech.example", time.Now()); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*vault.ECH){
		"sealed for something else": func(r *vault.ECH) { r.Keys = []byte("[]") },
		"no list":                   func(r *vault.ECH) { r.Keys = openSeal{}.Close(vault.SealedForECH, []byte("{}")) },
		"fewer than configs":        func(r *vault.ECH) { r.Configs = append(r.Configs, r.Configs[0]) },
		"a config of another key":   func(r *vault.ECH) { r.Configs = [][]byte{config(1, make([]byte, 32), "ech.example")} },
		"a config that is cut":      func(r *vault.ECH) { r.Configs = [][]byte{r.Configs[0][:20]} },
		"a key that is none":        func(r *vault.ECH) { r.Keys = openSeal{}.Close(vault.SealedForECH, []byte(`["AAAA"]`)) },
	} {
		row := m.Value()
		row.Configs = slices.Clone(row.Configs)
		spoil(&row)
		if keys, err := Keys(openSeal{}, row); err == nil || keys != nil {
			t.Errorf("%s: %d keys, %v", name, len(keys), err)
		}
	}
}

func TestKeysRotate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &rotationtest.Row[vault.ECH]{}
		run := func(publicName string) (stop func()) {
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- Rotate(ctx, m, openSeal{}, publicName, slog.New(slog.DiscardHandler)) }()
			synctest.Wait()
			return func() {
				cancel()
				if err := <-ended; err != nil {
					t.Error(err)
				}
			}
		}
		after := func(d time.Duration) {
			<-time.After(d) // of the test's own clock
			synctest.Wait()
		}
		// expect looks at how many keys there are, whether the config is among them, and at the public name.
		expect := func(when string, n int, config []byte, there bool, name string) {
			t.Helper()
			row := m.Value()
			if _, err := Keys(openSeal{}, row); err != nil && n > 0 {
				t.Errorf("%s: %v", when, err)
			}
			holds := slices.ContainsFunc(row.Configs, func(c []byte) bool { return bytes.Equal(c, config) })
			if len(row.Configs) != n || holds != there || row.PublicName != name {
				t.Errorf("%s there are %d keys of %q, and the first is there: %v", when, len(row.Configs), row.PublicName, holds)
			}
		}
		stop := run("ech.example")
		first := m.Value().Configs[0]
		after(29 * 24 * time.Hour)
		expect("before its time", 1, first, true, "ech.example")
		stop()
		stop = run("ech.example") // somebody else leads
		expect("with a new leader", 1, first, true, "ech.example")
		after(25 * time.Hour)
		expect("after 30 days", 2, first, true, "ech.example")
		m.Break(errors.New("no quorum"))
		after(31 * 24 * time.Hour)
		m.Break(nil)
		after(time.Minute)
		expect("after a failure", 3, first, true, "ech.example")
		after(29 * 24 * time.Hour)
		expect("for two more periods", 3, first, true, "ech.example")
		after(48 * time.Hour)
		expect("after those", 3, first, false, "ech.example")
		stop()
		stop = run("other.example")
		expect("with another public name", 3, first, false, "other.example")
		stop()
		m.Change(func(e *vault.ECH) { e.Keys = []byte("sealed with another key") })
		stop = run("other.example")
		expect("after keys that cannot be opened", 1, first, false, "other.example")
		stop()
		run("")()
		expect("when it is off", 0, first, false, "")
		run("")()
	})
}

// zone is what DNS has, by name; a name with nothing has an error.
type zone map[string][]byte

func (z zone) ECH(_ context.Context, name string) ([][]byte, error) {
	list, ok := z[name]
	switch {
	case !ok:
		return nil, nil
	case list == nil:
		return nil, errors.New("no answer")
	}
	return [][]byte{list}, nil
}

func TestWhatIsToBePublished(t *testing.T) {
	m := &rotationtest.Row[vault.ECH]{}
	if s, err := Status(t.Context(), m, []string{"a.example"}, zone{}); err != nil || s.PublicName != "" || len(s.Records) != 0 {
		t.Errorf("while it is off: %+v, %v", s, err)
	}
	now := time.Now()
	for _, at := range []time.Time{now.Add(-Life), now} {
		if _, err := Renew(t.Context(), m, openSeal{}, "ech.example", at); err != nil {
			t.Fatal(err)
		}
	}
	configs := m.Value().Configs
	dns := zone{
		"current.example": List(configs[0]), "beside.example": append(append([]byte{0, byte(2 * len(configs[0]))}, configs[1]...), configs[0]...),
		"outdated.example": List(configs[1]), "foreign.example": List(config(1, make([]byte, 32), "ech.example")), "silent.example": nil,
	}
	want := map[string]ruche.ECHPublished{
		"current.example": ruche.ECHCurrent, "beside.example": ruche.ECHCurrent, "outdated.example": ruche.ECHOutdated, "foreign.example": ruche.ECHForeign,
		"silent.example": ruche.ECHUnknown, "none.example": ruche.ECHMissing,
	}
	var names []string
	for name := range want {
		names = append(names, name)
	}
	s, err := Status(t.Context(), m, names, dns)
	if err != nil || s.PublicName != "ech.example" || !s.Next.Equal(now.Add(Life)) || !bytes.Equal(s.Config, List(configs[0])) {
		t.Fatalf("Status() = %+v, %v", s, err)
	}
	for _, r := range s.Records {
		if r.Published != want[r.Name] || (r.Problem != "") != (r.Published == ruche.ECHUnknown) || !strings.HasPrefix(r.Record, r.Name+`. HTTPS 1 . alpn="h2,http/1.1" ech="`) {
			t.Errorf("%s: %+v, want %s", r.Name, r, want[r.Name])
		}
	}
}
