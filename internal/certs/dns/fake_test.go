package dns_test

import (
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	wire "github.com/miekg/dns"

	"github.com/ruche-project/ruche/internal/certs/dns"
)

// fakeZone is a zone at a provider whose API a test fakes: what the API writes, its name server says. It stands in for the resolvers, too.
type fakeZone struct {
	mu      sync.Mutex
	name    string
	records []wire.RR
	texts   map[string][]string
	rcodes  map[string]int // question -> answer's code
	address string
}

func newFakeZone(t *testing.T, name string, records ...string) *fakeZone {
	t.Helper()
	z := &fakeZone{name: name, texts: make(map[string][]string), rcodes: make(map[string]int)}
	for _, line := range append(records, name+". SOA ns."+name+". admin."+name+". 1 60 10 600 1", name+". NS ns."+name+".", "ns."+name+". A 127.0.0.1") {
		rr, err := wire.NewRR(line)
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		z.records = append(z.records, rr)
	}
	udp, tcp := listenBoth(t)
	z.address = udp.LocalAddr().String()
	for _, server := range []*wire.Server{{PacketConn: udp, Handler: wire.HandlerFunc(z.answer)}, {Listener: tcp, Handler: wire.HandlerFunc(z.answer)}} {
		started, done := make(chan struct{}), make(chan error, 1)
		server.NotifyStartedFunc = func() { close(started) }
		go func() { done <- server.ActivateAndServe() }()
		<-started
		t.Cleanup(func() {
			if err := server.Shutdown(); err != nil {
				t.Error(err)
			}
			<-done
		})
	}
	return z
}

// listenBoth listens on one port by UDP and TCP.
func listenBoth(t *testing.T) (net.PacketConn, net.Listener) {
	t.Helper()
	for range 20 { // the port of the one may be taken for the other
		tcp, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		udp, err := net.ListenPacket("udp", tcp.Addr().String())
		if err == nil {
			return udp, tcp
		}
		tcp.Close()
	}
	t.Fatal("no port is free by UDP and TCP")
	return nil, nil
}

func (z *fakeZone) answer(w wire.ResponseWriter, m *wire.Msg) {
	z.mu.Lock()
	defer z.mu.Unlock()
	q, answer := m.Question[0], new(wire.Msg)
	answer.SetReply(m)
	owner := strings.ToLower(q.Name)
	if code := z.rcodes[wire.TypeToString[q.Qtype]+" "+owner]; code != 0 {
		answer.Rcode = code
	}
	for changed := true; changed; { // as a resolver does, with the records that CNAMEs lead to
		changed = false
		for _, rr := range z.records {
			if h := rr.Header(); h.Name == owner && (h.Rrtype == q.Qtype || h.Rrtype == wire.TypeCNAME) && !slices.Contains(answer.Answer, rr) {
				answer.Answer = append(answer.Answer, rr)
				if c, ok := rr.(*wire.CNAME); ok && q.Qtype != wire.TypeCNAME {
					owner, changed = c.Target, true
				}
			}
		}
	}
	if q.Qtype == wire.TypeTXT {
		for _, v := range z.texts[strings.TrimSuffix(owner, ".")] {
			answer.Answer = append(answer.Answer, &wire.TXT{Hdr: wire.RR_Header{Name: owner, Rrtype: wire.TypeTXT, Class: wire.ClassINET, Ttl: 1}, Txt: []string{v}})
		}
	}
	if len(answer.Answer) == 0 && strings.HasSuffix(owner, z.name+".") {
		answer.Ns = slices.DeleteFunc(slices.Clone(z.records), func(rr wire.RR) bool { return rr.Header().Rrtype != wire.TypeSOA })
	}
	if w.LocalAddr().Network() == "udp" {
		size := wire.MinMsgSize
		if opt := m.IsEdns0(); opt != nil {
			size = int(opt.UDPSize())
		}
		answer.Truncate(size)
	}
	_ = w.WriteMsg(answer) // who asked may have gone
}

// fails has questions ("A a.test.") answered with SERVFAIL from now on.
func (z *fakeZone) fails(questions ...string) {
	z.mu.Lock()
	defer z.mu.Unlock()
	for _, q := range questions {
		z.rcodes[q] = wire.RcodeServerFailure
	}
}

// change is for the API's fake: f gets the values under a name, and gives the new ones.
func (z *fakeZone) change(name string, f func([]string) []string) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.texts[name] = f(slices.Clone(z.texts[name]))
}

func (z *fakeZone) values(name string) []string {
	z.mu.Lock()
	defer z.mu.Unlock()
	return slices.Clone(z.texts[name])
}

func (z *fakeZone) resolver(t *testing.T) *dns.Resolver {
	t.Helper()
	r, err := dns.NewResolver(z.address)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (z *fakeZone) solver(t *testing.T, change ...func(*dns.Options)) *dns.Solver {
	t.Helper()
	_, port, _ := net.SplitHostPort(z.address)
	o := dns.Options{Resolvers: []string{z.address}, NameServerPort: port, Timeout: 10 * time.Second}
	for _, c := range change {
		c(&o)
	}
	s, err := dns.New(slog.New(slog.DiscardHandler), o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}
