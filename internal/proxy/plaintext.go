package proxy

import (
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
)

// plaintextText is nginx's, which people look for.
const plaintextText = "400 Bad Request\n\nThe plain HTTP request was sent to HTTPS port. Write https:// instead of http://.\n"

// answerPlaintext tells a client that speaks HTTP where TLS is spoken what it does wrong: most often an http:// URL with the port of HTTPS. It reports whether that was so.
func answerPlaintext(c *h1Client, err error) bool {
	var header tls.RecordHeaderError
	if !errors.As(err, &header) || header.Conn == nil || !beginsHTTP(string(header.RecordHeader[:])) {
		return false
	}
	answer := fmt.Sprintf("HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s",
		len(plaintextText), plaintextText)
	if _, err := c.conn.Write([]byte(answer)); err == nil && c.conn.Drain() == nil {
		linger(c.worker, c.conn, nil)
	}
	return true
}

// beginsHTTP reports whether the first five bytes of a connection begin a request.
func beginsHTTP(first string) bool {
	for _, method := range [...]string{"GET ", "HEAD ", "POST ", "PUT ", "PATCH ", "DELETE ", "OPTIONS "} {
		if strings.HasPrefix(first, method[:min(len(method), len(first))]) {
			return true
		}
	}
	return false
}
