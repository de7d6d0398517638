package pebbletest

import (
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/miekg/dns"
)

// DNS answers for every name: 127.0.0.1, and the TXT records that were set. It is safe for concurrent use.
type DNS struct {
	addr string
	mu   sync.Mutex
	txt  map[string][]string
}

func startDNS(t testing.TB) *DNS {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	d := &DNS{addr: l.Addr().String(), txt: make(map[string][]string)}
	ready := make(chan struct{})
	server := &dns.Server{Listener: l, Handler: dns.HandlerFunc(d.answer), NotifyStartedFunc: func() { close(ready) }}
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.ActivateAndServe() })
	<-ready
	t.Cleanup(func() {
		_ = server.Shutdown()
		serving.Wait()
	})
	return d
}

// Addr is where it listens, by TCP.
func (d *DNS) Addr() string { return d.addr }

// AddTXT adds a TXT record to a name, which is without its last dot.
func (d *DNS) AddTXT(name, value string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	name = strings.ToLower(name)
	d.txt[name] = append(d.txt[name], value)
}

// RemoveTXT removes a record that AddTXT added.
func (d *DNS) RemoveTXT(name, value string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	name = strings.ToLower(name)
	d.txt[name] = slices.DeleteFunc(d.txt[name], func(v string) bool { return v == value })
}

// TXT gives the TXT records of a name.
func (d *DNS) TXT(name string) []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.txt[strings.ToLower(name)])
}

func (d *DNS) answer(w dns.ResponseWriter, question *dns.Msg) {
	m := new(dns.Msg)
	m.SetReply(question)
	for _, q := range question.Question {
		header := dns.RR_Header{Name: q.Name, Rrtype: q.Qtype, Class: dns.ClassINET}
		switch q.Qtype {
		case dns.TypeA:
			m.Answer = append(m.Answer, &dns.A{Hdr: header, A: net.IPv4(127, 0, 0, 1)})
		case dns.TypeTXT:
			for _, value := range d.TXT(strings.TrimSuffix(q.Name, ".")) {
				m.Answer = append(m.Answer, &dns.TXT{Hdr: header, Txt: split(value)})
			}
		}
	}
	_ = w.WriteMsg(m)
}

// split cuts a value into the strings of a TXT record, which have 255 bytes at most.
func split(value string) []string {
	var parts []string
	for chunk := range slices.Chunk([]byte(value), 255) {
		parts = append(parts, string(chunk))
	}
	return parts
}
