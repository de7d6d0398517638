package h2

import (
	"unsafe"

	"golang.org/x/net/http2/hpack"

	"github.com/ruche-project/ruche/internal/h1"
)

// Head is a request's head while it is decoded, and its trailer. It is used for one request after the other.
type Head struct {
	// Request is where the head is written to. What its slices refer to stays as it is as long as somebody refers to it, but for joined cookies, which stand
	// in the Head.
	Request *h1.Request
	// Trailer is what came behind the content and may come there (h1.NotInTrailer).
	Trailer []h1.Field

	inTrailer bool
	seen      uint8 // pseudo-header fields
	regular   bool  // a field that is none has come
	scheme    []byte
	authority []byte
	host      []byte
	length    int64 // what Content-Length says, -1 without it
	cookie    int   // where the Cookie field is, -1 without one
	crumbs    []byte
	size      int // as SETTINGS_MAX_HEADER_LIST_SIZE counts it
	fields    int
	wrong     string // why the request is malformed
	rule      string
	refused   h1.Error
}

// Pseudo-header fields (RFC 9113 section 8.3.1).
const (
	seenMethod = 1 << iota
	seenScheme
	seenAuthority
	seenPath
)

// keptCrumbs is how much of the memory of joined cookies is kept for the next request.
const keptCrumbs = 4 << 10

// Decoder decodes the header blocks of a connection, all of them and in their order: they change its table. It is not safe for concurrent use.
type Decoder struct {
	table  *hpack.Decoder
	limits h1.Limits
	head   *Head
	bytes  int // of the block so far
	pieces int
}

const (
	// tableSize is how large the client's table may be, in bytes as RFC 7541 section 4.1 counts them: the default, since more settings than that pay little.
	tableSize = 4 << 10
	// maxPieces is in how many frames a header block may come. Those that are full of it are fewer.
	maxPieces = 32
)

// NewDecoder returns a decoder for heads within limits.
func NewDecoder(limits h1.Limits) *Decoder {
	d := &Decoder{limits: limits}
	d.table = hpack.NewDecoder(tableSize, d.emit)
	d.table.SetMaxStringLength(limits.HeadBytes)
	return d
}

// Begin begins the block of a request's head, or of its trailer.
func (d *Decoder) Begin(h *Head, trailer bool) {
	d.begin(h)
	h.inTrailer, h.size, h.fields = trailer, 0, 0
	if trailer {
		return
	}
	crumbs := h.crumbs[:0]
	if cap(crumbs) > keptCrumbs {
		crumbs = nil
	}
	q := h.Request
	*q = h1.Request{Head: h1.Head{Fields: q.Fields[:0], Minor: 1}}
	*h = Head{Request: q, Trailer: h.Trailer[:0], length: -1, cookie: -1, crumbs: crumbs}
}

// Skip begins a block that nobody wants.
func (d *Decoder) Skip() { d.begin(nil) }

// Drop goes on with a block that nobody wants any more.
func (d *Decoder) Drop() {
	d.head = nil
	d.table.SetEmitEnabled(false)
}

func (d *Decoder) begin(h *Head) {
	d.head, d.bytes, d.pieces = h, 0, 0
	d.table.SetEmitEnabled(h != nil)
}

// Write takes a piece of the block. An error ends the connection.
func (d *Decoder) Write(piece []byte) error {
	d.bytes += len(piece)
	if d.pieces++; d.bytes > 2*d.limits.HeadBytes || d.pieces > maxPieces {
		return broken(EnhanceYourCalm, "a header block that does not end", "RFC 9113 10.5.1")
	}
	switch _, err := d.table.Write(piece); {
	case err == hpack.ErrStringLength: //nolint:errorlint // it comes as it is
		return broken(EnhanceYourCalm, "a header field that is too long", "RFC 9113 10.5.1")
	case err != nil:
		return broken(CompressionError, "a header block that cannot be decoded: "+err.Error(), "RFC 9113 4.3")
	}
	return nil
}

