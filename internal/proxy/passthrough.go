package proxy

import (
	"encoding/binary"
	"errors"
	"time"

	"github.com/ruche-project/ruche/internal/match"
)

// TLS that is passed through is chosen by the server name in the client's first message (RFC 8446 section 4.1.2, RFC 6066 section 3), which is
// read ahead and left as it is. A client that hides the name (ECH) is taken by the public one.

const (
	recordHandshake = 22
	recordHeader    = 5
	// maxRecord is what a record may hold before it is encrypted (RFC 8446 section 5.1).
	maxRecord        = 1 << 14
	clientHello      = 1
	extensionName    = 0
	nameHost         = 0
	helloFixed       = 2 + 32 // version and random
	handshakeHeaders = 4
)

var errNoClientHello = errors.New("it does not begin with a TLS handshake")

// serverName reads ahead until the server name of a TLS connection is known, within the time given. It is empty for a connection that asks for none or
// does not begin with TLS.
func (v *visitor) serverName(timeout time.Duration) string {
	_ = v.conn.SetReadDeadline(v.conn.Loop().Now().Add(timeout))
	defer func() { _ = v.conn.SetReadDeadline(time.Time{}) }()
	for {
		name, whole, err := serverNameOf(v.buf[:v.n])
		if whole || err != nil {
			host, ok := match.CanonicalHost(name)
			if !ok {
				return ""
			}
			return host
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
			return ""
		}
		n, err := v.conn.Read(v.buf[v.n:])
		if v.n += n; n == 0 && err != nil {
			return ""
		}
	}
}

// serverNameOf returns the server name that the beginning of a connection asks for. whole tells that the first message is there: then an empty name means
// that it asks for none. The error says that it is no TLS.
func serverNameOf(b []byte) (name string, whole bool, err error) {
	var message []byte
	for records := 0; ; records++ {
		switch {
		case len(b) > 0 && b[0] != recordHandshake: // the version behind it is to be ignored (RFC 8446 section 5.1)
			return "", false, errNoClientHello
		case len(b) < recordHeader:
			return "", false, nil
		}
		size := int(binary.BigEndian.Uint16(b[3:]))
		if size == 0 || size > maxRecord {
			return "", false, errNoClientHello
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
			return "", false, errNoClientHello
		}
		if len(message) >= handshakeHeaders {
			end := handshakeHeaders + int(message[1])<<16 + int(message[2])<<8 + int(message[3])
			if len(message) >= end {
				name, err = helloName(message[handshakeHeaders:end])
				return name, err == nil, err
			}
		}
		if len(b) < recordHeader+size {
			return "", false, nil
		}
		b = b[recordHeader+size:]
	}
}

// helloName returns the server name in a ClientHello.
func helloName(b []byte) (string, error) {
	r := fields{b, true}
	r.take(helloFixed)
	r.vector(1) // session
	r.vector(2) // cipher suites
	r.vector(1) // compression
	if len(r.rest) == 0 && r.ok {
		return "", nil // before there were extensions
	}
	extensions := fields{r.vector(2), r.ok}
	name := ""
	for len(extensions.rest) > 0 && extensions.ok {
		kind := extensions.number(2)
		data := extensions.vector(2)
		if kind != extensionName || !extensions.ok {
			continue
		}
		list := fields{data, true}
		names := fields{list.vector(2), list.ok}
		for len(names.rest) > 0 && names.ok {
			kind := names.number(1)
			if value := names.vector(2); kind == nameHost && name == "" {
				name = string(value)
			}
		}
		extensions.ok = extensions.ok && list.ok && names.ok
	}
	if !r.ok || !extensions.ok {
		return "", errNoClientHello
	}
	return name, nil
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
