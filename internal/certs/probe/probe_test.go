package probe

import (
	"bufio"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ruche-project/ruche"
)

func now() time.Time { return time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC) }

// authority is a root and an intermediate, and the server that has the intermediate's CRL.
type authority struct {
	t         testing.TB
	root, mid *x509.Certificate
	key       crypto.Signer
	roots     *x509.CertPool
	crl       []byte
	crlURL    string
}

func newKey(t testing.TB) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func sign(t testing.TB, template, parent *x509.Certificate, public crypto.PublicKey, key crypto.Signer) *x509.Certificate {
	t.Helper()
	if template.SerialNumber == nil {
		template.SerialNumber, _ = rand.Int(rand.Reader, big.NewInt(1<<62))
	}
	if template.NotAfter.IsZero() {
		template.NotBefore, template.NotAfter = now().Add(-10*day), now().Add(80*day)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	a := &authority{t: t, key: newKey(t), roots: x509.NewCertPool()}
	ca := func(name string) *x509.Certificate {
		return &x509.Certificate{
			Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
			NotBefore: now().Add(-100 * day), NotAfter: now().Add(1000 * day),
		}
	}
	rootKey, top := newKey(t), ca("root")
	a.root = sign(t, top, top, rootKey.Public(), rootKey)
	a.mid = sign(t, ca("intermediate"), a.root, a.key.Public(), rootKey)
	a.roots.AddCert(a.root)
	lists := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(a.crl) }))
	t.Cleanup(lists.Close)
	a.crlURL = lists.URL + "/crl"
	a.revoke(now().Add(day))
	return a
}

// revoke makes the CRL, which is good until some time.
func (a *authority) revoke(until time.Time, serials ...*big.Int) {
	a.t.Helper()
	list := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: now().Add(-2 * day), NextUpdate: until}
	for _, s := range serials {
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: s, RevocationTime: now().Add(-day), ReasonCode: 1})
	}
	var err error
	if a.crl, err = x509.CreateRevocationList(rand.Reader, list, a.mid, a.key); err != nil {
		a.t.Fatal(err)
	}
}

// issue makes a certificate with its chain.
func (a *authority) issue(change ...func(*x509.Certificate)) tls.Certificate {
	a.t.Helper()
	return a.issueFor(newKey(a.t), change...)
}

func (a *authority) issueFor(key crypto.Signer, change ...func(*x509.Certificate)) tls.Certificate {
	a.t.Helper()
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: "shop.example"}, DNSNames: []string{"shop.example"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, CRLDistributionPoints: []string{a.crlURL}, IssuingCertificateURL: []string{"http://ca.example/mid.cer"},
	}
	for _, f := range change {
		f(template)
	}
	leaf := sign(a.t, template, a.mid, key.Public(), a.key)
	return tls.Certificate{Certificate: [][]byte{leaf.Raw, a.mid.Raw}, PrivateKey: key, Leaf: leaf}
}

func lasting(before, left time.Duration) func(*x509.Certificate) {
	return func(c *x509.Certificate) { c.NotBefore, c.NotAfter = now().Add(-before), now().Add(left) }
}

// serve answers TLS until the end of the test. before speaks with a client before TLS begins; it may be nil.
func serve(t *testing.T, cfg *tls.Config, before func(net.Conn) error) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = conn.Close() }()
				_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
				if before != nil && before(conn) != nil {
					return
				}
				secure := tls.Server(conn, cfg)
				if secure.Handshake() == nil {
					_, _ = secure.Read(make([]byte, 1)) // until the client has seen enough
				}
			}()
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-done
	})
	return l.Addr().String()
}

// found lists the findings that are not fine, as "level check: message".
func found(c ruche.CertificateCheck) string {
	var lines []string
	for _, f := range c.Findings {
		if f.Level != ruche.LevelOK {
			lines = append(lines, fmt.Sprintf("%s %s: %s", f.Level, f.Check, f.Message))
		}
	}
	return strings.Join(lines, "\n")
}