// End ends the block. whole tells that the stream ends with it. An Error without a stream ends the connection; one with the given stream says why the request is malformed; an
// h1.Error is what it is answered with.
func (d *Decoder) End(stream uint32, whole bool) error {
	h := d.head
	d.head = nil
	if err := d.table.Close(); err != nil {
		return broken(CompressionError, "a header block that is cut off", "RFC 9113 4.3")
	}
	if h == nil {
		return nil
	}
	if h.wrong == "" && h.refused.Status == 0 && !h.inTrailer {
		h.finish(whole)
	}
	switch {
	case h.wrong != "":
		return brokenStream(stream, ProtocolError, h.wrong, h.rule)
	case h.refused.Status != 0 && h.inTrailer:
		return brokenStream(stream, EnhanceYourCalm, h.refused.Reason, h.refused.Rule)
	case h.refused.Status != 0:
		return h.refused
	}
	return nil
}

// emit takes a field.
func (d *Decoder) emit(f hpack.HeaderField) {
	h := d.head
	h.size += len(f.Name) + len(f.Value) + 32
	h.fields++
	switch {
	case h.size > d.limits.HeadBytes && h.refused.Status == 0:
		h.refused = h1.Error{Status: 431, Reason: "headers that are too long", Rule: "RFC 6585 5"}
	case h.fields > d.limits.Fields && h.refused.Status == 0:
		h.refused = h1.Error{Status: 431, Reason: "too many headers", Rule: "RFC 6585 5"}
	case len(f.Name) > 0 && f.Name[0] == ':':
		h.pseudo(f.Name, bytesOf(f.Value))
	default:
		h.field(bytesOf(f.Name), bytesOf(f.Value))
	}
	if h.wrong != "" || h.refused.Status != 0 {
		d.table.SetEmitEnabled(false)
	}
}

// bytesOf is s as bytes that nobody may change.
func bytesOf(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }

func (h *Head) malformed(reason, rule string) { h.wrong, h.rule = reason, rule }

// pseudo takes a pseudo-header field.
func (h *Head) pseudo(name string, value []byte) {
	bit := uint8(0)
	switch name {
	case ":method":
		bit, h.Request.Method = seenMethod, value
	case ":scheme":
		bit, h.scheme = seenScheme, value
	case ":authority":
		bit, h.authority = seenAuthority, value
	case ":path":
		bit, h.Request.Path = seenPath, value
	}
	switch {
	case h.inTrailer:
		h.malformed("a pseudo-header field in a trailer", "RFC 9113 8.1")
	case bit == 0:
		h.malformed("a pseudo-header field that requests do not have", "RFC 9113 8.3")
	case h.seen&bit != 0:
		h.malformed("a pseudo-header field twice", "RFC 9113 8.3")
	case h.regular:
		h.malformed("a pseudo-header field behind others", "RFC 9113 8.3")
	case !validValue(value):
		h.malformed("a byte in a pseudo-header field that no value has", "RFC 9113 8.2.1")
	}
	h.seen |= bit
}

// validName reports whether a field can have this name in HTTP/2 (RFC 9113 section 8.2.1).
func validName(name []byte) bool {
	for _, c := range name {
		if 'A' <= c && c <= 'Z' {
			return false
		}
	}
	return h1.ValidFieldName(name)
}

// validValue reports whether a field can have this value in HTTP/2 (RFC 9113 section 8.2.1).
func validValue(v []byte) bool {
	n := len(v)
	if n > 0 && (blank(v[0]) || blank(v[n-1])) {
		return false
	}
	return h1.ValidFieldValue(v)
}

func blank(c byte) bool { return c == ' ' || c == '\t' }

// field takes a field.
func (h *Head) field(name, value []byte) {
	h.regular = true
	if !validName(name) {
		h.malformed("a header whose name has a capital letter or a byte that no name has", "RFC 9113 8.2.1")
		return
	}
	if !validValue(value) {
		h.malformed("a header whose value has a byte that no value has, or begins or ends with a space", "RFC 9113 8.2.1")
		return
	}
	id := h1.Identify(name)
	switch id {
	case h1.Connection, h1.TransferEncoding, h1.Upgrade, h1.KeepAlive, h1.ProxyConnection:
		h.malformed("a header that concerns a connection", "RFC 9113 8.2.2")
		return
	}
	if h.inTrailer {
		if !h1.NotInTrailer(id) {
			h.Trailer = append(h.Trailer, h1.Field{ID: id, Name: name, Value: value})
		}
		return
	}
	h.act(id, name, value)
}

