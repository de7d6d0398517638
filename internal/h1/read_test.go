package h1

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// reader reads messages one after the other off a connection's bytes, as a proxy does, and writes down what it finds.
type reader struct {
	request  Request
	response Response
	body     Body
	method   string // of the request that responses answer; "" reads requests
	lim      Limits

	inBody  bool
	content []byte
	heads   int
	log     []string
	ended   bool
}

// take gets all bytes that came and were not used up, and returns how many are used up now.
func (r *reader) take(b []byte) (used int) {
	for !r.ended {
		n := 0
		if r.inBody {
			n = r.takeBody(b[used:])
		} else {
			n = r.takeHead(b[used:])
		}
		if used += n; n == 0 && !r.ended {
			return used
		}
	}
	return used
}

func (r *reader) takeHead(b []byte) int {
	var n int
	var err error
	var head *Head
	if r.method == "" {
		n, err = r.request.Parse(b, r.lim)
		head = &r.request.Head
	} else {
		n, err = r.response.Parse(b, []byte(r.method), r.lim)
		head = &r.response.Head
	}
	switch {
	case err != nil:
		r.fail(err)
	case n > 0:
		r.heads++
		r.inBody = true
		r.content = r.content[:0]
		r.body.Reset(head.Framing, head.ContentLength)
		if r.method == "" {
			r.log = append(r.log, describeRequest(&r.request))
		} else {
			r.log = append(r.log, describeResponse(&r.response))
		}
		r.takeBody(nil)
	}
	return n
}

func (r *reader) takeBody(b []byte) int {
	data, n, done, err := r.body.Next(b)
	r.content = append(r.content, data...)
	switch {
	case err != nil:
		r.log = append(r.log, fmt.Sprintf("content %q", r.content))
		r.fail(err)
	case done:
		if len(r.content) > 0 {
			r.log = append(r.log, fmt.Sprintf("content %q", r.content))
		}
		if t := r.body.Trailer(); len(t) > 0 {
			r.log = append(r.log, "trailer"+describeFields(t))
		}
		r.inBody = false
		close := r.request.Close
		if r.method != "" {
			close = r.response.Close
		}
		r.ended = close || r.method != "" && r.response.Status == 101
	}
	return n
}

func (r *reader) fail(err error) {
	r.ended = true
	var e Error
	if !errors.As(err, &e) {
		panic(fmt.Sprintf("%T is no Error", err))
	}
	r.log = append(r.log, fmt.Sprintf("error %d %v", e.Status, e))
}

// eof ends the connection and returns what was found.
func (r *reader) eof(left int) string {
	if !r.ended && r.inBody {
		if err := r.body.EOF(); err != nil {
			r.log = append(r.log, fmt.Sprintf("content %q", r.content), "cut off")
		} else {
			r.log = append(r.log, fmt.Sprintf("content %q until the end", r.content))
		}
	} else if !r.ended && left > 0 {
		r.log = append(r.log, "more needed")
	}
	return strings.Join(r.log, "\n")
}

// readAll reads what comes on a connection whose bytes arrive in pieces that end at cuts. With moves every piece is read in another
// buffer.
func readAll(wire, method string, lim Limits, moves bool, cuts ...int) string {
	r := reader{method: method, lim: lim}
	buffer, start := []byte(wire), 0
	for _, cut := range append(cuts, len(wire)) {
		piece := buffer[start:cut:cut]
		if moves {
			piece = []byte(wire[start:cut])
		}
		start += r.take(piece)
	}
	return r.eof(len(wire) - start)
}

func describeRequest(r *Request) string {
	var s strings.Builder
	fmt.Fprintf(&s, "%s %s HTTP/1.%d", r.Method, r.Target, r.Minor)
	if string(r.Path) != string(r.Target) {
		fmt.Fprintf(&s, " path=%s", r.Path)
	}
	fmt.Fprintf(&s, " host=%s", r.Host)
	if r.Expect100 {
		s.WriteString(" expect")
	}
	if r.TETrailers {
		s.WriteString(" trailers")
	}
	return s.String() + describeHead(&r.Head)
}

func describeResponse(r *Response) string {
	return fmt.Sprintf("HTTP/1.%d %d %q", r.Minor, r.Status, r.Reason) + describeHead(&r.Head)
}

func describeHead(h *Head) string {
	var s strings.Builder
	switch h.Framing {
	case Length:
		fmt.Fprintf(&s, " length=%d", h.ContentLength)
	case Chunked:
		s.WriteString(" chunked")
	case UntilClose:
		s.WriteString(" until-close")
	}
	if h.Close {
		s.WriteString(" close")
	}
	if h.Upgrade != nil {
		fmt.Fprintf(&s, " upgrade=%s", h.Upgrade)
	}
	return s.String() + describeFields(h.Fields)
}

// describeFields leaves out the fields whose meaning is described otherwise.
func describeFields(fields []Field) string {
	var s strings.Builder
	for _, f := range fields {
		if f.ID == Other || f.ID > Expect {
			fmt.Fprintf(&s, " [%v %s: %s]", f.ID, f.Name, f.Value)
		}
	}
	return s.String()
}

// TestFragments reads every message of the other tests in all sorts of pieces.
func TestFragments(t *testing.T) {
	for _, m := range allMessages() {
		want := readAll(m.wire, m.method, m.lim, false)
		check := func(moves bool, cuts ...int) {
			if got := readAll(m.wire, m.method, m.lim, moves, cuts...); got != want {
				t.Errorf("%s, cut at %v, buffers that move %v:\n%s\nat once:\n%s", m.name, cuts, moves, got, want)
			}
		}
		all := make([]int, 0, len(m.wire))
		step := 1
		if len(m.wire) > 1000 {
			step = len(m.wire)/20 + 1
		}
		for cut := 1; cut < len(m.wire); cut += step {
			check(false, cut)
			check(true, cut)
			all = append(all, cut)
		}
		check(false, all...)
		check(true, all...)
		if t.Failed() {
			return
		}
	}
}
