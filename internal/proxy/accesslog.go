package proxy

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/h1"
	"github.com/ruche-project/ruche/internal/health"
	"github.com/ruche-project/ruche/internal/lines"
)

// logDelay is how long a line waits for others, so that many go in one write.
const logDelay = 50 * time.Millisecond

// accessLog writes one JSON object a line, without a request that waits for the writer. A nil accessLog does nothing.
type accessLog struct {
	lines  *lines.Writer
	health *health.Registry
}

func newAccessLog(w io.Writer, h *health.Registry) *accessLog {
	if w == nil {
		return nil
	}
	l := &accessLog{health: h}
	l.lines = lines.New(w, logDelay, l.wrote)
	return l
}

// run writes until ctx ends, and then what is left.
func (l *accessLog) run(ctx context.Context) {
	if l != nil {
		l.lines.Run(ctx)
	}
}

// wrote tells people how it went.
func (l *accessLog) wrote(dropped int, err error) {
	switch {
	case err != nil:
		l.warn(fmt.Sprintf("cannot write the access log: %v", err))
	case dropped > 0:
		l.warn(fmt.Sprintf("%d lines of the access log were dropped: what they are written to does not keep up", dropped))
	default:
		l.health.Clear(ruche.CodeAccessLogFailed, "")
	}
}

func (l *accessLog) warn(message string) {
	l.health.Set(ruche.Warning{
		Code: ruche.CodeAccessLogFailed, Severity: ruche.SeverityWarning, Message: message,
		Hint: "requests are served all the same; check the disk or the reader of standard output, or set --access-log",
	})
}

// finished is what a line tells of: an exchange, or a connection that was carried as it came.
type finished interface {
	appendLine(b []byte, took time.Duration) []byte
}

// add appends the line of something that has ended.
func (l *accessLog) add(x finished, took time.Duration) {
	if l == nil {
		return
	}
	if b, ok := l.lines.Begin(); ok {
		l.lines.End(x.appendLine(b, took))
	}
}

// appendLine appends the exchange as one JSON object and a newline. Fields without a value are left out.
func (x *exchange) appendLine(b []byte, took time.Duration) []byte {
	b = append(b, `{"time":"`...)
	b = appendTime(b, x.started)
	b = append(b, '"')
	b = appendText(b, "request_id", x.id)
	if x.clientAddr.IsValid() {
		b = append(x.clientAddr.AppendTo(append(b, `,"client_ip":"`...)), '"')
	}
	if x.remote.IsValid() {
		b = append(x.remote.AppendTo(append(b, `,"peer":"`...)), '"')
	}
	b = appendText(b, "host", text(x.req.Host))
	b = appendText(b, "method", text(x.req.Method))
	rawPath := x.target.rawPath
	if x.target.raw == "" {
		rawPath = text(x.req.Target)
	}
	b = appendText(b, "path", rawPath)
	if len(x.target.raw) > len(rawPath) {
		b = appendText(b, "query", x.target.raw[len(rawPath)+1:])
	}
	b = appendText(b, "proto", x.proto)
	b = appendText(b, "scheme", x.scheme())
	b = appendInt(b, "status", int64(x.res.status))
	b = appendInt(b, "bytes_sent", x.res.sent)
	b = appendInt(b, "bytes_received", x.received.Load())
	b = appendMillis(b, "duration_ms", took)
	if x.route != nil {
		b = appendText(b, "route", x.route.route.ID)
	}
	if x.res.endpoint != nil {
		b = appendText(b, "endpoint", x.res.endpoint.url)
		b = appendMillis(b, "upstream_ms", x.res.upstream)
		b = appendInt(b, "retries", int64(x.res.retries))
	}
	b = appendText(b, "user_agent", text(x.field(h1.UserAgent)))
	b = appendText(b, "referer", text(x.field(h1.Referer)))
	if x.res.err != nil {
		b = appendText(b, "error", x.res.err.Error())
	}
	if x.tls.version != 0 {
		b = appendText(b, "tls_version", tls.VersionName(x.tls.version))
		b = appendText(b, "sni", x.tls.serverName)
		b = appendText(b, "client_certificate", x.tls.peer.name())
	}
	return append(b, '}', '\n')
}

// appendTime appends a time in UTC with microseconds (RFC 3339).
func appendTime(b []byte, t time.Time) []byte {
	t = t.UTC()
	year, month, day := t.Date()
	hour, minute, second := t.Clock()
	b = appendDigits(b, year, 4)
	b = appendDigits(append(b, '-'), int(month), 2)
	b = appendDigits(append(b, '-'), day, 2)
	b = appendDigits(append(b, 'T'), hour, 2)
	b = appendDigits(append(b, ':'), minute, 2)
	b = appendDigits(append(b, ':'), second, 2)
	b = appendDigits(append(b, '.'), t.Nanosecond()/1000, 6)
	return append(b, 'Z')
}

// appendDigits appends n with leading zeros, so many digits.
func appendDigits(b []byte, n, digits int) []byte {
	for range digits {
		b = append(b, '0')
	}
	for i := len(b) - 1; n > 0 && i >= len(b)-digits; i-- {
		b[i] = byte('0' + n%10)
		n /= 10
	}
	return b
}

func appendText(b []byte, key, value string) []byte {
	if value == "" {
		return b
	}
	b = append(append(append(b, ',', '"'), key...), '"', ':')
	return appendJSON(b, value)
}

func appendInt(b []byte, key string, value int64) []byte {
	b = append(append(append(b, ',', '"'), key...), '"', ':')
	return strconv.AppendInt(b, value, 10)
}

func appendMillis(b []byte, key string, d time.Duration) []byte {
	b = append(append(append(b, ',', '"'), key...), '"', ':')
	micros := max(d.Microseconds(), 0)
	b = strconv.AppendInt(b, micros/1000, 10)
	return appendDigits(append(b, '.'), int(micros%1000), 3)
}

// appendJSON appends a JSON string. What is not UTF-8 becomes the replacement character, and what could end a line in
// some reader is escaped.
func appendJSON(b []byte, s string) []byte {
	const hexDigits = "0123456789abcdef"
	b = append(b, '"')
	plain := 0
	for plain < len(s) && isPlain(s[plain]) {
		plain++
	}
	b, s = append(b, s[:plain]...), s[plain:]
	for i := 0; i < len(s); {
		c := s[i]
		if c >= utf8.RuneSelf {
			r, size := utf8.DecodeRuneInString(s[i:])
			switch {
			case r == utf8.RuneError && size == 1:
				b = append(b, `\ufffd`...)
			case r == '\u2028' || r == '\u2029':
				b = append(b, `\u202`...)
				b = append(b, hexDigits[r&0xf])
			default:
				b = append(b, s[i:i+size]...)
			}
			i += size
			continue
		}
		switch {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c < 0x20 || c == 0x7f:
			b = append(b, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&0xf])
		default:
			b = append(b, c)
		}
		i++
	}
	return append(b, '"')
}

// isPlain reports whether a byte stands for itself in JSON.
func isPlain(c byte) bool { return c >= 0x20 && c < 0x7f && c != '"' && c != '\\' }
