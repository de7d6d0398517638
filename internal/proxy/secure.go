package proxy

import (
	"crypto/tls"

	"github.com/ruche-project/ruche/internal/loop"
)

// secureStream is TLS on a loop's connection. Its Write returns when everything is sent; see loop.Conn.SetBuffered.
type secureStream struct {
	*tls.Conn
	raw *loop.Conn
}

func newSecureStream(c *tls.Conn, raw *loop.Conn) *secureStream {
	raw.SetBuffered()
	return &secureStream{c, raw}
}

// Write implements io.Writer.
func (s *secureStream) Write(p []byte) (int, error) {
	n, err := s.Conn.Write(p)
	if err != nil {
		return n, err
	}
	return n, s.raw.Drain()
}
