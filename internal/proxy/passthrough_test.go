package proxy

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func mustParse(t testing.TB, c tls.Certificate) *x509.Certificate {
	t.Helper()
	parsed, err := x509.ParseCertificate(c.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

// recorder keeps what is written first, and fails.
type recorder struct {
	net.Conn
	hello []byte
}

var errRecorded = errors.New("recorded")

func (r *recorder) Write(p []byte) (int, error) {
	r.hello = append(r.hello, p...)
	return 0, errRecorded
}

func (r *recorder) Close() error { return nil }

// clientHelloFor is how a TLS client begins.
func clientHelloFor(t testing.TB, name string, protocols ...string) []byte {
	t.Helper()
	r := &recorder{}
	if err := tls.Client(r, &tls.Config{ServerName: name, NextProtos: protocols, InsecureSkipVerify: true}).Handshake(); !errors.Is(err, errRecorded) {
		t.Fatal(err)
	}
	return r.hello
}

// split puts the message of one record into records of so many bytes.
func split(hello []byte, size int) []byte {
	var b []byte
	for rest := hello[recordHeader:]; len(rest) > 0; {
		n := min(size, len(rest))
		b = append(b, recordHandshake, 3, 1, byte(n>>8), byte(n))
		b = append(b, rest[:n]...)
		rest = rest[n:]
	}
	return b
}

func TestClientHelloOf(t *testing.T) {
	hello := clientHelloFor(t, "a.test")
	bad := func(at int, c byte) []byte {
		b := append([]byte(nil), hello...)
		b[at] = c
		return b
	}
	odd := split(hello, 100)
	odd[recordHeader+100+1] = 0
	tests := []struct {
		name  string
		b     []byte
		want  string
		whole bool
		bad   bool
	}{
		{"whole", hello, "a.test", true, false},
		{"with more behind it", append(append([]byte(nil), hello...), 20, 3, 3, 0, 1, 1), "a.test", true, false},
		{"no name", clientHelloFor(t, ""), "", true, false},
		{"split into records of 100 bytes", split(hello, 100), "a.test", true, false},
		{"split into records of a byte", split(hello, 1), "a.test", true, false},
		{"a later record of another version", odd, "a.test", true, false},
		{"nothing", nil, "", false, false},
		{"a byte", hello[:1], "", false, false},
		{"all but a byte", hello[:len(hello)-1], "", false, false},
		{"a request", []byte("GET / HTTP/1.1\r\n"), "", false, true},
		{"an alert", bad(0, 21), "", false, true},
		{"a record of another version", bad(1, 7), "a.test", true, false},
		{"another message", bad(5, 2), "", false, true},
		{"an empty record", []byte{22, 3, 1, 0, 0}, "", false, true},
		{"a record that is too long", []byte{22, 3, 1, 255, 255}, "", false, true},
		{"lengths that do not fit", bad(recordHeader+handshakeHeaders+helloFixed, 255), "", false, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, whole, err := clientHelloOf(tt.b)
			if got.name != tt.want || whole != tt.whole || (err != nil) != tt.bad {
				t.Errorf("got %+v, whole %t, %v", got, whole, err)
			}
		})
	}
}

// FuzzClientHello holds the reader against that of crypto/tls.
func FuzzClientHello(f *testing.F) {
	for _, name := range []string{"", "a.test", strings.Repeat("a.", 100) + "test"} {
		hello := clientHelloFor(f, name)
		f.Add(hello)
		f.Add(split(hello, 50))
		f.Add(clientHelloFor(f, name, "h2", "postgresql"))
	}
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, whole, err := clientHelloOf(b)
		name := h.name
		if whole && err != nil || !whole && (name != "" || len(h.protocols) > 0) {
			t.Fatalf("%+v, %t, %v", h, whole, err)
		}
		for n := range min(len(b), 300) { // what is told early is told of the whole too
			early, known, _ := clientHelloOf(b[:n])
			if known && (!whole || !reflect.DeepEqual(early, h)) {
				t.Fatalf("%d bytes tell %+v, all tell %+v, %t", n, early, h, whole)
			}
		}
		theirs, asked := "", false
		var protocols []string
		_ = tls.Server(&player{b: b}, &tls.Config{GetConfigForClient: func(i *tls.ClientHelloInfo) (*tls.Config, error) {
			theirs, protocols, asked = i.ServerName, i.SupportedProtos, true
			return nil, errRecorded
		}}).Handshake()
		if asked && (!whole || name != strings.TrimSuffix(theirs, ".") && name != theirs) {
			t.Fatalf("crypto/tls reads %q, we %q, whole %t, %v", theirs, name, whole, err)
		}
		if asked && !slices.Equal(protocols, h.protocols) {
			t.Fatalf("crypto/tls reads the protocols %q, we %q", protocols, h.protocols)
		}
	})
}

// player is a peer that has said all it will say.
type player struct {
	net.Conn
	b []byte
}

func (p *player) Read(b []byte) (int, error) {
	if len(p.b) == 0 {
		return 0, net.ErrClosed
	}
	n := copy(b, p.b)
	p.b = p.b[n:]
	return n, nil
}

func (p *player) Write(b []byte) (int, error) { return len(b), nil }
func (p *player) Close() error                { return nil }
