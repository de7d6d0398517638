package proxy

import (
	"encoding/binary"
	"errors"
	"strings"
	"time"

	"github.com/ruche-project/ruche/internal/match"
	"github.com/ruche-project/ruche/internal/proxy/table"
)

// Routes of TCP are chosen by the client's first message of TLS (RFC 8446 section 4.1.2), with the server name (RFC 6066 section 3) and the protocols that it offers (RFC 7301
// section 3.1). It is read ahead and left as it is. A client that hides the name (ECH) is taken by the public one.

const (
	recordHandshake = 22
	recordHeader    = 5
	// maxRecord is what a record may hold before it is encrypted (RFC 8446 section 5.1).
	maxRecord        = 1 << 14
	clientHello      = 1
	extensionName    = 0
	extensionALPN    = 16
	nameHost         = 0
	helloFixed       = 2 + 32 // version and random
	handshakeHeaders = 4
)

var errNoClientHello = errors.New("it does not begin with a TLS handshake")

// hello is what a client says of itself before TLS begins.
type hello struct {
	name      string
	protocols []string
}

// A client of PostgreSQL asks in eight bytes whether it may begin TLS, and waits for one ("SSL Session Encryption" in the chapter about its protocol).
const (
	postgresAsks   = "\x00\x00\x00\x08\x04\xd2\x16\x2f"
	postgresAgrees = "S"
)

// lookAhead reads until it is known how the connection begins, within the time given. What is no TLS, or does not come whole, counts as no TLS. database
// tells that a client may ask first whether it may begin.
func (v *visitor) lookAhead(timeout time.Duration, database bool) (a table.Arrival) {
	a.Client = v.remote.Addr().Unmap().WithZone("")
	_ = v.conn.SetReadDeadline(v.conn.Loop().Now().Add(timeout))
	defer func() { _ = v.conn.SetReadDeadline(time.Time{}) }()
	for {
		h, whole, err := clientHelloOf(v.buf[:v.n])
		if whole {
			a.TLS, a.Protocols = true, h.protocols
			if host, ok := match.CanonicalHost(h.name); ok {
				a.ServerName = host
			}
			return a
		}
		if err != nil && !(database && v.agrees()) {
			return a
		}
		if len(v.buf) < mediumBuffer {
			bigger := v.worker.buffer(mediumBuffer)
			copy(bigger, v.buf[:v.n])
			if v.buf != nil {
				v.worker.giveBack(v.buf)
			}
			v.buf = bigger
		}
		if v.n == len(v.buf) {
			return a
		}
		n, err := v.conn.Read(v.buf[v.n:])
		if v.n += n; n == 0 && err != nil {
			return a
		}
	}
}

// agrees reports whether the connection may go on to TLS although it does not begin with it: the client of a database asks first. It is answered once.
func (v *visitor) agrees() bool {
	early := string(v.buf[:v.n])
	switch {
	case v.postgres || !strings.HasPrefix(postgresAsks, early):
		return false
	case len(early) < len(postgresAsks):
		return true
	}
	v.postgres, v.n = true, 0
	_, err := v.conn.Write([]byte(postgresAgrees))
	return err == nil
}

// clientHelloOf returns what the beginning of a connection says. whole tells that the first message is there: then an empty name means
// that it asks for none. The error says that it is no TLS.
func clientHelloOf(b []byte) (h hello, whole bool, err error) {
	var message []byte
	for records := 0; ; records++ {
		switch {
		case len(b) > 0 && b[0] != recordHandshake: // the version behind it is to be ignored (RFC 8446 section 5.1)
			return h, false, errNoClientHello
		case len(b) < recordHeader:
			return h, false, nil
		}
		size := int(binary.BigEndian.Uint16(b[3:]))
		if size == 0 || size > maxRecord {
			return h, false, errNoClientHello
		}
		there := b[recordHeader:min(len(b), recordHeader+size)]
		switch records {
		case 0:
			message = there
		case 1: // it was split; few clients do that
			message = append(append(make([]byte, 0, len(message)+len(b)), message...), there...)
		default:
			message = append(message, there...)
		}
		if len(message) > 0 && message[0] != clientHello {
			return h, false, errNoClientHello
		}
		if len(message) >= handshakeHeaders {
			end := handshakeHeaders + int(message[1])<<16 + int(message[2])<<8 + int(message[3])
			if len(message) >= end {
				h, err = readHello(message[handshakeHeaders:end])
				return h, err == nil, err
			}
		}
		if len(b) < recordHeader+size {
			return h, false, nil
		}
		b = b[recordHeader+size:]
	}
}

// readHello reads a ClientHello.
func readHello(b []byte) (h hello, err error) {
	r := fields{b, true}
	r.take(helloFixed)
	r.vector(1) // session
	r.vector(2) // cipher suites
	r.vector(1) // compression
	if len(r.rest) == 0 && r.ok {
		return h, nil // before there were extensions
	}
	extensions := fields{r.vector(2), r.ok}
	for len(extensions.rest) > 0 && extensions.ok {
		kind := extensions.number(2)
		data := fields{extensions.vector(2), extensions.ok}
		switch kind {
		case extensionName:
			list := fields{data.vector(2), data.ok}
			for len(list.rest) > 0 && list.ok {
				kind := list.number(1)
				if value := list.vector(2); kind == nameHost && h.name == "" {
					h.name = string(value)
				}
			}
			data.ok = data.ok && list.ok
		case extensionALPN:
			list := fields{data.vector(2), data.ok}
			for len(list.rest) > 0 && list.ok {
				h.protocols = append(h.protocols, string(list.vector(1)))
			}
			data.ok = data.ok && list.ok
		}
		extensions.ok = extensions.ok && data.ok
	}
	if !r.ok || !extensions.ok {
		return hello{}, errNoClientHello
	}
	return h, nil
}

// fields takes binary fields off the beginning of rest; ok tells that all of them were there.
type fields struct {
	rest []byte
	ok   bool
}

func (f *fields) take(n int) []byte {
	if n > len(f.rest) {
		f.rest, f.ok = nil, false
		return nil
	}
	taken := f.rest[:n]
	f.rest = f.rest[n:]
	return taken
}

// number takes a number of so many bytes.
func (f *fields) number(size int) (n int) {
	for _, c := range f.take(size) {
		n = n<<8 | int(c)
	}
	return n
}

// vector takes what follows a length of so many bytes.
func (f *fields) vector(size int) []byte { return f.take(f.number(size)) }
