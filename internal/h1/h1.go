// Package h1 reads and writes HTTP/1.1 messages (RFC 9110, RFC 9112) in the caller's buffers: no I/O, no goroutine, and no
// allocation per message. It refuses what two readers could understand differently.
package h1

// Field is a header field. Name and Value are slices of the parsed buffer: they hold as long as the buffer's bytes do.
type Field struct {
	// ID tells the names that the proxy treats specially.
	ID ID
	// Name is as on the wire; Value is without the whitespace around it and may be empty.
	Name, Value []byte
}

// Limits bound a head. A value of 0 stands for its default.
type Limits struct {
	// HeadBytes is how long a head may be, with its first line and the empty line at its end; 64 KiB by default.
	HeadBytes int
	// Fields is how many fields a head may have; 128 by default.
	Fields int
}

const (
	defaultHeadBytes = 64 << 10
	defaultFields    = 128
)

// keptBytes is how large a copy of something unusual may be that is kept for the next message to use its memory.
const keptBytes = 1 << 10

func (l Limits) orDefaults() Limits {
	if l.HeadBytes <= 0 {
		l.HeadBytes = defaultHeadBytes
	}
	if l.Fields <= 0 {
		l.Fields = defaultFields
	}
	return l
}

// Framing says how the end of a message's body is found (RFC 9112 section 6.3).
type Framing uint8

// The framings.
const (
	// NoBody: nothing follows the head.
	NoBody Framing = iota
	// Length: as many bytes follow as Content-Length says, maybe none.
	Length
	// Chunked: chunks follow, and maybe a trailer.
	Chunked
	// UntilClose: all that comes until the connection ends. Only responses have it.
	UntilClose
)

// Error is why a message is refused. The connection that it came on cannot be used any further: where the next message begins is
// not known. It is a comparable value: var e h1.Error; errors.As(err, &e).
type Error struct {
	// Status is what a server answers the client with: 400, 414, 417, 431, 501 or 505. It is 502 for a response.
	Status int
	// Reason is short and for people.
	Reason string
	// Rule is the section that the message breaks, like "RFC 9112 6.3".
	Rule string
}

func (e Error) Error() string { return e.Reason + " (" + e.Rule + ")" }

// bad is a request that is answered with 400.
func bad(reason, rule string) error { return Error{Status: 400, Reason: reason, Rule: rule} }
