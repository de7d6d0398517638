package h2

import (
	"encoding/binary"
	"slices"
	"strconv"

	"github.com/ruche-project/ruche/internal/h1"
)

// Heads are written without a table of our own and without Huffman's code (RFC 7541): both would save the client some bytes and cost more time than all the
// rest here.

// BeginHeaders appends room for the header of a frame; the block follows, and EndHeadersFrame.
func BeginHeaders(dst []byte) []byte { return append(dst, 0, 0, 0, 0, 0, 0, 0, 0, 0) }

// EndHeadersFrame makes a HEADERS frame, and CONTINUATION frames where it takes them, of the block that begins behind BeginHeaders at start.
// most is how long a frame may be.
func EndHeadersFrame(dst []byte, start int, flags Flags, stream uint32, most int) []byte {
	length := len(dst) - start - FrameHeaderLen
	if length <= most {
		_ = AppendFrameHeader(dst[:start], length, Headers, flags|EndHeaders, stream)
		return dst
	}
	_ = AppendFrameHeader(dst[:start], most, Headers, flags, stream)
	for at := start + FrameHeaderLen + most; at < len(dst); {
		rest := len(dst) - at
		end := Flags(0)
		if rest <= most {
			end = EndHeaders
		}
		var header [FrameHeaderLen]byte
		dst = slices.Insert(dst, at, AppendFrameHeader(header[:0], min(rest, most), Continuation, end, stream)...)
		at += FrameHeaderLen + min(rest, most)
	}
	return dst
}

// AppendStatus appends the field :status, which is the first of an answer. It is between 100 and 999.
func AppendStatus(dst []byte, status int) []byte {
	switch status {
	case 200:
		return append(dst, 0x88)
	case 204:
		return append(dst, 0x89)
	case 206:
		return append(dst, 0x8a)
	case 304:
		return append(dst, 0x8b)
	case 400:
		return append(dst, 0x8c)
	case 404:
		return append(dst, 0x8d)
	case 500:
		return append(dst, 0x8e)
	}
	return append(dst, 0x08, 3, byte('0'+status/100%10), byte('0'+status/10%10), byte('0'+status%10))
}

// longName is beyond the names that are looked for in the static table.
const longName = 32

// AppendField appends a field whose name is written small. What is appended must be valid: it comes from a parsed message.
func AppendField(dst, name, value []byte) []byte { return appendString(appendName(dst, name), value) }

// AppendIntField appends a field with a number, like Content-Length.
func AppendIntField(dst []byte, name string, value int64) []byte {
	var digits [20]byte
	return appendString(appendName(dst, bytesOf(name)), strconv.AppendInt(digits[:0], value, 10))
}

// appendName begins a field that no table is to have (RFC 7541 section 6.2.2).
func appendName(dst, name []byte) []byte {
	if len(name) <= longName {
		var small [longName]byte
		for i, c := range name {
			small[i] = h1.Lower(c)
		}
		if index := staticIndex(string(small[:len(name)])); index > 0 {
			return appendInt(dst, 0, 4, index)
		}
		dst = appendInt(append(dst, 0), 0, 7, len(name))
		return append(dst, small[:len(name)]...)
	}
	dst = appendInt(append(dst, 0), 0, 7, len(name))
	for _, c := range name {
		dst = append(dst, h1.Lower(c))
	}
	return dst
}

func appendString(dst, s []byte) []byte { return append(appendInt(dst, 0, 7, len(s)), s...) }

// appendInt appends an integer whose first bits share a byte with others (RFC 7541 section 5.1).
func appendInt(dst []byte, first byte, bits uint, n int) []byte {
	most := 1<<bits - 1
	if n < most {
		return append(dst, first|byte(n))
	}
	return binary.AppendUvarint(append(dst, first|byte(most)), uint64(n-most))
}

// staticIndex is where the static table (RFC 7541 appendix A) has a name that answers have, or 0.
func staticIndex(name string) int {
	switch name {
	case "accept-ranges":
		return 18
	case "access-control-allow-origin":
		return 20
	case "age":
		return 21
	case "allow":
		return 22
	case "cache-control":
		return 24
	case "content-disposition":
		return 25
	case "content-encoding":
		return 26
	case "content-language":
		return 27
	case "content-length":
		return 28
	case "content-location":
		return 29
	case "content-range":
		return 30
	case "content-type":
		return 31
	case "date":
		return 33
	case "etag":
		return 34
	case "expires":
		return 36
	case "last-modified":
		return 44
	case "link":
		return 45
	case "location":
		return 46
	case "retry-after":
		return 53
	case "server":
		return 54
	case "set-cookie":
		return 55
	case "strict-transport-security":
		return 56
	case "vary":
		return 59
	case "via":
		return 60
	case "www-authenticate":
		return 61
	}
	return 0
}
