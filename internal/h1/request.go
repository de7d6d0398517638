package h1

import "errors"

// Request is a request's head. It is used for one message after the other: Parse forgets the one before. It is not safe for use by several
// goroutines. The zero value is ready.
type Request struct {
	Head
	// Method and Target are as on the wire. Target is in origin, absolute, authority (CONNECT) or asterisk form.
	Method, Target []byte
	// Host is the authority that counts: of an absolute target or of CONNECT's, else the Host field's value. It is a valid host name or
	// address with or without a port; nil when an HTTP/1.0 client names none.
	Host []byte
	// Path is what an endpoint is asked for: path and query, "*" for OPTIONS of the whole server, nothing for CONNECT. Of an absolute target it is what
	// follows the authority, or "/".
	Path []byte
	// Expect100 is set when the client waits for 100 (Continue) before it sends its body.
	Expect100 bool
	// TETrailers is set when the client takes trailers.
	TETrailers bool

	empty   int    // empty lines before the request line
	scratch []byte // for a Path that is not on the wire
}

// emptyLines is how many empty lines before a request line are skipped (RFC 9112 section 2.2 asks for one at least).
const emptyLines = 4

// Parse reads a request's head at the start of b. n is its length in bytes, with the empty line at its end; n == 0 without an error means
// that more bytes are needed. Then Parse is called again with b and what came behind it; it goes on where it stopped, or starts over if
// b has moved in memory. An error is an Error and says how to answer.
func (r *Request) Parse(b []byte, lim Limits) (n int, err error) {
	if len(b) == 0 {
		return 0, nil
	}
	if r.first != &b[0] {
		r.begin(&b[0])
		r.Method, r.Target, r.Host, r.Path, r.Expect100, r.TETrailers, r.empty = nil, nil, nil, nil, false, false, 0
		if cap(r.scratch) > keptBytes {
			r.scratch = nil
		}
	}
	if n, err = r.parse(b, lim.orDefaults()); n > 0 || err != nil {
		r.first = nil
	}
	if err != nil {
		return 0, err
	}
	return n, nil
}

func (r *Request) parse(b []byte, lim Limits) (int, error) {
	view := b[:min(len(b), lim.HeadBytes)]
	for r.lines == 0 {
		line, whole, err := r.line(view)
		switch {
		case err != nil:
			return 0, err
		case !whole && len(b) < lim.HeadBytes:
			return 0, nil
		case !whole:
			return 0, Error{414, "a request line that is too long", "RFC 9110 15.5.15"}
		case len(line) > 0:
			if err := r.requestLine(line); err != nil {
				return 0, err
			}
			r.lines = 1
		case r.empty == emptyLines:
			return 0, bad("empty lines before the request", "RFC 9112 2.2")
		default:
			r.empty++
		}
	}
	for {
		f, end, err := r.next(view, lim.Fields, false)
		switch {
		case f != nil:
			if f.ID-1 < Expect {
				err = r.act(f)
			}
		case end:
			return r.pos, r.finish()
		case err == nil && len(b) < lim.HeadBytes:
			return 0, nil
		case err == nil:
			err = errTooLong()
		}
		if err != nil {
			return 0, err
		}
	}
}

// requestLine reads the first line (RFC 9112 section 3).
func (r *Request) requestLine(line []byte) error {
	i := 0
	for i < len(line) && class[line[i]]&isToken != 0 {
		i++
	}
	if i == 0 || i == len(line) || line[i] != ' ' {
		return bad("a method that is no token", "RFC 9112 3.1")
	}
	const version = " HTTP/1.1"
	rest := line[i+1:]
	end := len(rest) - len(version)
	if end < 0 || string(rest[end:]) != version {
		if end < 0 || string(rest[end:]) != " HTTP/1.0" {
			return badVersion(line)
		}
		r.Minor = 0
	}
	r.Method, r.Target = line[:i], rest[:end]
	return r.target()
}

// badVersion says what is wrong with a request line that does not end with a version we speak (RFC 9112 section 2.3).
func badVersion(line []byte) error {
	if string(line) == "PRI * HTTP/2.0" {
		return Error{505, "HTTP/2 where HTTP/1.1 is spoken", "RFC 9113 3.4"}
	}
	const version = " HTTP/d.d"
	if i := len(line) - len(version); i >= 0 {
		v := line[i:]
		if string(v[:6]) == " HTTP/" && digit(v[6]) && v[7] == '.' && digit(v[8]) {
			return Error{505, "a version other than HTTP/1.0 and HTTP/1.1", "RFC 9110 15.6.6"}
		}
	}
	return bad("a request line that does not end with a version", "RFC 9112 2.3")
}

func digit(c byte) bool { return '0' <= c && c <= '9' }

// act does what a field asks for.
func (r *Request) act(f *Field) error {
	switch f.ID {
	case Host:
		r.hosts++
		r.host = f.Value
	case Connection:
		return r.connection(f.Value)
	case ContentLength:
		return r.contentLength(f.Value)
	case TransferEncoding:
		return r.transferEncoding(f.Value)
	case Upgrade:
		if r.protocols == nil {
			r.protocols = f.Value
		}
	case Expect:
		if r.Minor == 0 { // which has no 100 (RFC 9110 section 10.1.1)
			return nil
		}
		if r.Expect100 = fold(f.Value, "100-continue"); !r.Expect100 {
			return Error{417, "an Expect other than 100-continue", "RFC 9110 10.1.1"}
		}
	case TE:
		for list := f.Value; len(list) > 0 && r.Minor == 1; {
			var coding []byte
			coding, list = item(list)
			r.TETrailers = r.TETrailers || fold(coding, "trailers")
		}
	}
	return nil
}

// finish decides what can be decided only when all fields are known.
func (r *Request) finish() error {
	if err := r.decideHost(); err != nil {
		return err
	}
	if err := r.framing(); err != nil {
		return err
	}
	body := r.Framing == Chunked || r.ContentLength > 0
	if body && string(r.Method) == "CONNECT" {
		return bad("a CONNECT with a body", "RFC 9110 9.3.6")
	}
	r.Expect100 = r.Expect100 && body
	r.persistence()
	return nil
}

// badGateway makes a refusal that of a response.
func badGateway(err error) error {
	var e Error
	if errors.As(err, &e) {
		e.Status = 502
		return e
	}
	return err
}
