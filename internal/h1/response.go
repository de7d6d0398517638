package h1

// Response is a response's head. It is used for one message after the other: Parse forgets the one before. It is not safe for use by several
// goroutines. The zero value is ready.
type Response struct {
	Head
	// Status is between 100 and 999.
	Status int
	// Reason is the phrase behind it, which may be empty.
	Reason []byte
}

// Parse reads a response's head at the start of b, as Request.Parse does. method is the request's: a response to HEAD has no body,
// whatever its fields say, and a successful one to CONNECT begins a tunnel. The status of every error is 502.
//
// Informational responses (100 to 199) are responses of their own; another one follows them, except for 101.
func (r *Response) Parse(b []byte, method []byte, lim Limits) (n int, err error) {
	if len(b) == 0 {
		return 0, nil
	}
	if r.first != &b[0] {
		r.begin(&b[0])
		r.bareLF = true
		r.Status, r.Reason = 0, nil
	}
	if n, err = r.parse(b, method, lim.orDefaults()); n > 0 || err != nil {
		r.first = nil
	}
	if err != nil {
		return 0, badGateway(err)
	}
	return n, nil
}

func (r *Response) parse(b []byte, method []byte, lim Limits) (int, error) {
	view := b[:min(len(b), lim.HeadBytes)]
	if r.lines == 0 {
		line, whole, err := r.line(view)
		switch {
		case err != nil:
			return 0, err
		case !whole && len(b) < lim.HeadBytes:
			return 0, nil
		case !whole:
			return 0, errTooLong()
		}
		if err := r.statusLine(line); err != nil {
			return 0, err
		}
		r.lines = 1
	}
	for {
		f, end, err := r.next(view, lim.Fields, true)
		switch {
		case f != nil:
			if f.ID-1 < Expect {
				err = r.act(f)
			}
		case end:
			return r.pos, r.finish(method)
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

// statusLine reads the first line (RFC 9112 section 4). Servers that leave out the reason often leave out the space before it too.
func (r *Response) statusLine(line []byte) error {
	const start = len("HTTP/1.1 ")
	if len(line) < start+3 || line[start-1] != ' ' {
		return bad("no status line", "RFC 9112 4")
	}
	switch string(line[:start-1]) {
	case "HTTP/1.1":
	case "HTTP/1.0":
		r.Minor = 0
	default:
		return bad("a version other than HTTP/1.0 and HTTP/1.1", "RFC 9112 2.3")
	}
	for _, c := range line[start : start+3] {
		if !digit(c) {
			return bad("a status that is not a number of three digits", "RFC 9112 4")
		}
		r.Status = r.Status*10 + int(c-'0')
	}
	if r.Status < 100 {
		return bad("a status below 100", "RFC 9110 15")
	}
	if rest := line[start+3:]; len(rest) > 0 {
		if rest[0] != ' ' {
			return bad("a status that is not a number of three digits", "RFC 9112 4")
		}
		r.Reason = rest[1:]
	}
	return nil
}

// act does what a field asks for.
func (r *Response) act(f *Field) error {
	switch f.ID {
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
	}
	return nil
}

// finish decides how the body ends (RFC 9112 section 6.3).
func (r *Response) finish(method []byte) error {
	if err := r.framing(); err != nil {
		return err
	}
	r.persistence()
	declared := r.Framing == Chunked || r.ContentLength > 0
	switch {
	case r.Status < 200 && r.Status != 101 && declared:
		return bad("an informational response with a body", "RFC 9110 15.2")
	case r.Status < 200, string(method) == "CONNECT" && r.Status < 300:
		r.Framing, r.ContentLength = NoBody, 0
	case r.Status == 204:
		// It has no body; a server that declares one may send it all the same, and what would be taken for the next response.
		r.Framing, r.ContentLength, r.Close = NoBody, 0, r.Close || declared
	case r.Status == 304, string(method) == "HEAD":
		r.Framing, r.ContentLength = NoBody, 0
	case r.Framing == NoBody:
		r.Framing, r.Close = UntilClose, true
	}
	return nil
}
