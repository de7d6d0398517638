package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
)

const (
	smallBody = 1 << 10
	largeBody = 1 << 20
)

// serveEndpoint answers requests on an address until ctx ends. It does as little as it can: /small and /large
// answer 1 KiB and 1 MiB after reading what body there is, /close answers as /small and closes the connection.
func serveEndpoint(ctx context.Context, address string) error {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { _ = l.Close() })()
	if err := answerAll(l); ctx.Err() == nil {
		return err
	}
	return nil
}

// answerAll answers whoever connects, until the listener is closed.
func answerAll(l net.Listener) error {
	answers := map[string][]byte{
		"/small": answer(smallBody, ""),
		"/large": answer(largeBody, ""),
		"/close": answer(smallBody, "Connection: close\r\n"),
	}
	for {
		conn, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			_ = serveConn(conn, answers)
			_ = conn.Close()
		}()
	}
}

func answer(size int, extra string) []byte {
	head := fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n%sContent-Length: %d\r\n\r\n", extra, size)
	return append([]byte(head), bytes.Repeat([]byte{'x'}, size)...)
}

func serveConn(conn net.Conn, answers map[string][]byte) error {
	r := bufio.NewReaderSize(conn, 64<<10)
	for {
		path, body, err := readRequest(r)
		if err != nil {
			return err
		}
		if _, err := r.Discard(body); err != nil {
			return err
		}
		answer, ok := answers[path]
		if !ok {
			return fmt.Errorf("the path %q is unknown", path)
		}
		if _, err := conn.Write(answer); err != nil || path == "/close" {
			return err
		}
	}
}

// readRequest reads a request's head: its path, and how long its body is.
func readRequest(r *bufio.Reader) (path string, body int, err error) {
	line, err := r.ReadSlice('\n')
	if err != nil {
		return "", 0, err
	}
	parts := bytes.SplitN(line, []byte(" "), 3)
	if len(parts) < 3 {
		return "", 0, fmt.Errorf("%q is no request", line)
	}
	path = pathName(parts[1])
	for {
		line, err := r.ReadSlice('\n')
		if err != nil || len(line) <= 2 {
			return path, body, err
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		switch {
		case bytes.EqualFold(name, []byte("Content-Length")):
			if body, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil {
				return "", 0, err
			}
		case bytes.EqualFold(name, []byte("Transfer-Encoding")):
			return "", 0, errors.New("the endpoint takes bodies with a length alone")
		}
	}
}

// pathName gives a path's name without allocating one for each request.
func pathName(path []byte) string {
	for _, known := range []string{"/small", "/large", "/close"} {
		if string(path) == known {
			return known
		}
	}
	return string(path)
}
