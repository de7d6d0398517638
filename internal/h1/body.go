package h1

import "io"

// Body takes the framing off a message's body. It is used for one body after the other, and not safe for use by several goroutines.
type Body struct {
	framing Framing
	state   state
	digits  uint8 // of the chunk size that is being read
	// rest is how many bytes of content are still to come, of the body (Length) or of the chunk.
	rest int64
	// extra is by how much chunk extensions exceed the content so far.
	extra   int
	trailer *trailer // nil until a body has one
}

// state is what a chunked body goes on with (RFC 9112 section 7.1).
type state uint8

const (
	inSize        state = iota // the chunk size, and what may follow it
	inBlank                    // whitespace before an extension
	inExtension                // an extension
	inSizeEnd                  // the LF behind the chunk size
	inData                     // content
	inDataEnd                  // the CR behind content
	inDataEndLF                // the LF behind that
	inTrailer                  // a trailer field or the last line's CR
	inTrailerLine              // the rest of a trailer field
	inTrailerEnd               // the last line's LF
	inDone                     // nothing: the body is complete
)

const (
	// sizeDigits is how long a chunk size may be: 60 bits.
	sizeDigits = 15
	// extensionBytes is by how much the extensions of chunks may exceed the content (RFC 9112 section 7.1.1 asks for a bound).
	extensionBytes = 2 << 10
)

// Reset begins a body. length counts with the framing Length only.
func (d *Body) Reset(f Framing, length int64) {
	*d = Body{framing: f, trailer: d.trailer}
	switch {
	case f == Length && length > 0:
		d.rest = length
	case f == NoBody, f == Length:
		d.state = inDone
	}
	switch {
	case d.trailer == nil:
	case cap(d.trailer.lines) > keptBytes:
		d.trailer = nil
	default:
		d.trailer.reset()
	}
}

// Next takes bytes off b: data is content, a slice of b; n is how many bytes of b are used up, data and framing; done says that the body
// is complete, its trailer included. It is called again with what is left of b, or with more, until it says done; n is 0 only when b is
// empty or the body is done. An error is an Error, with the
// status that a request is refused with; for a response that is 502.
func (d *Body) Next(b []byte) (data []byte, n int, done bool, err error) {
	switch {
	case d.state == inDone:
		return nil, 0, true, nil
	case d.framing == Chunked:
		return d.chunked(b)
	case d.framing == UntilClose:
		return b, len(b), false, nil
	}
	data = b[:min(int64(len(b)), d.rest)]
	return data, len(data), d.Skip(int64(len(data))), nil
}

// Left is how much content is still to come where its length is known (Length), else 0.
func (d *Body) Left() int64 {
	if d.framing != Length {
		return 0
	}
	return d.rest
}

// Skip is Next for n bytes of content that went another way, at most Left; done says that the body is complete.
func (d *Body) Skip(n int64) (done bool) {
	if d.rest -= n; d.rest == 0 {
		d.state = inDone
	}
	return d.state == inDone
}

// chunked is Next for chunks. It stops before the second piece of content.
func (d *Body) chunked(b []byte) (data []byte, n int, done bool, err error) {
	for n < len(b) && d.state != inDone {
		if d.state == inData {
			if data != nil {
				break
			}
			data = b[n : n+int(min(int64(len(b)-n), d.rest))]
			n += len(data)
			if d.rest -= int64(len(data)); d.rest == 0 {
				d.state = inDataEnd
			}
			continue
		}
		if used := d.plain(b[n:]); used > 0 {
			n += used
			continue
		}
		used, err := d.frame(b[n:])
		if err != nil {
			if data != nil { // which comes first; the error is found again
				break
			}
			return nil, n, false, err
		}
		n += used
	}
	return data, n, d.state == inDone, nil
}

