package certs

import (
	"crypto/tls"
	"fmt"
	"net"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/certs/vault"
)

// BenchmarkHandshake does whole handshakes with one managed certificate and with 10,000, of which it asks for one after the other. What counts is server-us: the
// processor time of the server's side alone, since a client has work of its own with certificates that it has not seen, and others may use the machine.
func BenchmarkHandshake(b *testing.B) {
	for _, n := range []int{1, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			c := withStore(b, b.TempDir(), nil)
			name := func(i int) string { return fmt.Sprintf("site-%d.example", i%n) }
			for i := range n {
				id := fmt.Sprintf("site-%d", i)
				c.applyRecords(ruche.Update[vault.Record]{Puts: map[string]vault.Record{id: of(name(i)).record(b, id)}})
			}
			conns, done := make(chan net.Conn), make(chan error)
			var spent time.Duration
			go serveHandshakes(c, conns, done, &spent)
			i := 0
			handshake := func() {
				i++
				here, there := net.Pipe()
				conns <- here
				err := tls.Client(there, &tls.Config{ServerName: name(i * 7919), InsecureSkipVerify: true}).Handshake()
				if served := <-done; err != nil || served != nil {
					b.Fatal(err, served)
				}
				_ = here.Close()
			}
			for range n { // each key has been used once
				handshake()
			}
			first, before := i, spent
			for b.Loop() {
				handshake()
			}
			b.ReportMetric(float64((spent-before).Microseconds())/float64(i-first), "server-us/op")
			close(conns)
		})
	}
}

// serveHandshakes answers one connection after the other on a thread of its own, and adds up the processor time of that.
func serveHandshakes(c *Certs, conns <-chan net.Conn, done chan<- error, spent *time.Duration) {
	runtime.LockOSThread()
	config := &tls.Config{SessionTicketsDisabled: true, GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		certificate, _ := c.Certificate(ruche.CertificateQuery{ServerName: hello.ServerName, Host: hello.ServerName})
		return certificate, nil
	}}
	for conn := range conns {
		begin := threadTime()
		err := tls.Server(conn, config).Handshake()
		*spent += threadTime() - begin
		done <- err
	}
}

// threadTime is what this thread has had of the processor.
func threadTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(1, &u) != nil { // RUSAGE_THREAD
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
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