func TestServers(t *testing.T) {
	t.Parallel()
	a, stranger := newAuthority(t), newAuthority(t)
	good := a.issue()
	short, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	with := func(c tls.Certificate, change ...func(*tls.Config)) *tls.Config {
		cfg := &tls.Config{Certificates: []tls.Certificate{c}, NextProtos: []string{"h2", "http/1.1"}}
		for _, f := range change {
			f(cfg)
		}
		return cfg
	}
	chain := func(c tls.Certificate, certs ...*x509.Certificate) tls.Certificate {
		c.Certificate = [][]byte{c.Certificate[0]}
		for _, cert := range certs {
			c.Certificate = append(c.Certificate, cert.Raw)
		}
		return c
	}
	selfKey := newKey(t)
	selfTemplate := &x509.Certificate{Subject: pkix.Name{CommonName: "self"}, DNSNames: []string{"shop.example"}}
	self := tls.Certificate{Certificate: [][]byte{sign(t, selfTemplate, selfTemplate, selfKey.Public(), selfKey).Raw}, PrivateKey: selfKey}
	mustStaple := func(c *x509.Certificate) {
		c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 24}, Value: []byte{0x30, 3, 2, 1, 5}})
	}
	stapled := a.issue(mustStaple)
	stapled.OCSPStaple = []byte("an answer")
	cases := map[string]struct {
		cfg   *tls.Config
		name  string
		worst ruche.Level
		want  []string
	}{
		"good":                  {cfg: with(good), worst: ruche.LevelOK},
		"good for an address":   {cfg: with(good), name: "127.0.0.1", worst: ruche.LevelOK},
		"expired":               {cfg: with(a.issue(lasting(90*day, -time.Hour))), worst: ruche.LevelError, want: []string{"error validity: the certificate has ended on 2026-11-22 11:00 UTC"}},
		"not yet":               {cfg: with(a.issue(lasting(-time.Hour, 90*day))), worst: ruche.LevelError, want: []string{"error validity: the certificate begins on 2026-11-22 13:00 UTC only"}},
		"ends soon":             {cfg: with(a.issue(lasting(80*day, 10*day))), worst: ruche.LevelWarning, want: []string{"warning validity: the certificate ends on 2026-12-02 12:00 UTC, in 10 days: one for 90 days"}},
		"ends very soon":        {cfg: with(a.issue(lasting(84*day, 6*day))), worst: ruche.LevelError, want: []string{"in 6 days; of one for 90 days that is far too little"}},
		"short-lived and fresh": {cfg: with(a.issue(lasting(80*time.Hour, 80*time.Hour))), worst: ruche.LevelOK},
		"short-lived and old":   {cfg: with(a.issue(lasting(130*time.Hour, 30*time.Hour))), worst: ruche.LevelWarning, want: []string{"in 30 hours: one for 6 days"}},
		"of a day":              {cfg: with(a.issue(lasting(17*time.Hour, 7*time.Hour))), worst: ruche.LevelOK},
		"self-signed":           {cfg: with(self), worst: ruche.LevelError, want: []string{"error chain: the certificate is self-signed"}},
		"another name":          {cfg: with(good), name: "blog.example", worst: ruche.LevelError, want: []string{"error name: the certificate is not good for blog.example, but for shop.example, 127.0.0.1"}},
		"no names":              {cfg: with(a.issue(func(c *x509.Certificate) { c.DNSNames, c.IPAddresses = nil, nil })), worst: ruche.LevelError, want: []string{"names no host at all"}},
		"incomplete":            {cfg: with(chain(good)), worst: ruche.LevelError, want: []string{`error chain: the chain is incomplete: the certificate of the issuer "intermediate" is not sent`, "note revocation: whether the certificate is revoked is not known"}},
		"an unknown CA":         {cfg: with(stranger.issue()), worst: ruche.LevelError, want: []string{`the chain ends at "intermediate", whose issuer "root" is not trusted here`}},
		"an unknown root":       {cfg: with(chain(stranger.issue(), stranger.mid, stranger.root)), worst: ruche.LevelError, want: []string{`the root "root" is not trusted here`}},
		"with the root":         {cfg: with(chain(good, a.mid, a.root)), worst: ruche.LevelNote, want: []string{`note chain: the root "root" is sent too`}},
		"in the wrong order":    {cfg: with(chain(good, a.root, a.mid)), worst: ruche.LevelWarning, want: []string{"warning chain: the chain is sent in the wrong order"}},
		"with a stranger":       {cfg: with(chain(good, a.mid, stranger.mid)), worst: ruche.LevelWarning, want: []string{`belongs to nothing`}},
		"not for servers":       {cfg: with(a.issue(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} })), worst: ruche.LevelError, want: []string{"incompatible key usage"}},
		"only TLS 1.2":          {cfg: with(good, func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }), worst: ruche.LevelNote, want: []string{"note versions: TLS 1.3 is not accepted, but TLS 1.2", "note key-exchange"}},
		"also TLS 1.0":          {cfg: with(good, func(c *tls.Config) { c.MinVersion = tls.VersionTLS10 }), worst: ruche.LevelWarning, want: []string{"warning versions: old versions are accepted: TLS 1.0, TLS 1.1, TLS 1.2, TLS 1.3"}},
		"only TLS 1.1":          {cfg: with(good, func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 }), worst: ruche.LevelError, want: []string{"clients of today are refused"}},
		"a weak cipher": {cfg: with(a.issueFor(short), func(c *tls.Config) {
			c.MaxVersion, c.CipherSuites = tls.VersionTLS12, []uint16{tls.TLS_RSA_WITH_AES_128_GCM_SHA256}
		}), worst: ruche.LevelError, want: []string{"clients of today are refused", "the cipher TLS_RSA_WITH_AES_128_GCM_SHA256 is weak"}},
		"no post-quantum":          {cfg: with(good, func(c *tls.Config) { c.CurvePreferences = []tls.CurveID{tls.X25519} }), worst: ruche.LevelNote, want: []string{"the key exchange X25519 can be broken"}},
		"no tickets":               {cfg: with(good, func(c *tls.Config) { c.SessionTicketsDisabled = true }), worst: ruche.LevelNote, want: []string{"sessions are not resumed"}},
		"asks for certificates":    {cfg: with(good, func(c *tls.Config) { c.ClientAuth = tls.RequestClientCert }), worst: ruche.LevelNote, want: []string{"the server asks clients for a certificate"}},
		"must-staple without one":  {cfg: with(a.issue(mustStaple)), worst: ruche.LevelError, want: []string{"error staple: the certificate says that an OCSP answer is always stapled"}},
		"must-staple with one":     {cfg: with(stapled), worst: ruche.LevelOK},
		"a name that is not there": {cfg: &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return nil, nil }}, worst: ruche.LevelError, want: []string{"error connection: the server has no certificate for shop.example"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			target := ruche.CheckTarget{Host: "shop.example", Address: serve(t, c.cfg, nil), ServerName: c.name}
			got := Check(t.Context(), target, Config{Roots: a.roots, Now: now})
			if worst := got.Worst(); worst != c.worst {
				t.Errorf("the worst is %s, want %s", worst, c.worst)
			}
			for _, want := range c.want {
				if !strings.Contains(found(got), want) {
					t.Errorf("%q is not among what was found", want)
				}
			}
			if t.Failed() {
				t.Logf("found:\n%s", found(got))
			}
		})
	}
}

