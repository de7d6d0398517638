package cgi

import (
	"bytes"
	"errors"
	"fmt"
	"math"
)

const (
	// maxHead is how many bytes the head of an answer may have.
	maxHead = 64 << 10
	// maxFields is how many header fields it may have.
	maxFields = 128
)

// Field is a header field of an answer. Its name is a token, its value has no control bytes but tabs.
type Field struct{ Name, Value []byte }

// Head is the head of an answer. Its slices are valid until the next head is read.
type Head struct {
	// Status is 200 to 999; in an answer in the form of HTTP/1.x it may be from 100 on.
	Status int
	// Reason is what the program wrote behind the status, without control bytes; often nothing.
	Reason []byte
	// ContentLength is -1 where the head names none: then the body goes on to the end of the answer.
	ContentLength int64
	// Fields are the header fields in order, but for those that speak to the web server alone: Status, and
	// Transfer-Encoding, which a program has no say in (RFC 3875 section 6.3.4). Content-Length is in it, once.
	Fields []Field
}

// parse takes a head apart: b ends with an empty line, lines end with LF or CR LF.
func (h *Head) parse(b []byte) error {
	*h = Head{ContentLength: -1, Fields: h.Fields[:0]}
	http, location := false, false
	for number := 1; ; number++ {
		end := bytes.IndexByte(b, '\n')
		if end < 0 {
			break
		}
		line := bytes.TrimSuffix(b[:end], []byte("\r"))
		b = b[end+1:]
		var err error
		switch {
		case len(line) == 0:
			continue // the last one
		case number == 1 && bytes.HasPrefix(line, []byte("HTTP/")):
			http, err = true, h.statusLine(line)
		default:
			err = h.field(line, http, &location)
		}
		if err != nil {
			return fmt.Errorf("line %d: %w", number, err)
		}
	}
	switch {
	case h.Status != 0:
	case location:
		h.Status = 302
	default:
		h.Status = 200
	}
	return nil
}

// statusLine reads the first line of an answer in the form of HTTP/1.x (RFC 9112 section 4).
func (h *Head) statusLine(line []byte) error {
	const version = len("HTTP/1.1 ")
	if len(line) < version || string(line[:7]) != "HTTP/1." || line[7] != '0' && line[7] != '1' || line[8] != ' ' {
		return fmt.Errorf("%q is no status line of HTTP/1.0 or HTTP/1.1", cut(line))
	}
	return h.status(line[version:], 100)
}

// status reads three digits and, behind a blank, the reason.
func (h *Head) status(s []byte, least int) error {
	code, ok := 0, len(s) == 3 || len(s) > 3 && s[3] == ' '
	for i := 0; ok && i < 3; i++ {
		ok = '0' <= s[i] && s[i] <= '9'
		code = 10*code + int(s[i]-'0')
	}
	if !ok || code < least {
		return fmt.Errorf("%q is no status: it takes three digits, from %d on, and a reason behind a blank", cut(s), least)
	}
	if len(s) > 3 {
		h.Reason = trim(s[4:])
	}
	if i := control(h.Reason); i >= 0 {
		return fmt.Errorf("the reason holds the byte %#02x", h.Reason[i])
	}
	h.Status = code
	return nil
}

// field reads "Name: value".
func (h *Head) field(line []byte, http bool, location *bool) error {
	colon := bytes.IndexByte(line, ':')
	if colon < 0 {
		return fmt.Errorf("%q has no colon", cut(line))
	}
	name, value := line[:colon], trim(line[colon+1:])
	if !token(name) {
		return fmt.Errorf("%q is no name of a header", cut(name))
	}
	if i := control(value); i >= 0 {
		return fmt.Errorf("the value of %q holds the byte %#02x", cut(name), value[i])
	}
	switch {
	case is(name, "Status") && !http:
		if h.Status != 0 {
			return errors.New("there is a second status")
		}
		return h.status(value, 200)
	case is(name, "Transfer-Encoding"), is(name, "Status"):
		return nil
	case is(name, "Location"):
		*location = *location || len(value) > 0
	case is(name, "Content-Length"):
		n, err := length(value)
		if err != nil {
			return err
		}
		if h.ContentLength >= 0 {
			if n != h.ContentLength {
				return fmt.Errorf("there is a second Content-Length, %d instead of %d", n, h.ContentLength)
			}
			return nil
		}
		h.ContentLength = n
	}
	if len(h.Fields) == maxFields {
		return fmt.Errorf("there are more than %d header fields", maxFields)
	}
	h.Fields = append(h.Fields, Field{name, value})
	return nil
}

// length reads a Content-Length: digits alone (RFC 9110 section 8.6).
func length(value []byte) (int64, error) {
	n, ok := int64(0), len(value) > 0
	for _, c := range value {
		if c < '0' || c > '9' || n > (math.MaxInt64-9)/10 {
			ok = false
			break
		}
		n = 10*n + int64(c-'0')
	}
	if !ok {
		return 0, fmt.Errorf("%q is no Content-Length", cut(value))
	}
	return n, nil
}

// is compares names without regard to case.
func is(name []byte, s string) bool {
	return len(name) == len(s) && bytes.EqualFold(name, []byte(s))
}

// token reports whether s is a token (RFC 9110 section 5.6.2).
func token(s []byte) bool {
	for _, c := range s {
		letter := 'a' <= c|0x20 && c|0x20 <= 'z'
		if !letter && (c < '0' || c > '9') && bytes.IndexByte([]byte("!#$%&'*+-.^_`|~"), c) < 0 {
			return false
		}
	}
	return len(s) > 0
}

// control returns where the first control byte but a tab stands, or -1.
func control(s []byte) int {
	for i, c := range s {
		if c < ' ' && c != '\t' || c == 0x7f {
			return i
		}
	}
	return -1
}

// trim takes the white space around a value away, which is no part of it (RFC 9110 section 5.5).
func trim(s []byte) []byte { return bytes.Trim(s, " \t") }
