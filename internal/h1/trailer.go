package h1

import "bytes"

// The bounds of a trailer.
const (
	trailerBytes  = 8 << 10
	trailerFields = 32
)

// trailer keeps a copy of a trailer: its fields are looked at after the buffer has moved on.
type trailer struct {
	lines []byte // whole lines, as on the wire
	head  Head   // only its fields are used
}

func (t *trailer) reset() {
	t.lines = t.lines[:0]
	t.head.begin(nil)
}

// trailing takes a piece of the trailer, which ends with an empty line (RFC 9112 section 7.1.2).
func (d *Body) trailing(b []byte) (used int, err error) {
	switch {
	case d.state == inTrailerEnd:
		if b[0] != '\n' {
			return 0, bad("a CR without LF", "RFC 9112 2.2")
		}
		if d.trailer != nil {
			if err := d.trailer.parse(); err != nil {
				return 0, err
			}
		}
		d.state = inDone
		return 1, nil
	case d.state == inTrailer && b[0] == '\r':
		d.state = inTrailerEnd
		return 1, nil
	}
	if d.trailer == nil {
		d.trailer = new(trailer)
		d.trailer.reset()
	}
	next := inTrailerLine
	if used = bytes.IndexByte(b, '\n') + 1; used == 0 {
		used = len(b)
	} else {
		next = inTrailer
	}
	if len(d.trailer.lines)+used > trailerBytes {
		return 0, bad("a trailer that is too long", "RFC 9112 7.1.2")
	}
	d.trailer.lines = append(d.trailer.lines, b[:used]...)
	d.state = next
	return used, nil
}

// parse reads the lines and keeps the fields that may be there.
func (t *trailer) parse() error {
	h := &t.head
	h.begin(nil) // the error of a trailer may be found twice
	for h.lines = 1; h.pos < len(t.lines); {
		f, _, err := h.next(t.lines, trailerFields, false)
		switch {
		case err != nil:
			return err
		case f == nil: // cannot be: all lines are whole, and none is empty
			return bad("a trailer that is cut off", "RFC 9112 7.1.2")
		case NotInTrailer(f.ID):
			h.Fields = h.Fields[:len(h.Fields)-1]
		}
	}
	return nil
}
