package h1

// Head is what requests and responses have in common. What holds of Field holds of every slice here.
type Head struct {
	// Minor is the version's second digit: 0 or 1.
	Minor int
	// Fields are all fields in their order.
	Fields []Field
	// Framing is how the body ends; ContentLength is its length with Length, else 0.
	Framing       Framing
	ContentLength int64
	// Close is set when the connection ends after this exchange.
	Close bool
	// Upgrade is the list of protocols asked for or switched to. It is nil unless Connection names upgrade and Minor is 1.
	Upgrade []byte

	first   *byte // where the buffer of the message that is being parsed begins, nil between messages
	pos     int   // where the line begins that is being looked for
	scanned int   // how far it was looked for
	lines   int   // how many lines were parsed, without empty ones before the first

	// bareLF is set where LF alone ends a line too (RFC 9112 section 2.2 leaves that to the reader). Old programs answer so, and what they say is
	// written anew before anybody else reads it. For a request it would be dangerous: whoever is in front may not see the line's end.
	bareLF bool

	hosts     int    // how many Host fields there are
	host      []byte // the value of the last
	length    int64  // what Content-Length says, -1 without it
	encodings int    // how many Transfer-Encoding fields there are
	protocols []byte // the value of Upgrade
	options   option // what Connection says
	listed    int    // how many bytes Connection has
}

// option is a set of what Connection can say.
type option uint8

const (
	optionClose     option = 1 << iota
	optionKeepAlive        // keep-alive
	optionUpgrade          // upgrade
	optionName             // anything but close and keep-alive: a field's name
)

// begin forgets the message before.
func (h *Head) begin(first *byte) {
	h.Minor, h.Fields, h.Framing, h.ContentLength, h.Close, h.Upgrade = 1, h.Fields[:0], NoBody, 0, false, nil
	h.first, h.pos, h.scanned, h.lines = first, 0, 0, 0
	h.hosts, h.host, h.length, h.encodings, h.protocols, h.options, h.listed = 0, nil, -1, 0, nil, 0, 0
}

// Reset makes the next Parse begin anew. That is needed when a message is given up halfway, as when its connection ends: the bytes of
// another one may come to stand in the same place.
func (h *Head) Reset() { h.first = nil }

// line returns the next line of b without what ends it, and false when b does not hold all of it.
func (h *Head) line(b []byte) (line []byte, whole bool, err error) {
	i := text(b, h.scanned)
	if i+1 >= len(b) && (i == len(b) || b[i] == '\r') {
		h.scanned = i
		return nil, false, nil
	}
	if b[i] == '\n' && h.bareLF {
		line = b[h.pos:i]
		h.pos, h.scanned = i+1, i+1
		return line, true, nil
	}
	if b[i] != '\r' || b[i+1] != '\n' {
		return nil, false, h.badByte(b[i])
	}
	line = b[h.pos:i]
	h.pos, h.scanned = i+2, i+2
	return line, true, nil
}

// badByte is the refusal of a byte that is part of no line.
func (h *Head) badByte(c byte) error {
	switch {
	case c == '\r':
		return bad("a CR without LF", "RFC 9112 2.2")
	case c == '\n':
		return bad("a line that ends with LF alone instead of CRLF", "RFC 9112 2.2")
	case c == 0x16 && h.lines == 0:
		return bad("TLS where plain HTTP is spoken", "RFC 9112 3")
	case h.lines == 0:
		return bad("a control byte in the first line", "RFC 9112 3")
	}
	return bad("a control byte in a header", "RFC 9110 5.5")
}

// next parses the next field line and returns what was added to Fields, or end at the empty line, or nothing when b does not hold
// the whole line. most is how many fields there may be.
func (h *Head) next(b []byte, most int, response bool) (f *Field, end bool, err error) {
	if f = h.plain(b, most); f != nil {
		return f, false, nil
	}
	line, whole, err := h.line(b)
	if err != nil || !whole {
		return nil, false, err
	}
	if len(line) == 0 {
		return nil, true, nil
	}
	f, err = h.field(line, most, response)
	return f, false, err
}

// plain adds the field whose line begins at pos when the line is whole and without anything unusual, which it is nearly always, and
// returns it. Else it returns nil and has done nothing: line and field, which look closer, decide.
func (h *Head) plain(b []byte, most int) *Field {
	start := h.pos
	colon := plainName(b, start)
	if colon <= start || h.scanned != start || len(h.Fields) >= most {
		return nil
	}
	from := colon + 1
	for from < len(b) && blank(b[from]) {
		from++
	}
	end := text(b, from)
	if end+1 >= len(b) || b[end] != '\r' || b[end+1] != '\n' {
		return nil
	}
	h.pos, h.scanned = end+2, end+2
	for end > from && blank(b[end-1]) {
		end--
	}
	f := h.add()
	f.Name, f.Value = b[start:colon], b[from:end]
	f.ID = identify(f.Name)
	return f
}

