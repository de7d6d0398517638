package h1

import (
	"bytes"
	"testing"
)

const browserRequest = "GET /assets/app.3f2a9c.js?v=17 HTTP/1.1\r\n" +
	"Host: www.example.com\r\n" +
	"Connection: keep-alive\r\n" +
	"sec-ch-ua-platform: \"Linux\"\r\n" +
	"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/138.0.0.0 Safari/537.36\r\n" +
	"sec-ch-ua: \"Not)A;Brand\";v=\"8\", \"Chromium\";v=\"138\"\r\n" +
	"Accept: */*\r\n" +
	"Sec-Fetch-Site: same-origin\r\n" +
	"Sec-Fetch-Mode: no-cors\r\n" +
	"Referer: https://www.example.com/\r\n" +
	"Accept-Encoding: gzip, deflate, br, zstd\r\n" +
	"Accept-Language: en-US,en;q=0.9,de;q=0.8\r\n" +
	"Cookie: session=0123456789abcdef0123456789abcdef; theme=dark\r\n\r\n"

const typicalResponse = "HTTP/1.1 200 OK\r\n" +
	"Server: nginx/1.27.0\r\n" +
	"Date: Mon, 23 Nov 2026 10:00:00 GMT\r\n" +
	"Content-Type: text/html; charset=utf-8\r\n" +
	"Content-Length: 1234\r\n" +
	"Connection: keep-alive\r\n" +
	"Cache-Control: private, max-age=0\r\n" +
	"ETag: \"66f0a1b2-4d2\"\r\n" +
	"Set-Cookie: session=0123456789abcdef; Path=/; HttpOnly; Secure; SameSite=Lax\r\n\r\n"

// BenchmarkRequest reads a request of a browser, with 12 fields.
func BenchmarkRequest(b *testing.B) { benchmarkRequest(b, browserRequest) }

// BenchmarkRequest10 reads a request with 10 fields, as a load generator or another proxy sends it.
func BenchmarkRequest10(b *testing.B) {
	benchmarkRequest(b, "GET /api/v1/items?limit=20 HTTP/1.1\r\nHost: api.example.com\r\nUser-Agent: curl/8.5.0\r\nAccept: application/json\r\n"+
		"Accept-Encoding: gzip\r\nAuthorization: Bearer 0123456789abcdef0123456789abcdef\r\nX-Request-Id: 5f2b1c9e8d7a4f60\r\n"+
		"X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: https\r\nContent-Type: application/json\r\nConnection: keep-alive\r\n\r\n")
}

// BenchmarkRequestMinimal reads the shortest request there is.
func BenchmarkRequestMinimal(b *testing.B) {
	benchmarkRequest(b, "GET / HTTP/1.1\r\nHost: example.com\r\n\r\n")
}

// BenchmarkRequestDripping reads a head of 16 KiB that comes byte by byte: the time per byte must not depend on its length.
func BenchmarkRequestDripping(b *testing.B) {
	head := []byte("GET / HTTP/1.1\r\nHost: example.com\r\nX: ")
	head = append(append(head, bytes.Repeat([]byte("x"), 16<<10-len(head)-4)...), "\r\n\r\n"...)
	b.ReportAllocs()
	b.SetBytes(int64(len(head)))
	var r Request
	for b.Loop() {
		for i := 1; i <= len(head); i++ {
			if n, err := r.Parse(head[:i], Limits{}); err != nil || (n > 0) != (i == len(head)) {
				b.Fatal(n, err)
			}
		}
	}
}

func benchmarkRequest(b *testing.B, wire string) {
	b.Helper()
	head := []byte(wire)
	b.ReportAllocs()
	b.SetBytes(int64(len(head)))
	var r Request
	for b.Loop() {
		if n, err := r.Parse(head, Limits{}); n != len(head) || err != nil {
			b.Fatal(n, err)
		}
	}
}

func BenchmarkResponse(b *testing.B) {
	head, method := []byte(typicalResponse), []byte("GET")
	b.ReportAllocs()
	b.SetBytes(int64(len(head)))
	var r Response
	for b.Loop() {
		if n, err := r.Parse(head, method, Limits{}); n != len(head) || err != nil {
			b.Fatal(n, err)
		}
	}
}

// BenchmarkChunked reads 1 MiB in chunks of 8 KiB, from a buffer of 16 KiB.
func BenchmarkChunked(b *testing.B) { benchmarkChunked(b, 8<<10) }

// BenchmarkChunkedSmall reads 1 MiB in chunks of 64 bytes, from a buffer of 16 KiB.
func BenchmarkChunkedSmall(b *testing.B) { benchmarkChunked(b, 64) }

func benchmarkChunked(b *testing.B, size int) {
	b.Helper()
	const total, buffer = 1 << 20, 16 << 10
	var wire []byte
	for range total / size {
		wire = AppendChunkSize(wire, size)
		wire = append(wire, bytes.Repeat([]byte("x"), size)...)
		wire = append(wire, CRLF...)
	}
	wire = append(wire, LastChunk...)
	b.ReportAllocs()
	b.SetBytes(total)
	var d Body
	for b.Loop() {
		d.Reset(Chunked, 0)
		length, done := 0, false
		for rest := wire; !done; {
			data, n, end, err := d.Next(rest[:min(len(rest), buffer)])
			if err != nil {
				b.Fatal(err)
			}
			length, done, rest = length+len(data), end, rest[n:]
		}
		if length != total {
			b.Fatal(length)
		}
	}
}

// BenchmarkAppend writes the head of a forwarded request.
func BenchmarkAppend(b *testing.B) {
	var r Request
	if _, err := r.Parse([]byte(browserRequest), Limits{}); err != nil {
		b.Fatal(err)
	}
	out := make([]byte, 0, 4096)
	b.ReportAllocs()
	for b.Loop() {
		out = AppendRequestLine(out[:0], r.Method, r.Path)
		for i := range r.Fields {
			if f := &r.Fields[i]; !HopByHop(f.ID) {
				out = AppendField(out, f.Name, f.Value)
			}
		}
		out = append(out, CRLF...)
	}
}
