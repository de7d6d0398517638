// Package h1test has messages for tests of whatever reads HTTP/1.1.
package h1test

import "fmt"

// Message is what a hostile client sends on one connection: a request for /first in which another one, for /smuggled, is hidden from some
// readers and not from others.
type Message struct {
	// Name says what the trick is.
	Name string
	// Wire is what is sent.
	Wire string
	// Rule is the section that decides how it is read, like "RFC 9112 6.3".
	Rule string
	// Requests is how many requests a strict reader takes from it: 0 when the first is refused, 1 when it is understood and its body swallows
	// the other one, or when what follows it is refused or never complete. It is never 2.
	Requests int
}

const (
	host   = "Host: example.com\r\n"
	hidden = "GET /smuggled HTTP/1.1\r\nHost: example.com\r\n\r\n"
	get    = "GET /first HTTP/1.1\r\n" + host
	post   = "POST /first HTTP/1.1\r\n" + host
)

// length is the field that gives the hidden request as the body.
func length() string { return fmt.Sprintf("Content-Length: %d\r\n", len(hidden)) }

// chunk has s as a chunk.
func chunk(s string) string { return fmt.Sprintf("%x\r\n%s\r\n", len(s), s) }

const end = "0\r\n\r\n"

// Smuggling returns the messages. None of them is two requests.
func Smuggling() []Message {
	var all []Message
	for _, part := range [][]Message{lengthAndEncoding(), encodings(), lengths(), chunks(), names(), lines(), requestLines(), targets(), hosts(), options()} {
		all = append(all, part...)
	}
	return all
}

