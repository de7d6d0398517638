package h2

import "encoding/binary"

// Frame is one that a client has sent, or a piece of one of type Data.
type Frame struct {
	Type   Type
	Flags  Flags
	Stream uint32
	// Payload is a slice of what was read, without padding and without the priority that a head may begin with.
	Payload []byte
	// Used is by how much a piece of Data uses up the windows, in bytes: its padding counts.
	Used int
	// Last is set with the last piece of a frame: with Data, EndStream counts only then.
	Last bool
}

// Increment is by how much a frame of type WindowUpdate opens a window, in bytes.
func (f *Frame) Increment() int64 { return int64(binary.BigEndian.Uint32(f.Payload) &^ (1 << 31)) }

// Reader takes frames off what a client sends and checks what can be checked without knowing the streams. The zero value is at a connection's beginning.
type Reader struct {
	greeted bool // the preface has come
	set     bool // the first SETTINGS has come
	block   uint32
	data    Frame // a DATA frame that has not come as a whole
	left    int   // how much of its content is still to come
	padding int   // and of its padding
}

// Partial reports whether a frame or a header block has begun and has not come to its end; waiting is how many bytes were read and not taken off. Content, which
// may take its time, does not count.
func (r *Reader) Partial(waiting int) bool { return !r.set || waiting > 0 || r.block != 0 }

// Next takes the next frame off b, or what there is of it when it is Data. n is how many bytes it takes; 0 means that more are needed, at most
// FrameHeaderLen and MaxFrame together. An error is an Error: when it ends a stream only, n is set all the same.
func (r *Reader) Next(b []byte) (f Frame, n int, err error) {
	if !r.greeted {
		k := min(len(b), len(Preface))
		if string(b[:k]) != Preface[:k] {
			return f, 0, broken(ProtocolError, "a connection that does not begin with the preface", "RFC 9113 3.4")
		}
		if k < len(Preface) {
			return f, 0, nil
		}
		r.greeted, n = true, k
	}
	if r.left+r.padding > 0 {
		f, k := r.piece(b[n:])
		return f, n + k, nil
	}
	f, k, err := r.frame(b[n:])
	if k == 0 && err == nil && n > 0 { // the preface alone; it is looked at again with what follows
		r.greeted = false
		return f, 0, nil
	}
	return f, n + k, err
}

// frame takes a frame off b.
func (r *Reader) frame(b []byte) (f Frame, n int, err error) {
	if len(b) < FrameHeaderLen {
		return f, 0, nil
	}
	length := int(b[0])<<16 | int(b[1])<<8 | int(b[2])
	f = Frame{Type: Type(b[3]), Flags: Flags(b[4]), Stream: binary.BigEndian.Uint32(b[5:]) &^ (1 << 31), Last: true}
	if err := r.check(f, length); err != nil {
		return f, 0, err
	}
	body := b[FrameHeaderLen:]
	if f.Type == Data {
		return r.begin(f, body, length)
	}
	if len(body) < length {
		return f, 0, nil
	}
	f.Payload, n = body[:length], FrameHeaderLen+length
	r.set = true
	switch f.Type {
	case Headers:
		if err := f.strip(); err != nil {
			return f, 0, err
		}
		if r.block = f.Stream; f.Flags&EndHeaders != 0 {
			r.block = 0
		}
	case Continuation:
		if f.Flags&EndHeaders != 0 {
			r.block = 0
		}
	case Priority:
		if length != 5 {
			return f, n, brokenStream(f.Stream, FrameSizeError, "a PRIORITY frame that is not 5 bytes long", "RFC 9113 6.3")
		}
		if binary.BigEndian.Uint32(f.Payload)&^(1<<31) == f.Stream {
			return f, n, brokenStream(f.Stream, ProtocolError, "a stream that depends on itself", "RFC 7540 5.3.1")
		}
	case WindowUpdate:
		if f.Increment() == 0 {
			return f, n, brokenStream(f.Stream, ProtocolError, "a WINDOW_UPDATE by 0", "RFC 9113 6.9")
		}
	}
	return f, n, nil
}

