package probe

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"net"
	"strings"
	"testing"

	wire "github.com/miekg/dns"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/certs/dns"
)

// records is a DNS server that has CAA records, by name; of "broken.example" and what is below it does not answer.
func records(t *testing.T, by map[string]string) *dns.Resolver {
	t.Helper()
	l, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ready, done := make(chan struct{}), make(chan struct{})
	server := &wire.Server{PacketConn: l, NotifyStartedFunc: func() { close(ready) }, Handler: wire.HandlerFunc(func(w wire.ResponseWriter, q *wire.Msg) {
		m := new(wire.Msg)
		m.SetReply(q)
		name := q.Question[0].Name
		if strings.HasSuffix(name, "broken.example.") {
			m.Rcode = wire.RcodeServerFailure
		}
		if ca, ok := by[name]; ok {
			m.Answer = append(m.Answer, &wire.CAA{Hdr: wire.RR_Header{Name: name, Rrtype: wire.TypeCAA, Class: wire.ClassINET}, Tag: "issue", Value: ca})
		}
		_ = w.WriteMsg(m)
	})}
	go func() {
		defer close(done)
		_ = server.ActivateAndServe()
	}()
	<-ready
	t.Cleanup(func() {
		_ = server.Shutdown()
		<-done
	})
	r, err := dns.NewResolver(l.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestCAA(t *testing.T) {
	r := records(t, map[string]string{"shop.example.": "letsencrypt.org", "other.example.": "ca.example"})
	for name, tc := range map[string]struct {
		host, organisation string
		level              ruche.Level
		text               string
	}{
		"it may":               {"www.shop.example", "Let's Encrypt", ruche.LevelOK, "let letsencrypt.org issue"},
		"it may not":           {"www.other.example", "DigiCert Inc", ruche.LevelWarning, "may not do so again"},
		"who it is, is unsure": {"other.example", "Corporate CA", ruche.LevelOK, "is not known here"},
		"no record":            {"free.example", "Let's Encrypt", ruche.LevelOK, "every one may"},
		"no answer":            {"broken.example", "Let's Encrypt", ruche.LevelNote, "are not known"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newProber(ruche.CheckTarget{Host: tc.host}, Config{Resolver: r})
			p.caa(t.Context(), &x509.Certificate{Issuer: pkix.Name{Organization: []string{tc.organisation}, CommonName: "X1"}})
			if f := p.result.Findings; len(f) != 1 || f[0].Level != tc.level || !strings.Contains(f[0].Message, tc.text) || f[0].Check != checkCAA {
				t.Errorf("found %+v, want %s: %q", f, tc.level, tc.text)
			}
		})
	}
	p := newProber(ruche.CheckTarget{Host: "192.0.2.1"}, Config{Resolver: r})
	if p.caa(t.Context(), &x509.Certificate{}); len(p.result.Findings) != 0 {
		t.Errorf("of an address: %+v", p.result.Findings)
	}
}
