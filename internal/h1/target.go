package h1

import "bytes"

// target reads the request target (RFC 9112 section 3.2). Bytes that are not ASCII, and those that URIs have only encoded, are let through
// in path and query, as browsers and nginx do; fragments, whitespace and control bytes are not.
func (r *Request) target() error {
	t := r.Target
	switch {
	case len(t) == 0:
		return bad("no target", "RFC 9112 3.2")
	case !solid(t):
		return bad("whitespace, a control byte or a fragment in the target", "RFC 9112 3.2")
	case string(r.Method) == "CONNECT":
		return r.authorityForm(t)
	case t[0] == '/':
		r.Path = t
		return nil
	case len(t) == 1 && t[0] == '*':
		if string(r.Method) != "OPTIONS" {
			return bad("the target * with another method than OPTIONS", "RFC 9112 3.2.4")
		}
		r.Path = t
		return nil
	}
	return r.absoluteForm(t)
}

// authorityForm reads a CONNECT's target: host and port.
func (r *Request) authorityForm(t []byte) error {
	port, ok := validAuthority(t)
	if !ok || len(port) == 0 {
		return bad("a CONNECT whose target is not host:port", "RFC 9112 3.2.3")
	}
	r.Host = t
	return nil
}

// absoluteForm reads a target that is a URI.
func (r *Request) absoluteForm(t []byte) error {
	rest := t
	switch {
	case len(t) > 7 && fold(t[:4], "http") && string(t[4:7]) == "://":
		rest = t[7:]
	case len(t) > 8 && fold(t[:5], "https") && string(t[5:8]) == "://":
		rest = t[8:]
	default:
		return bad("a target that is neither a path nor an http URI", "RFC 9112 3.2")
	}
	end := bytes.IndexAny(rest, "/?")
	if end < 0 {
		end = len(rest)
	}
	if _, ok := validAuthority(rest[:end]); !ok {
		return bad("a target whose authority is not host or host:port", "RFC 9110 4.2.1")
	}
	r.Host, r.Path = rest[:end], rest[end:]
	switch {
	case len(r.Path) == 0 && string(r.Method) == "OPTIONS": // RFC 9112 section 3.2.4
		r.scratch = append(r.scratch[:0], '*')
		r.Path = r.scratch
	case len(r.Path) == 0 || r.Path[0] == '?':
		r.scratch = append(append(r.scratch[:0], '/'), r.Path...)
		r.Path = r.scratch
	}
	return nil
}

// decideHost checks the Host fields and decides which authority counts (RFC 9112 section 3.2). That of an absolute target replaces Host,
// which must be there and well formed nevertheless.
func (r *Request) decideHost() error {
	if r.hosts == 0 {
		if r.Minor == 0 {
			return nil
		}
		return bad("no Host", "RFC 9112 3.2")
	}
	if r.hosts > 1 {
		return bad("several Host", "RFC 9112 3.2")
	}
	if _, ok := validAuthority(r.host); !ok {
		return bad("a Host that is not host or host:port", "RFC 9112 3.2")
	}
	if r.Host == nil {
		r.Host = r.host
	}
	return nil
}

// validAuthority reports whether a is a host name, an IPv4 address or an IPv6 address in brackets, maybe with a port (RFC 3986 section 3.2).
// User information is refused, and so is what the RFC allows in names but no name has: percent encoding and "!$&'()*+,;=".
func validAuthority(a []byte) (port []byte, ok bool) {
	i := 0
	if len(a) > 0 && a[0] == '[' {
		end := bytes.IndexByte(a, ']')
		if end < 0 || !validIPv6(a[1:end]) {
			return nil, false
		}
		i = end + 1
	} else {
		for i < len(a) && class[a[i]]&isHost != 0 {
			i++
		}
	}
	switch {
	case i == 0:
		return nil, false
	case i == len(a):
		return nil, true
	case a[i] != ':':
		return nil, false
	}
	port = a[i+1:]
	return port, validPort(port)
}

// validPort reports whether p is a port or nothing, which stands for the usual one.
func validPort(p []byte) bool {
	n := 0
	for _, c := range p {
		if !digit(c) {
			return false
		}
		n = n*10 + int(c-'0')
	}
	return len(p) <= 5 && n <= 65535
}

// validIPv6 reports whether a is an IPv6 address without a zone (RFC 4291 section 2.2).
func validIPv6(a []byte) bool {
	groups, compressed := 0, false
	for i := 0; i < len(a); {
		if a[i] == ':' {
			// The second of two colons; the first came behind a group, or is the first byte.
			if i == 0 {
				i++
			}
			if compressed || i == len(a) || a[i] != ':' {
				return false
			}
			i, compressed = i+1, true
			continue
		}
		start := i
		for i < len(a) && class[a[i]]&isHex != 0 {
			i++
		}
		if i < len(a) && a[i] == '.' {
			groups += 2
			return groups <= 8 && compressed == (groups < 8) && validIPv4(a[start:])
		}
		if groups++; i == start || i > start+4 {
			return false
		}
		if i == len(a) {
			break
		}
		if a[i] != ':' || i+1 == len(a) {
			return false
		}
		i++
	}
	return groups <= 8 && compressed == (groups < 8)
}

// validIPv4 reports whether a is an IPv4 address in four decimal numbers.
func validIPv4(a []byte) bool {
	numbers, n, digits := 1, 0, 0
	for _, c := range a {
		switch {
		case c == '.':
			if numbers++; digits == 0 {
				return false
			}
			n, digits = 0, 0
		case !digit(c) || digits > 0 && n == 0:
			return false
		default:
			if n, digits = n*10+int(c-'0'), digits+1; n > 255 {
				return false
			}
		}
	}
	return numbers == 4 && digits > 0
}