// check says what is wrong with a frame as far as its header shows it.
func (r *Reader) check(f Frame, length int) error {
	switch {
	case !r.set && (f.Type != Settings || f.Flags&Ack != 0):
		return broken(ProtocolError, "a connection whose first frame is not SETTINGS", "RFC 9113 3.4")
	case length > MaxFrame:
		return broken(FrameSizeError, "a frame that is longer than it may be", "RFC 9113 4.2")
	case r.block != 0 && (f.Type != Continuation || f.Stream != r.block):
		return broken(ProtocolError, "a frame within a header block", "RFC 9113 6.2")
	case r.block == 0 && f.Type == Continuation:
		return broken(ProtocolError, "a CONTINUATION of nothing", "RFC 9113 6.10")
	case f.Type == PushPromise:
		return broken(ProtocolError, "a PUSH_PROMISE of a client", "RFC 9113 8.4")
	}
	switch f.Type {
	case Data, Headers, Priority, RSTStream:
		if f.Stream == 0 {
			return broken(ProtocolError, "a frame without the stream that it is about", "RFC 9113 5.1.1")
		}
	case Settings, Ping, GoAway:
		if f.Stream != 0 {
			return broken(ProtocolError, "a frame about the connection on a stream", "RFC 9113 5.1.1")
		}
	}
	switch {
	case f.Type == RSTStream && length != 4, f.Type == WindowUpdate && length != 4, f.Type == Ping && length != 8, f.Type == GoAway && length < 8:
		return broken(FrameSizeError, "a frame that has not the length of its type", "RFC 9113 4.2")
	case f.Type == Settings && f.Flags&Ack != 0 && length != 0, f.Type == Settings && length%6 != 0:
		return broken(FrameSizeError, "a SETTINGS frame that has not the length of settings", "RFC 9113 6.5")
	}
	return nil
}

// strip takes padding and priority off a head.
func (f *Frame) strip() error {
	pad := 0
	if f.Flags&Padded != 0 {
		if len(f.Payload) == 0 {
			return broken(FrameSizeError, "padding without its length", "RFC 9113 6.2")
		}
		pad = int(f.Payload[0])
		f.Payload = f.Payload[1:]
	}
	if f.Flags&HasPriority != 0 {
		if len(f.Payload) < 5 {
			return broken(FrameSizeError, "a priority that is cut off", "RFC 9113 6.2")
		}
		if binary.BigEndian.Uint32(f.Payload)&^(1<<31) == f.Stream {
			return broken(ProtocolError, "a stream that depends on itself", "RFC 7540 5.3.1")
		}
		f.Payload = f.Payload[5:]
	}
	if pad > len(f.Payload) {
		return broken(ProtocolError, "more padding than there is room for", "RFC 9113 6.2")
	}
	f.Payload = f.Payload[:len(f.Payload)-pad]
	return nil
}

// begin begins a DATA frame of so many bytes.
func (r *Reader) begin(f Frame, body []byte, length int) (Frame, int, error) {
	n := FrameHeaderLen
	r.left, r.padding = length, 0
	if f.Flags&Padded != 0 {
		if length == 0 {
			return f, 0, broken(FrameSizeError, "padding without its length", "RFC 9113 6.1")
		}
		if len(body) == 0 {
			r.left = 0
			return f, 0, nil
		}
		r.padding = int(body[0])
		r.left -= 1 + r.padding
		if r.left < 0 {
			return f, 0, broken(ProtocolError, "more padding than there is room for", "RFC 9113 6.1")
		}
		f.Used, n, body = 1, n+1, body[1:]
	}
	r.data = f
	f, k := r.piece(body)
	return f, n + k, nil
}

// piece takes what there is of a DATA frame off b.
func (r *Reader) piece(b []byte) (f Frame, n int) {
	content := min(len(b), r.left)
	padding := 0
	if r.left -= content; r.left == 0 {
		padding = min(len(b)-content, r.padding)
		r.padding -= padding
	}
	f, n = r.data, content+padding
	r.data.Used = 0
	f.Payload, f.Used, f.Last = b[:content], f.Used+n, r.left+r.padding == 0
	return f, n
}