func TestWhatIsTold(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	address := serve(t, &tls.Config{Certificates: []tls.Certificate{a.issue()}, NextProtos: []string{"h2"}}, nil)
	got := Check(t.Context(), ruche.CheckTarget{Host: "shop.example", Address: address}, Config{Roots: a.roots, Now: now})
	if len(got.Chain) != 2 || got.TLS == nil || got.Address != address || !got.At.Equal(now()) {
		t.Fatalf("Check() = %+v", got)
	}
	leaf := got.Chain[0]
	if leaf.Key != "ECDSA P-256" || leaf.Signature != "ECDSA-SHA256" || leaf.Issuer != "CN=intermediate" || len(leaf.Fingerprint) != 64 || leaf.CRLs[0] != a.crlURL || leaf.Names[0] != "shop.example" {
		t.Errorf("the certificate is %+v", leaf)
	}
	if v := got.TLS; strings.Join(v.Versions, " ") != "TLS 1.2 TLS 1.3" || v.Version != "TLS 1.3" || v.ALPN != "h2" || v.KeyExchange != "X25519MLKEM768" || !v.PostQuantum || !v.Resumes || v.Stapled || v.ClientCertificate {
		t.Errorf("TLS is %+v", v)
	}
}

func TestRevocation(t *testing.T) {
	t.Parallel()
	a, stranger := newAuthority(t), newAuthority(t)
	certificate := a.issue()
	address := serve(t, &tls.Config{Certificates: []tls.Certificate{certificate}}, nil)
	for _, c := range []struct {
		name   string
		change func()
		level  ruche.Level
		says   string
	}{
		{"another is revoked", func() { a.revoke(now().Add(day), big.NewInt(7)) }, ruche.LevelOK, "is not revoked, by the CRL of 2026-11-20"},
		{"revoked", func() { a.revoke(now().Add(day), big.NewInt(7), certificate.Leaf.SerialNumber) }, ruche.LevelError, "was revoked on 2026-11-21 12:00 UTC: its key is known to others"},
		{"a list that is out of date", func() { a.revoke(now().Add(-day)) }, ruche.LevelNote, "out of date since 2026-11-21"},
		{"a list of somebody else", func() { a.crl = stranger.crl }, ruche.LevelNote, "cannot be believed"},
		{"no list", func() { a.crl = []byte("<html>") }, ruche.LevelNote, "it is no CRL"},
	} {
		c.change()
		got := Check(t.Context(), ruche.CheckTarget{Host: "shop.example", Address: address}, Config{Roots: a.roots, Now: now})
		ok := false
		for _, f := range got.Findings {
			ok = ok || f.Check == checkRevocation && f.Level == c.level && strings.Contains(f.Message, c.says)
		}
		if !ok {
			t.Errorf("%s: findings %+v", c.name, got.Findings)
		}
	}
}

