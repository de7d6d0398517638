package h1

import "testing"

func TestSmoke(t *testing.T) {
	const wire = "GET /a?b HTTP/1.1\r\nHost: example.com\r\nContent-Length: 3\r\nConnection: keep-alive, X-Y\r\n\r\nabc"
	var r Request
	n, err := r.Parse([]byte(wire), Limits{})
	if err != nil || n != len(wire)-3 || string(r.Host) != "example.com" || string(r.Path) != "/a?b" || r.Framing != Length || r.ContentLength != 3 || !r.ConnectionNames([]byte("x-y")) {
		t.Fatalf("%d %v %+v", n, err, r)
	}
	var d Body
	d.Reset(Chunked, 0)
	data, n, done, err := d.Next([]byte("3\r\nabc\r\n0\r\nA: b\r\n\r\nrest"))
	if string(data) != "abc" || n != 19 || !done || err != nil || len(d.Trailer()) != 1 {
		t.Fatalf("%q %d %v %v %+v", data, n, done, err, d)
	}
}

func BenchmarkRequest(b *testing.B) {
	wire := []byte("GET /assets/app.3f2a.js?v=17 HTTP/1.1\r\nHost: www.example.com\r\nConnection: keep-alive\r\nsec-ch-ua-platform: \"Linux\"\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/138.0.0.0 Safari/537.36\r\nsec-ch-ua: \"Not)A;Brand\";v=\"8\", \"Chromium\";v=\"138\"\r\nsec-ch-ua-mobile: ?0\r\nAccept: */*\r\nSec-Fetch-Site: same-origin\r\nSec-Fetch-Mode: no-cors\r\nReferer: https://www.example.com/\r\nAccept-Encoding: gzip, deflate, br, zstd\r\nAccept-Language: en-US,en;q=0.9,de;q=0.8\r\nCookie: session=0123456789abcdef0123456789abcdef; theme=dark\r\n\r\n")
	var r Request
	b.ReportAllocs()
	b.SetBytes(int64(len(wire)))
	for b.Loop() {
		if n, err := r.Parse(wire, Limits{}); n != len(wire) || err != nil {
			b.Fatal(n, err)
		}
	}
}
