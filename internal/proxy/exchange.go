package proxy

import (
	"encoding/hex"
	"errors"
	"io"
	"math/rand/v2"
	"net/netip"
	"time"
	"unsafe"

	"github.com/ruche-project/ruche/internal/h1"
)

// exchange is one request on its way through the proxy, whatever protocol it came by. It belongs to one fiber or goroutine, but for what
// the task that sends the body does (see bodySender). It is used again for other requests: nothing of it may be kept.
type exchange struct {
	proxy  *Proxy
	ground ground
	client client
	// slices of strings in here are of the connection's buffer, which holds them until the exchange ends.
	req     h1.Request
	started time.Time

	proto      string // as logged
	secure     bool   // it came by TLS
	port       string // the port it came in at
	remote     netip.AddrPort
	peer       netip.Addr
	clientAddr netip.Addr // who sent it, as far as trusted proxies tell
	trusted    bool       // the peer is a trusted proxy
	tls        tlsFacts
	id         string

	host    string // canonical; empty when the request names none
	target  target
	upgrade string // the protocol it asks to switch to
	hsts    string // see insist
	route   *routeState
	pick    picker
	vigil   vigil

	// outbound is what the endpoint is told; inbound what it answered; answered what the client is told.
	outbound []h1.Field
	inbound  h1.Response
	answered []h1.Field
	scratch  []byte // where values that are made here stand
	idText   [32]byte

	body     bodySender
	silence  time.Duration        // how long either side may send nothing, if that is longer than usual
	received counter              // bytes of the request's content
	gone     flag                 // the client went away
	onGone   func()               // wentAway, made once
	cutOff   interface{ abort() } // what to end then
	wake     func()               // whom to wake then
	res      result
	complete bool // the client has all of an answer; else its connection is broken off
}

// tlsFacts are what is to be known of a client's TLS.
type tlsFacts struct {
	version    uint16
	serverName string
	peer       *peer // what it has shown; nil: nothing
}

// client is the side of an exchange that asked, spoken to in its own protocol. One task may read the request's content while another writes the
// answer.
type client interface {
	// arrived is the content that is here already; whole is set when no more follows. It waits for nothing.
	arrived() (data []byte, whole bool)
	// next waits for more content, which holds until the next call. After the end it returns io.EOF; h1.Error and other errors
	// say what the client did wrong.
	next() (data []byte, err error)
	// trailer is what came behind the content.
	trailer() []h1.Field
	// inform passes on an informational answer.
	inform(status int, fields []h1.Field) error
	// begin takes the answer's head, which need not be sent before flush or end. length is that of the content; -1 when it is not known.
	begin(status int, reason []byte, fields []h1.Field, length int64) error
	// write takes content, and sends all that was taken when flush is set.
	write(p []byte, flush bool) error
	// end ends the answer.
	end(trailer []h1.Field) error
	// watch has f called when the client goes away, or has gone already; nil ends that. f may run on another goroutine.
	watch(f func())
	// closeAfter has the connection end with this answer, where the protocol knows such a thing. It is called before begin.
	closeAfter()
	// unread ends the reading of content by somebody else.
	unread()
}

// result is how an exchange ended.
type result struct {
	// status is the answer's status code; sentHead tells that the client has it. When it has not, err says why.
	status   int
	sentHead bool
	sent     int64 // bytes of the answer's content
	endpoint *endpointState
	// upstream is the time from choosing the endpoint to the head of its answer.
	upstream time.Duration
	retries  int
	// repeatable tells that every endpoint was tried in vain and the request may go to another one yet.
	repeatable bool
	// err is what went wrong, also after the status was sent; then the connection must be broken off.
	err error
}

// scheme is how the request came in here.
func (x *exchange) scheme() string { return scheme(x.secure) }

func scheme(secure bool) string {
	if secure {
		return "https"
	}
	return "http"
}

// encrypted reports whether the client's own connection is encrypted, as far as can be known: a trusted proxy in front may
// have taken TLS off.
func (x *exchange) encrypted() bool {
	return x.secure || x.trusted && string(x.field(h1.XForwardedProto)) == "https"
}

// field is the first value of a field of the request, nil when there is none.
func (x *exchange) field(id h1.ID) []byte {
	for i := range x.req.Fields {
		if x.req.Fields[i].ID == id {
			return x.req.Fields[i].Value
		}
	}
	return nil
}

// begin makes the exchange ready for the request that x.req holds.
func (x *exchange) begin() {
	p := x.proxy
	x.started = time.Now()
	x.host, x.target, x.upgrade, x.hsts, x.route = "", target{}, "", "", nil
	x.scratch = x.scratch[:0]
	x.silence = 0
	x.received.Store(0)
	x.gone.Store(false)
	if x.onGone == nil {
		x.onGone = x.wentAway
	}
	x.res, x.complete = result{}, false
	x.body.reset(x)
	x.trusted = p.trusted(x.peer)
	x.clientAddr = p.clientIP(x)
	x.id = x.requestID()
	if x.req.Upgrade != nil {
		x.upgrade = upgradeType(x.req.Upgrade)
	}
}

// watch has the exchange know when the client goes away, or has gone already: then what is given is cut off, or woken.
func (x *exchange) watch(cutOff interface{ abort() }, wake func()) {
	x.unwatch()
	x.cutOff, x.wake = cutOff, wake
	x.client.watch(x.onGone)
}

// unwatch ends that.
func (x *exchange) unwatch() { x.client.watch(nil) }

// wentAway may be called on another goroutine, between watch and unwatch.
func (x *exchange) wentAway() {
	x.gone.Store(true)
	if x.cutOff != nil {
		x.cutOff.abort()
	}
	if x.wake != nil {
		x.wake()
	}
}

// forget makes the exchange ready to be lent again.
func (x *exchange) forget() {
	x.client, x.route, x.pick, x.vigil, x.res = nil, nil, picker{}, vigil{}, result{}
	x.req.Reset()
	x.inbound.Reset()
	x.body.letGo()
}

// requestID takes the ID of a trusted peer if it is one, else it makes one of 32 hex digits.
func (x *exchange) requestID() string {
	if x.trusted {
		if id := text(x.field(h1.XRequestID)); validID(id) {
			return id
		}
	}
	var b [16]byte
	u, v := rand.Uint64(), rand.Uint64()
	for i := range 8 {
		b[i], b[i+8] = byte(u>>(8*i)), byte(v>>(8*i))
	}
	hex.Encode(x.idText[:], b[:])
	return text(x.idText[:])
}

// text is b as a string that changes with it: for as long as an exchange holds its buffers.
func text(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// bytesOf is s as bytes that nobody may change.
func bytesOf(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }

// ended reports whether reading content has come to its proper end.
func ended(err error) bool { return errors.Is(err, io.EOF) }