// lengthAndEncoding are messages with both: one reader takes the one, the next takes the other.
func lengthAndEncoding() []Message {
	const rule = "RFC 9112 6.3"
	clte := fmt.Sprintf("Content-Length: %d\r\n", len(end+hidden))
	return []Message{
		{"CL.TE: the length covers what the chunks leave", post + clte + "Transfer-Encoding: chunked\r\n\r\n" + end + hidden, rule, 0},
		{"CL.TE with the encoding first", post + "Transfer-Encoding: chunked\r\n" + clte + "\r\n" + end + hidden, rule, 0},
		{"CL.TE with the length 0", post + "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk(hidden) + end, rule, 0},
		{"CL.TE that agree", post + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n" + end, rule, 0},
		{"TE.CL: the length ends within the first chunk", post + "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk(hidden) + end, rule, 0},
		{"TE.CL in large letters", post + "CONTENT-LENGTH: 4\r\nTRANSFER-ENCODING: CHUNKED\r\n\r\n" + chunk(hidden) + end, rule, 0},
		{"TE.CL with a tab before the coding", post + "Content-Length: 4\r\nTransfer-Encoding:\tchunked\r\n\r\n" + chunk(hidden) + end, rule, 0},
		{"TE.CL without a space before the coding", post + "Content-Length: 4\r\nTransfer-Encoding:chunked\r\n\r\n" + chunk(hidden) + end, rule, 0},
		{"TE.CL in HTTP/1.0", "POST /first HTTP/1.0\r\n" + host + "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk(hidden) + end, "RFC 9112 6.1", 0},
		{"both, on a GET", get + "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk(hidden) + end, rule, 0},
		{"both, the length hop-by-hop", post + "Connection: Content-Length\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk(hidden) + end, rule, 0},
		{"both, the encoding hop-by-hop", post + "Connection: Transfer-Encoding\r\n" + clte + "Transfer-Encoding: chunked\r\n\r\n" + end + hidden, rule, 0},
	}
}

// encodings are codings that one reader takes for chunked and the next does not.
func encodings() []Message {
	const rule = "RFC 9112 6.1"
	var all []Message
	for _, e := range []struct{ name, fields string }{
		{"chunked, then a field with identity", "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n"},
		{"identity, then a field with chunked", "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n"},
		{"two fields with chunked", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"},
		{"a second field that is nothing", "Transfer-Encoding: chunked\r\nTransfer-encoding: cow\r\n"},
		{"chunked before identity", "Transfer-Encoding: chunked, identity\r\n"},
		{"identity before chunked", "Transfer-Encoding: identity, chunked\r\n"},
		{"chunked twice", "Transfer-Encoding: chunked, chunked\r\n"},
		{"gzip before chunked", "Transfer-Encoding: gzip, chunked\r\n"},
		{"identity", "Transfer-Encoding: identity\r\n"},
		{"xchunked", "Transfer-Encoding: xchunked\r\n"},
		{"chunk", "Transfer-Encoding: chunk\r\n"},
		{"nothing", "Transfer-Encoding:\r\n"},
		{"in quotes", "Transfer-Encoding: \"chunked\"\r\n"},
		{"with a parameter", "Transfer-Encoding: chunked;q=1\r\n"},
		{"with a comma before it", "Transfer-Encoding: ,chunked\r\n"},
		{"with a comma behind it", "Transfer-Encoding: chunked,\r\n"},
		{"with a vertical tab before it", "Transfer-Encoding:\x0bchunked\r\n"},
		{"with a vertical tab behind it", "Transfer-Encoding: chunked\x0b\r\n"},
		{"with a form feed", "Transfer-Encoding: \x0cchunked\r\n"},
		{"with a NUL", "Transfer-Encoding: \x00chunked\r\n"},
		{"with a DEL", "Transfer-Encoding: chunked\x7f\r\n"},
		{"with a space that is not ASCII", "Transfer-Encoding: \xa0chunked\r\n"},
		{"with a byte order mark", "Transfer-Encoding: \xef\xbb\xbfchunked\r\n"},
		{"with a Kelvin sign for the k", "Transfer-Encoding: chun\u212aed\r\n"},
		{"with a long s for nothing", "Tran\u017ffer-Encoding: chunked\r\n"},
		{"folded onto the next line", "Transfer-Encoding:\r\n chunked\r\n"},
		{"folded with a tab", "Transfer-Encoding:\r\n\tchunked\r\n"},
		{"folded with another coding", "Transfer-Encoding: chunked\r\n , identity\r\n"},
		{"a space before the colon", "Transfer-Encoding : chunked\r\n"},
		{"a tab before the colon", "Transfer-Encoding\t: chunked\r\n"},
		{"a line break before the colon", "Transfer-Encoding\r\n : chunked\r\n"},
		{"a NUL before the colon", "Transfer-Encoding\x00: chunked\r\n"},
		{"a space before the name", " Transfer-Encoding: chunked\r\n"},
		{"behind a bare LF", "X: y\nTransfer-Encoding: chunked\r\n"},
		{"behind a bare CR", "X: y\rTransfer-Encoding: chunked\r\n"},
		{"behind a LF and a space", "X: y\n Transfer-Encoding: chunked\r\n"},
		{"with an underscore", "Transfer_Encoding: chunked\r\n"},
	} {
		all = append(all,
			Message{"TE.TE: " + e.name, post + e.fields + "\r\n" + chunk(hidden) + end, rule, 0},
			Message{"TE.TE and a length: " + e.name, post + length() + e.fields + "\r\n" + hidden, rule, 0})
	}
	return append(all, Message{"TE in HTTP/1.0",
		"POST /first HTTP/1.0\r\n" + host + "Connection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk(hidden) + end, rule, 0})
}

// lengths are lengths that readers understand differently.
func lengths() []Message {
	var all []Message
	for _, l := range []struct{ name, fields string }{
		{"two that differ", "Content-Length: 0\r\n" + length()},
		{"two that agree", length() + length()},
		{"a list that differs", "Content-Length: 0, 45\r\n"},
		{"a list that agrees", "Content-Length: 45, 45\r\n"},
		{"a plus", "Content-Length: +45\r\n"},
		{"a minus", "Content-Length: -45\r\n"},
		{"minus nothing", "Content-Length: -0\r\n"},
		{"hexadecimal", "Content-Length: 0x2d\r\n"},
		{"hexadecimal digits", "Content-Length: 2d\r\n"},
		{"a space within", "Content-Length: 4 5\r\n"},
		{"an underscore within", "Content-Length: 4_5\r\n"},
		{"a fraction", "Content-Length: 45.0\r\n"},
		{"an exponent", "Content-Length: 45e0\r\n"},
		{"a parameter", "Content-Length: 45;a=b\r\n"},
		{"quotes", "Content-Length: \"45\"\r\n"},
		{"nothing", "Content-Length:\r\n"},
		{"a word", "Content-Length: none\r\n"},
		{"one that overflows 64 bits to 45", "Content-Length: 18446744073709551661\r\n"},
		{"one that is negative in 64 bits", "Content-Length: 9223372036854775853\r\n"},
		{"digits that are not ASCII", "Content-Length: \u0664\u0665\r\n"},
		{"a NUL behind it", "Content-Length: 45\x00\r\n"},
		{"a vertical tab before it", "Content-Length:\x0b45\r\n"},
		{"a CR behind it", "Content-Length: 45\r\r\n"},
		{"folded onto the next line", "Content-Length:\r\n 45\r\n"},
		{"digits on the next line", "Content-Length: 4\r\n 5\r\n"},
		{"a space before the colon", "Content-Length : 45\r\n"},
		{"a tab before the colon", "Content-Length\t: 45\r\n"},
		{"a space before the name", " Content-Length: 45\r\n"},
		{"behind a bare LF", "Content-Length: 0\nContent-Length: 45\r\n"},
		{"behind a bare CR", "X: y\rContent-Length: 45\r\n"},
		{"a NUL within the name", "Content-\x00Length: 45\r\n"},
		{"a space within the name", "Content Length: 45\r\n"},
		{"an underscore within the name", "Content_Length: 45\r\n"},
		{"a space that is not ASCII behind the name", "Content-Length\xa0: 45\r\n"},
		{"a vertical tab before the name", "\x0bContent-Length: 45\r\n"},
		{"a colon before the name", ":Content-Length: 45\r\n"},
		{"no colon", "Content-Length\r\n"},
		{"a semicolon for the colon", "Content-Length; 45\r\n"},
	} {
		all = append(all, Message{"CL: " + l.name, post + l.fields + "\r\n" + hidden, "RFC 9112 6.3", 0})
	}
	return append(all,
		Message{"CL.0: a POST whose body is a request", post + length() + "\r\n" + hidden, "RFC 9112 6.2", 1},
		Message{"CL.0: a GET with a body", get + length() + "\r\n" + hidden, "RFC 9110 9.3.1", 1},
		Message{"CL.0: a HEAD with a body", "HEAD /first HTTP/1.1\r\n" + host + length() + "\r\n" + hidden, "RFC 9110 9.3.2", 1},
		Message{"CL.0: a DELETE with a body", "DELETE /first HTTP/1.1\r\n" + host + length() + "\r\n" + hidden, "RFC 9110 9.3.5", 1},
		Message{"CL.0: a method that nobody knows", "FIRST /first HTTP/1.1\r\n" + host + length() + "\r\n" + hidden, "RFC 9112 6", 1},
		Message{"CL: zeros in front, which C reads as octal", post + "Content-Length: 0000" + fmt.Sprint(len(hidden)) + "\r\n\r\n" + hidden, "RFC 9110 8.6", 1},
		Message{"CL: one that is 45 in 32 bits", post + "Content-Length: 4294967341\r\n\r\n" + hidden, "RFC 9110 8.6", 1},
		Message{"CL: a CONNECT with a body", "CONNECT example.com:443 HTTP/1.1\r\n" + host + length() + "\r\n" + hidden, "RFC 9110 9.3.6", 0},
	)
}