// mail speaks as a mail server does until TLS begins: each line that is expected, and the answer.
func mail(greeting string, steps ...[2]string) func(net.Conn) error {
	return func(conn net.Conn) error {
		if _, err := conn.Write([]byte(greeting)); err != nil {
			return err
		}
		for _, s := range steps {
			line, err := bufio.NewReaderSize(conn, 16).ReadString('\n')
			if err != nil || !strings.HasPrefix(line, s[0]) {
				return fmt.Errorf("got %q, %w", line, err)
			}
			if _, err := conn.Write([]byte(s[1])); err != nil {
				return err
			}
		}
		return nil
	}
}

func TestTLSAfterACommand(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	cfg := &tls.Config{Certificates: []tls.Certificate{a.issue()}}
	for name, c := range map[string]struct {
		start  string
		before func(net.Conn) error
		says   string
	}{
		"smtp":             {startSMTP, mail("220-hello\r\n220 mail\r\n", [2]string{"EHLO ", "250-mail\r\n250 STARTTLS\r\n"}, [2]string{"STARTTLS", "220 go\r\n"}), ""},
		"imap":             {startIMAP, mail("* OK hello\r\n", [2]string{"r1 STARTTLS", "* CAPABILITY x\r\nr1 OK go\r\n"}), ""},
		"smtp without TLS": {startSMTP, mail("220 mail\r\n", [2]string{"EHLO ", "250 mail\r\n"}, [2]string{"STARTTLS", "502 what\r\n"}), `"502 what"`},
		"imap without TLS": {startIMAP, mail("* OK hello\r\n", [2]string{"r1 STARTTLS", "r1 BAD what\r\n"}), `"r1 BAD what"`},
		"more than asked":  {startIMAP, mail("* OK hello\r\n", [2]string{"r1 STARTTLS", "r1 OK go\r\nr2 OK injected\r\n"}), "says more than it was asked"},
		"another":          {"ftp", nil, `not for "ftp"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := Check(t.Context(), ruche.CheckTarget{Host: "shop.example", Address: serve(t, cfg, c.before), StartTLS: c.start}, Config{Roots: a.roots, Now: now})
			if c.says == "" && got.Worst() != ruche.LevelOK || !strings.Contains(found(got), c.says) {
				t.Errorf("found:\n%s", found(got))
			}
		})
	}
}

// backlog gives an address whose queue of connections is full, so that it answers no more.
func backlog(t *testing.T) string {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(fd) })
	if err := errors.Join(syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}), syscall.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	bound, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	address := fmt.Sprintf("127.0.0.1:%d", bound.(*syscall.SockaddrInet4).Port)
	conn, err := net.Dial("tcp", address) // there is room for one
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return address
}

func TestWhereNothingIs(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := l.Addr().String()
	_ = l.Close()
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, port, _ := net.SplitHostPort(closed)
	number, _ := strconv.Atoi(port)
	full := backlog(t)
	for name, c := range map[string]struct {
		ctx    context.Context
		target ruche.CheckTarget
		says   string
	}{
		"nobody listens":     {t.Context(), ruche.CheckTarget{Host: "shop.example", Address: closed}, "error connection: no connection: " + closed + " refuses it"},
		"nobody at an IP":    {t.Context(), ruche.CheckTarget{Host: "127.0.0.1", Port: number}, "error connection: no connection: 127.0.0.1:" + port + " refuses it"},
		"nobody at a name":   {t.Context(), ruche.CheckTarget{Host: "localhost", Port: number}, "127.0.0.1:" + port},
		"nobody answers":     {t.Context(), ruche.CheckTarget{Host: "shop.example", Address: full}, "error connection: no connection: " + full + " does not answer within 100ms"},
		"no way leads there": {t.Context(), ruche.CheckTarget{Host: "shop.example", Address: "255.255.255.255:443"}, "error connection: no connection: no way leads to 255.255.255.255:443"},
		"plain HTTP":         {t.Context(), ruche.CheckTarget{Host: "shop.example", Address: plain.Listener.Addr().String()}, "error connection: no handshake"},
		"broken off":         {ctx, ruche.CheckTarget{Host: "shop.example", Address: closed}, "error connection: no connection"},
	} {
		cfg := Config{Now: now}
		if name == "nobody answers" {
			cfg.Timeout = 100 * time.Millisecond
		}
		got := Check(c.ctx, c.target, cfg)
		if !strings.Contains(found(got), c.says) || got.TLS != nil || got.Worst() != ruche.LevelError {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func FuzzMailAnswers(f *testing.F) {
	f.Add("220-a\r\n220 b\r\n", "* x\r\nr1 OK\r\n")
	f.Fuzz(func(t *testing.T, smtp, imap string) {
		if smtpReply(bufio.NewReaderSize(strings.NewReader(smtp), 1024), "220") == nil && !strings.HasPrefix(smtp, "220") {
			t.Errorf("%q was taken for a 220", smtp)
		}
		if imapReply(bufio.NewReaderSize(strings.NewReader(imap), 1024), "r1 ") == nil && !strings.Contains(imap, "r1 ") {
			t.Errorf("%q was taken for an answer", imap)
		}
	})
}
