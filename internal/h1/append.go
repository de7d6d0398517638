package h1

import (
	"net/http"
	"strconv"
)

// LastChunk ends a chunked body that has no trailer.
const LastChunk = "0\r\n\r\n"

// CRLF ends a line, a head and a chunk's content.
const CRLF = "\r\n"

// What is appended must be valid: it comes from a parsed message, or ValidFieldName and ValidFieldValue were asked.

// AppendRequestLine appends the first line of an HTTP/1.1 request.
func AppendRequestLine(dst, method, target []byte) []byte {
	dst = append(dst, method...)
	dst = append(dst, ' ')
	dst = append(dst, target...)
	return append(dst, " HTTP/1.1\r\n"...)
}

// AppendStatusLine appends the first line of an HTTP/1.1 response. A nil reason stands for the usual one; status is between 100 and 999.
func AppendStatusLine(dst []byte, status int, reason []byte) []byte {
	dst = append(dst, "HTTP/1.1 "...)
	dst = append(dst, byte('0'+status/100%10), byte('0'+status/10%10), byte('0'+status%10), ' ')
	if reason == nil {
		dst = append(dst, http.StatusText(status)...)
	} else {
		dst = append(dst, reason...)
	}
	return append(dst, CRLF...)
}

// AppendField appends a field line. Name and value are strings or slices of bytes.
func AppendField[N, V string | []byte](dst []byte, name N, value V) []byte {
	dst = append(dst, name...)
	dst = append(dst, ": "...)
	dst = append(dst, value...)
	return append(dst, CRLF...)
}

// AppendIntField appends a field line with a number, like Content-Length.
func AppendIntField[N string | []byte](dst []byte, name N, value int64) []byte {
	dst = append(dst, name...)
	dst = append(dst, ": "...)
	dst = strconv.AppendInt(dst, value, 10)
	return append(dst, CRLF...)
}

// AppendChunkSize appends the line that begins a chunk of n bytes, which is more than 0. The content follows, and CRLF.
func AppendChunkSize(dst []byte, n int) []byte {
	dst = strconv.AppendUint(dst, uint64(n), 16)
	return append(dst, CRLF...)
}

// AppendTrailer appends the end of a chunked body with trailer fields, maybe none.
func AppendTrailer(dst []byte, fields []Field) []byte {
	dst = append(dst, "0\r\n"...)
	for i := range fields {
		dst = AppendField(dst, fields[i].Name, fields[i].Value)
	}
	return append(dst, CRLF...)
}
