package certs

import (
	"crypto/tls"
	"fmt"
	"net"
	"testing"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/certs/vault"
)

// BenchmarkHandshake does whole handshakes with one managed certificate and with 10,000, of which it asks for one after the other.
func BenchmarkHandshake(b *testing.B) {
	for _, n := range []int{1, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			c := withStore(b, b.TempDir(), nil)
			u := ruche.Update[vault.Record]{Reset: true, Puts: map[string]vault.Record{}}
			name := func(i int) string { return fmt.Sprintf("site-%d.example", i%n) }
			for i := range n {
				id := fmt.Sprintf("site-%d", i)
				u.Puts[id] = of(name(i)).record(b, id)
			}
			c.applyRecords(u)
			server := &tls.Config{GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
				certificate, _ := c.Certificate(ruche.CertificateQuery{ServerName: hello.ServerName, Host: hello.ServerName})
				return certificate, nil
			}, SessionTicketsDisabled: true}
			i := 0
			for b.Loop() {
				i++
				here, there := net.Pipe()
				done := make(chan error, 1)
				go func() { done <- tls.Server(here, server).Handshake() }()
				client := tls.Client(there, &tls.Config{ServerName: name(i * 7919), InsecureSkipVerify: true})
				if err := client.Handshake(); err != nil {
					b.Fatal(err)
				}
				if err := <-done; err != nil {
					b.Fatal(err)
				}
				_ = here.Close()
			}
		})
	}
}

// BenchmarkChoice is what choosing costs of a handshake.
func BenchmarkChoice(b *testing.B) {
	for _, n := range []int{1, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			c := withStore(b, b.TempDir(), nil)
			u := ruche.Update[vault.Record]{Reset: true, Puts: map[string]vault.Record{}}
			names := make([]string, n)
			for i := range n {
				id := fmt.Sprintf("site-%d", i)
				names[i] = id + ".example"
				u.Puts[id] = of(names[i]).record(b, id)
			}
			c.applyRecords(u)
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				i += 7919
				name := names[i%n]
				if !c.Trusted(ruche.CertificateQuery{ServerName: name, Host: name}) {
					b.Fatal("there is none for " + name)
				}
			}
		})
	}
}

// BenchmarkTake is what 10,000 records cost an edge that begins to follow, and what they cost when they come again with another control node.
func BenchmarkTake(b *testing.B) {
	const n = 10_000
	u := ruche.Update[vault.Record]{Reset: true, Puts: map[string]vault.Record{}}
	for i := range n {
		id := fmt.Sprintf("site-%d", i)
		u.Puts[id] = of(id+".example").record(b, id)
	}
	b.Run("first", func(b *testing.B) {
		for b.Loop() {
			withStore(b, b.TempDir(), nil).applyRecords(u)
		}
	})
	b.Run("again", func(b *testing.B) {
		c := withStore(b, b.TempDir(), nil)
		c.applyRecords(u)
		for b.Loop() {
			c.applyRecords(u)
		}
	})
}
