package mesh

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

func testSeal(t testing.TB) *Seal {
	t.Helper()
	seal, err := MakeSeal(filepath.Join(t.TempDir(), "seal.key"))
	if err != nil {
		t.Fatal(err)
	}
	return seal
}

func testAuthority(t testing.TB, s *state, now func() time.Time) *Authority {
	t.Helper()
	a, err := OpenAuthority(t.Context(), bucketOf[AuthorityRecord](s, "authority"), testSeal(t), now)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestTheAuthorityIsMadeOnce(t *testing.T) {
	kept, seal := bucketOf[AuthorityRecord](newState(), "authority"), testSeal(t)
	var all sync.WaitGroup
	made := make([]*Authority, 8)
	for i := range made {
		all.Go(func() {
			a, err := OpenAuthority(context.Background(), kept, seal, nil)
			if err != nil {
				t.Error(err)
				return
			}
			made[i] = a
		})
	}
	all.Wait()
	for i, a := range made {
		if a == nil || !a.Root().Equal(made[0].Root()) {
			t.Fatalf("opening %d gave another authority than the first", i)
		}
	}
	record, err := kept.Get(t.Context(), rootKey)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(made[0].key)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(record.Value.SealedKey, der[40:]) {
		t.Error("the bucket holds the key as it is")
	}
	if _, err := OpenAuthority(t.Context(), kept, testSeal(t), nil); err == nil || !strings.Contains(err.Error(), "--seal-key-file") {
		t.Errorf("with another sealing key the error is %v, want one that says where to give the right one", err)
	}
}

func TestSealKeyFiles(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "seal.key")
	first, err := MakeSeal(file)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key file is %v, %v, want mode 0600", info.Mode(), err)
	}
	sealed := first.Close("a thing", []byte("secret"))
	again, err := MakeSeal(file)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := again.Open("a thing", sealed); err != nil || string(got) != "secret" {
		t.Errorf("after reading the key again: %q, %v", got, err)
	}
	if _, err := again.Open("another thing", sealed); err == nil {
		t.Error("what was sealed for one thing opened for another")
	}
	sealed[len(sealed)-1] ^= 1
	if _, err := again.Open("a thing", sealed); err == nil {
		t.Error("what was changed opened")
	}
	good := base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{7}, 32))
	for name, tc := range map[string]struct {
		content string
		ok      bool
	}{
		"as openssl writes it": {good + "\n", true},
		"short":                {good[:40], false},
		"hexadecimal":          {strings.Repeat("07", 32), false},
		"empty":                {"", false},
		"a password":           {"correct horse battery staple", false},
	} {
		file := filepath.Join(dir, "given")
		if err := os.WriteFile(file, []byte(tc.content), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := ReadSeal(file)
		if (err == nil) != tc.ok {
			t.Errorf("%s: error %v, want ok %v", name, err, tc.ok)
		}
		if err != nil && tc.content != "" && strings.Contains(err.Error(), tc.content) {
			t.Errorf("%s: the error tells the key: %v", name, err)
		}
	}
	if _, err := ReadSeal(filepath.Join(dir, "missing")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing file gives %v", err)
	}
}

func TestVerify(t *testing.T) {
	at := newClock()
	ours, others := testAuthority(t, newState(), at.now), testAuthority(t, newState(), at.now)
	key := newKey(t).Public()
	node := func(a *Authority, name string, roles ...Role) []byte {
		der, err := a.nodeCertificate(key, name, roles)
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	peer, err := ours.peerCertificate(key, "10.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		cert  []byte
		after time.Duration
		want  error
	}{
		"a node's":                         {cert: node(ours, "n1", RoleEdge)},
		"another authority's":              {cert: node(others, "n1", RoleEdge), want: errForged},
		"expired":                          {cert: node(ours, "n1", RoleEdge), after: certificateLifetime + time.Second, want: errExpired},
		"from the future":                  {cert: node(ours, "n1", RoleEdge), after: -2 * time.Hour, want: errExpired},
		"a member's of the state":          {cert: peer, want: errNoNode},
		"the root itself":                  {cert: ours.root.Raw, want: errNoNode},
		"a node named like members":        {cert: node(ours, PeerName, RoleEdge), want: errNoNode},
		"a role that does not exist":       {cert: node(ours, "n1", "king"), want: errNoNode},
		"no role":                          {cert: node(ours, "n1"), want: errNoNode},
		"the authority itself of another":  {cert: others.root.Raw, want: errForged},
		"clock of the node is a bit ahead": {cert: node(ours, "n1", RoleEdge), after: -30 * time.Minute},
	} {
		cert, err := x509.ParseCertificate(tc.cert)
		if err != nil {
			t.Fatal(err)
		}
		p, err := verify(cert, ours.Root(), x509.ExtKeyUsageClientAuth, at.now().Add(tc.after))
		if !errors.Is(err, tc.want) {
			t.Errorf("%s: error %v, want %v", name, err, tc.want)
		}
		if err == nil && (p.Name != "n1" || !p.has(RoleEdge) || p.has(RoleControl)) {
			t.Errorf("%s: it is %+v", name, p)
		}
	}
}

func TestNames(t *testing.T) {
	for name, ok := range map[string]bool{
		"node-1": true, "a": true, "Web.example_2": true, strings.Repeat("a", 63): true,
		"": false, PeerName: false, "-a": false, ".": false, "..": false, "a/b": false, "a b": false, "a\n": false, "ä": false, strings.Repeat("a", 64): false,
	} {
		if err := checkName(name); (err == nil) != ok {
			t.Errorf("checkName(%q) = %v, want ok %v", name, err, ok)
		}
	}
}

func TestCertificateRequests(t *testing.T) {
	request := func(key any) []byte {
		der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	good := request(newKey(t))
	bad := bytes.Clone(good)
	bad[len(bad)-1] ^= 1
	for name, tc := range map[string]struct {
		der []byte
		ok  bool
	}{
		"good": {good, true}, "signature changed": {bad, false}, "RSA": {request(rsaKey), false}, "P-384": {request(p384), false},
		"empty": {nil, false}, "garbage": {[]byte("garbage"), false}, "cut": {good[:len(good)/2], false},
	} {
		if _, err := readRequest(tc.der); (err == nil) != tc.ok {
			t.Errorf("%s: error %v, want ok %v", name, err, tc.ok)
		}
	}
}
