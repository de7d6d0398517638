package pebbletest

import (
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/miekg/dns"
)

// DNS answers for every name: 127.0.0.1, and the TXT and CAA records that were set. It is safe for concurrent use.
type DNS struct {
	addr string
	mu   sync.Mutex
	txt  map[string][]string
	caa  map[string][]*dns.CAA
}

func startDNS(t testing.TB) *DNS {
	t.Helper()
	l, packets, err := listenBoth()
	must(t, err)
	d := &DNS{addr: l.Addr().String(), txt: make(map[string][]string), caa: make(map[string][]*dns.CAA)}
	var serving sync.WaitGroup
	t.Cleanup(serving.Wait) // after the servers are told to end: the last one is called first
	for _, server := range []*dns.Server{{Listener: l, ReadTimeout: patience}, {PacketConn: packets}} {
		ready := make(chan struct{})
		server.Handler, server.NotifyStartedFunc = dns.HandlerFunc(d.answer), func() { close(ready) }
		serving.Go(func() { _ = server.ActivateAndServe() })
		<-ready
		t.Cleanup(func() { _ = server.Shutdown() })
	}
	return d
}

// listenBoth opens one port for TCP and UDP.
func listenBoth() (l net.Listener, packets net.PacketConn, err error) {
	for range 20 { // another process may have the port of one of them
		if l, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			return nil, nil, err
		}
		if packets, err = net.ListenPacket("udp", l.Addr().String()); err == nil {
			return l, packets, nil
		}
		_ = l.Close()
	}
	return nil, nil, err
}

// Addr is where it listens, by TCP and UDP.
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

// SetCAA makes these the values of the CAA records of a name, by tag; none removes them.
func (d *DNS) SetCAA(name, tag string, values ...string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.caa[name] = nil
	for _, v := range values {
		d.caa[name] = append(d.caa[name], &dns.CAA{Hdr: dns.RR_Header{Name: dns.Fqdn(name), Rrtype: dns.TypeCAA, Class: dns.ClassINET}, Tag: tag, Value: v})
	}
}

func (d *DNS) answer(w dns.ResponseWriter, question *dns.Msg) {
	m := new(dns.Msg)
	m.SetReply(question)
	for _, q := range question.Question {
		header := dns.RR_Header{Name: q.Name, Rrtype: q.Qtype, Class: dns.ClassINET}
		switch q.Qtype {
		case dns.TypeA:
			m.Answer = append(m.Answer, &dns.A{Hdr: header, A: net.IPv4(127, 0, 0, 1)})
		case dns.TypeCAA:
			d.mu.Lock()
			for _, record := range d.caa[strings.TrimSuffix(strings.ToLower(q.Name), ".")] {
				m.Answer = append(m.Answer, record)
			}
			d.mu.Unlock()
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