// add makes room for a field. It is filled in place: a copy of a whole Field costs as much as the rest of a short line.
func (h *Head) add() *Field {
	n := len(h.Fields)
	if n == cap(h.Fields) {
		h.Fields = append(make([]Field, 0, max(2*n, 16)), h.Fields...)
	}
	h.Fields = h.Fields[:n+1]
	return &h.Fields[n]
}

// field parses a field line, whatever it is like.
func (h *Head) field(line []byte, most int, response bool) (*Field, error) {
	i, seen := 0, byte(0)
	for i < len(line) && class[line[i]]&isToken != 0 {
		seen |= class[line[i]]
		i++
	}
	colon := i
	if i == 0 || i == len(line) || line[i] != ':' {
		var err error
		if colon, err = h.oddName(line, i, response); err != nil {
			return nil, err
		}
	}
	if len(h.Fields) >= most {
		return nil, Error{431, "too many headers", "RFC 6585 5"}
	}
	f := h.add()
	f.ID, f.Name, f.Value = Other, line[:i], trim(line[colon+1:])
	if seen&isUnderscore == 0 {
		f.ID = identify(f.Name)
		return f, nil
	}
	switch plain := identifyPlain(f.Name); {
	case plain == ContentLength || plain == TransferEncoding:
		return nil, bad("a Content-Length or Transfer-Encoding written with an underscore", "RFC 9112 11.2")
	case plain != Other && plain < Disguised:
		f.ID = Disguised
	}
	return f, nil
}

func errTooLong() error { return Error{431, "headers that are too long", "RFC 6585 5"} }

// oddName says what is wrong with a field line whose name ends at i without a colon. Whitespace before the colon is removed from
// responses, as a proxy has to (RFC 9112 section 5.1); it returns where the colon is.
func (h *Head) oddName(line []byte, i int, response bool) (int, error) {
	space := i < len(line) && blank(line[i])
	switch {
	case i == 0 && space && len(h.Fields) == 0:
		return 0, bad("whitespace before the first header", "RFC 9112 2.2")
	case i == 0 && space:
		return 0, bad("a header folded over several lines", "RFC 9112 5.2")
	case i == 0 && line[0] == ':':
		return 0, bad("a header without a name", "RFC 9112 5")
	case i == len(line):
		return 0, bad("a header without a colon", "RFC 9112 5")
	case !space:
		return 0, bad("a byte in a header's name that no name has", "RFC 9110 5.1")
	}
	for i < len(line) && blank(line[i]) {
		i++
	}
	switch {
	case i == len(line) || line[i] != ':':
		return 0, bad("whitespace in a header's name", "RFC 9112 5.1")
	case !response:
		return 0, bad("whitespace between a header's name and the colon", "RFC 9112 5.1")
	}
	return i, nil
}

// connectionBytes is how long Connection may be. Every field's name is looked for in it.
const connectionBytes = 1 << 10

// connection reads a Connection field (RFC 9110 section 7.6.1).
func (h *Head) connection(list []byte) error {
	if h.listed += len(list); h.listed > connectionBytes {
		return Error{431, "a Connection that is too long", "RFC 6585 5"}
	}
	for len(list) > 0 {
		var name []byte
		switch name, list = item(list); {
		case fold(name, "close"):
			h.options |= optionClose
		case fold(name, "keep-alive"):
			h.options |= optionKeepAlive
		case fold(name, "upgrade"):
			h.options |= optionUpgrade | optionName
		case len(name) > 0:
			h.options |= optionName
		}
	}
	return nil
}

// ConnectionNames reports whether Connection names the field, which then concerns this connection only. The options close and
// keep-alive are no field names.
func (h *Head) ConnectionNames(name []byte) bool {
	return h.options&optionName != 0 && h.connectionNames(name)
}

func (h *Head) connectionNames(name []byte) bool {
	for i := range h.Fields {
		if h.Fields[i].ID != Connection {
			continue
		}
		for list := h.Fields[i].Value; len(list) > 0; {
			var option []byte
			if option, list = item(list); len(option) > 0 && SameFold(option, name) {
				return true
			}
		}
	}
	return false
}