// plain takes all that is between two contents when it is there as a whole and has no extension, and returns how long it is. Else it returns
// 0 and has done nothing: frame decides.
func (d *Body) plain(b []byte) int {
	i := 0
	switch {
	case d.state == inDataEnd && len(b) > 2 && b[0] == '\r' && b[1] == '\n':
		i = 2
	case d.state != inSize || d.digits > 0:
		return 0
	}
	first, size := i, int64(0)
	for i < len(b) && class[b[i]]&isHex != 0 {
		size = size<<4 | int64(hexValue(b[i]))
		i++
	}
	if i-first > sizeDigits || size == 0 || i+1 >= len(b) || b[i] != '\r' || b[i+1] != '\n' {
		return 0
	}
	d.begin(size)
	return i + 2
}

// begin begins a chunk.
func (d *Body) begin(size int64) {
	d.state, d.rest = inData, size
	d.extra = int(max(int64(d.extra)-size, 0))
}

// frame takes a step through what is between contents. b is not empty. When it fails it has changed nothing.
func (d *Body) frame(b []byte) (used int, err error) {
	c := b[0]
	switch d.state {
	case inSize:
		return 1, d.size(c)
	case inBlank, inExtension:
		return d.extension(b)
	case inSizeEnd:
		return 1, d.sizeEnd(c)
	case inDataEnd:
		if c != '\r' {
			return 0, bad("content beyond the chunk's size", "RFC 9112 7.1")
		}
		d.state = inDataEndLF
	case inDataEndLF:
		if c != '\n' {
			return 0, bad("content beyond the chunk's size", "RFC 9112 7.1")
		}
		d.state, d.digits = inSize, 0
	case inTrailer, inTrailerLine, inTrailerEnd:
		return d.trailing(b)
	}
	return 1, nil
}

// size reads a byte of a chunk size, or what ends it.
func (d *Body) size(c byte) error {
	switch {
	case class[c]&isHex != 0:
		if d.digits == sizeDigits {
			return bad("a chunk size of too many digits", "RFC 9112 7.1")
		}
		d.digits++
		d.rest = d.rest<<4 | int64(hexValue(c))
	case d.digits == 0:
		return bad("a chunk without a size", "RFC 9112 7.1")
	case c == '\r':
		d.state = inSizeEnd
	case c == ';':
		d.state = inExtension
	case c == ' ' || c == '\t':
		d.state = inBlank
	case c == '\n':
		return bad("a chunk size that ends with LF alone instead of CRLF", "RFC 9112 7.1")
	default:
		return bad("a chunk size that is not hexadecimal", "RFC 9112 7.1")
	}
	return nil
}

func hexValue(c byte) byte {
	if c <= '9' {
		return c - '0'
	}
	return c&^0x20 - 'A' + 10
}

// sizeEnd reads the LF behind a chunk size.
func (d *Body) sizeEnd(c byte) error {
	if c != '\n' {
		return bad("a CR without LF behind a chunk size", "RFC 9112 7.1")
	}
	if d.rest == 0 {
		d.state = inTrailer
		return nil
	}
	d.begin(d.rest)
	return nil
}

// extension reads a piece of a chunk extension, which nobody knows and which is left out.
func (d *Body) extension(b []byte) (used int, err error) {
	next := d.state
	if d.state == inBlank {
		switch b[0] {
		case ' ', '\t':
		case ';':
			next = inExtension
		default:
			return 0, bad("whitespace behind a chunk size", "RFC 9112 7.1.1")
		}
		used = 1
	} else if used = text(b, 0); used == 0 {
		if b[0] != '\r' {
			return 0, bad("a control byte in a chunk extension", "RFC 9112 7.1.1")
		}
		next, used = inSizeEnd, 1
	}
	if d.extra+used > extensionBytes {
		return 0, bad("chunk extensions that are too long", "RFC 9112 7.1.1")
	}
	d.state, d.extra = next, d.extra+used
	return used, nil
}

// EOF tells the body that the connection ended. It returns nil when that ends the body properly.
func (d *Body) EOF() error {
	if d.state == inDone || d.framing == UntilClose {
		return nil
	}
	return io.ErrUnexpectedEOF
}

// Trailer returns the trailer's fields when the body is complete, without those that must not be there (NotInTrailer). They hold until Reset.
func (d *Body) Trailer() []Field {
	if d.state != inDone || d.trailer == nil {
		return nil
	}
	return d.trailer.head.Fields
}
