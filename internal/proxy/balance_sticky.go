package proxy

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"strconv"

	"github.com/ruche-project/ruche"
)

// tokenLen is the length of the value of a sticky cookie.
const tokenLen = 16

// identity makes of an endpoint's key what stands for it: a token for cookies, which tells nothing of its address, and a seed for hashing.
// They are the same on every node and after every restart.
func identity(key string) (token string, seed uint64) {
	sum := sha256.Sum256([]byte("ruche endpoint " + key))
	return hex.EncodeToString(sum[:tokenLen/2]), binary.BigEndian.Uint64(sum[tokenLen/2:])
}

// cookieName is the name of the route's sticky cookie; empty when it has none.
func (r *routeState) cookieName() string {
	if r.sticky == nil {
		return ""
	}
	return r.sticky.Cookie
}

// stickyCookie returns the Set-Cookie to add to an answer of the endpoint; empty when the client has that cookie already, or would not keep
// it: a secure one that comes without TLS. secure tells whether the client's connection is encrypted.
func (p *picker) stickyCookie(e *endpointState, secure bool) string {
	if p.route.sticky == nil || e.token == string(p.key.cookie) {
		return ""
	}
	return p.route.stickyCookie(e, secure)
}

// stickyCookie returns the Set-Cookie that keeps a client at the endpoint, whatever the client has.
func (r *routeState) stickyCookie(e *endpointState, secure bool) string {
	s := r.sticky
	if s == nil || s.Secure && !secure {
		return ""
	}
	return setCookie(s, e.token)
}

// setCookie writes a cookie (RFC 6265 section 4.1). The parts were checked when they were read.
func setCookie(s *ruche.Sticky, value string) string {
	b := make([]byte, 0, 96)
	b = append(b, s.Cookie...)
	b = append(b, '=')
	b = append(b, value...)
	b = append(b, "; Path="...)
	if s.Path == "" {
		b = append(b, '/')
	}
	b = append(b, s.Path...)
	if s.Domain != "" {
		b = append(b, "; Domain="...)
		b = append(b, s.Domain...)
	}
	if s.MaxAge != 0 {
		b = append(b, "; Max-Age="...)
		b = strconv.AppendInt(b, int64(s.MaxAge), 10)
	}
	if s.HTTPOnly {
		b = append(b, "; HttpOnly"...)
	}
	if s.Secure {
		b = append(b, "; Secure"...)
	}
	switch s.SameSite {
	case "lax":
		b = append(b, "; SameSite=Lax"...)
	case "strict":
		b = append(b, "; SameSite=Strict"...)
	case "none":
		b = append(b, "; SameSite=None"...)
	}
	return string(b)
}

// cookieValue finds the value of a cookie in a Cookie header (RFC 6265 section 4.2); nil when it is not there. It allocates nothing, and
// the value is a part of the header.
func cookieValue(header []byte, name string) []byte {
	for len(header) > 0 {
		var pair []byte
		pair, header, _ = bytes.Cut(header, []byte{';'})
		pair = bytes.Trim(pair, " \t")
		if len(pair) > len(name) && pair[len(name)] == '=' && string(pair[:len(name)]) == name {
			return bytes.Trim(pair[len(name)+1:], `"`)
		}
	}
	return nil
}
