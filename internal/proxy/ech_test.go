package proxy

import (
	"crypto/ecdh"
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/quic-go/quic-go/http3"

	"github.com/ruche-project/ruche"
)

// echKey makes a key and the ECHConfigList of it (RFC 9849 section 4).
func echKey(t *testing.T, publicName string) (key tls.EncryptedClientHelloKey, list []byte) {
	t.Helper()
	private, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	contents := append([]byte{7, 0, 0x20, 0, 32}, private.PublicKey().Bytes()...)
	contents = append(contents, 0, 4, 0, 1, 0, 1, 0, byte(len(publicName)))
	contents = append(append(contents, publicName...), 0, 0)
	sized := func(head, data []byte) []byte {
		return append(binary.BigEndian.AppendUint16(head, uint16(len(data))), data...)
	}
	config := sized([]byte{0xfe, 0x0d}, contents)
	return tls.EncryptedClientHelloKey{Config: config, PrivateKey: private.Bytes(), SendAsRetry: true}, sized(nil, config)
}

func TestTheNameIsHiddenByEveryProtocol(t *testing.T) {
	up := backend(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "I am "+r.Host) })
	r := startHTTP3(t, Config{}, site("shop.example", up))
	key, list := echKey(t, "ech.example")
	r.SetECHKeys("ech.example", []tls.EncryptedClientHelloKey{key})
	hide := func() *tls.Config {
		return &tls.Config{
			InsecureSkipVerify: true, EncryptedClientHelloConfigList: list,
			EncryptedClientHelloRejectionVerify: func(tls.ConnectionState) error { return nil },
		}
	}
	for name, client := range map[string]func() *http.Client{
		"HTTP/1.1": func() *http.Client {
			c := r.client()
			transport := c.Transport.(*http.Transport)
			transport.TLSClientConfig, transport.ForceAttemptHTTP2 = hide(), false
			return c
		},
		"HTTP/2.0": func() *http.Client {
			c := r.client()
			c.Transport.(*http.Transport).TLSClientConfig = hide()
			return c
		},
		"HTTP/3.0": func() *http.Client {
			c := r.client3()
			c.Transport.(*http3.Transport).TLSClientConfig = hide()
			return c
		},
	} {
		t.Run(name, func(t *testing.T) {
			resp, err := client().Get("https://shop.example/")
			if err != nil {
				t.Fatal(err)
			}
			body, _ := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			if resp.Proto != name || !resp.TLS.ECHAccepted || !strings.HasPrefix(string(body), "I am shop.example") {
				t.Errorf("%s, accepted %v, %q", resp.Proto, resp.TLS.ECHAccepted, body)
			}
		})
	}
	t.Run("it goes away", func(t *testing.T) {
		r.SetECHKeys("", nil)
		cfg := hide()
		cfg.ServerName = "shop.example"
		c, err := tls.Dial("tcp", r.HTTPSAddr().String(), cfg)
		if err == nil {
			_ = c.Close()
			t.Error("there was a handshake")
		}
	})
}

func TestTheNameIsHiddenWhereTLSEndsForTCP(t *testing.T) {
	where := listening{}
	r := start(t, Config{EntryPoints: entryPoints("db"), Listen: where.listen}, ends(carries("db", "", echoes(t, "any ")), ruche.TLSAuto))
	key, list := echKey(t, "ech.example")
	r.SetECHKeys("ech.example", []tls.EncryptedClientHelloKey{key})
	c := tls.Client(where.dial(t, "db"), &tls.Config{ServerName: "db.example", InsecureSkipVerify: true, EncryptedClientHelloConfigList: list})
	defer func() { _ = c.Close() }()
	if err := c.Handshake(); err != nil || !c.ConnectionState().ECHAccepted {
		t.Errorf("accepted %v, %v", c.ConnectionState().ECHAccepted, err)
	}
}