// act does what a field asks for.
func (h *Head) act(id h1.ID, name, value []byte) {
	q := h.Request
	switch id {
	case h1.TE:
		if string(value) != "trailers" {
			h.malformed("a TE other than trailers", "RFC 9113 8.2.2")
			return
		}
		q.TETrailers = true
	case h1.Host:
		if h.host != nil {
			h.malformed("several Host", "RFC 9112 3.2")
			return
		}
		h.host = value
	case h1.ContentLength:
		if h.length >= 0 {
			h.malformed("several Content-Length", "RFC 9110 8.6")
			return
		}
		if h.length = number(value); h.length < 0 {
			h.malformed("a Content-Length that is no length", "RFC 9110 8.6")
			return
		}
	case h1.Expect:
		if q.Expect100 = h1.SameFold(value, bytesOf("100-continue")); !q.Expect100 {
			h.refused = h1.Error{Status: 417, Reason: "an Expect other than 100-continue", Rule: "RFC 9110 10.1.1"}
		}
	case h1.Cookie:
		if h.cookie >= 0 {
			h.crumb(value)
			return
		}
		h.cookie = len(q.Fields)
	}
	q.Fields = append(q.Fields, h1.Field{ID: id, Name: name, Value: value})
}

// crumb joins a further Cookie field to the first (RFC 9113 section 8.2.3).
func (h *Head) crumb(value []byte) {
	f := &h.Request.Fields[h.cookie]
	if len(h.crumbs) == 0 {
		h.crumbs = append(h.crumbs, f.Value...)
	}
	h.crumbs = append(append(h.crumbs, "; "...), value...)
	f.Value = h.crumbs
	h.fields-- // it is one field for everybody else
}

// number reads a Content-Length, and returns -1 for what is none.
func number(value []byte) int64 {
	const digits = 18 // any number of them fits an int64
	if len(value) == 0 || len(value) > digits {
		return -1
	}
	n := int64(0)
	for _, c := range value {
		if c < '0' || c > '9' {
			return -1
		}
		n = n*10 + int64(c-'0')
	}
	return n
}

// finish decides what can be decided only when all fields are known.
func (h *Head) finish(whole bool) {
	q := h.Request
	if string(q.Method) == "CONNECT" { // RFC 9113 section 8.5
		if h.seen != seenMethod|seenAuthority {
			h.malformed("a CONNECT that is not about an authority alone", "RFC 9113 8.5")
			return
		}
	} else {
		if h.seen|seenAuthority != seenMethod|seenScheme|seenAuthority|seenPath {
			h.malformed("a pseudo-header field that is missing", "RFC 9113 8.3.1")
			return
		}
		if !validPath(q.Method, q.Path) {
			h.malformed("a path that does not begin with a slash", "RFC 9113 8.3.1")
			return
		}
	}
	q.Target = q.Path
	if q.Host = h.authority; h.seen&seenAuthority == 0 {
		q.Host = h.host
	} else if h.host != nil && !h1.SameFold(h.host, h.authority) {
		h.malformed("a Host that is not the authority", "RFC 9113 8.3.1")
		return
	}
	if len(q.Host) == 0 {
		h.malformed("no authority", "RFC 9113 8.3.1")
		return
	}
	switch {
	case whole && h.length > 0:
		h.malformed("a Content-Length without content", "RFC 9113 8.1.1")
	case whole:
	case h.length >= 0:
		q.Framing, q.ContentLength = h1.Length, h.length
	default:
		q.Framing = h1.Chunked
	}
	q.Expect100 = q.Expect100 && !whole && h.length != 0
}

func validPath(method, path []byte) bool {
	if len(path) == 1 && path[0] == '*' {
		return string(method) == "OPTIONS"
	}
	return len(path) > 0 && path[0] == '/'
}
