package h2

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// wire is a frame as it is sent.
func wire(t Type, f Flags, stream uint32, payload string) string {
	return string(AppendFrameHeader(nil, len(payload), t, f, stream)) + payload
}

// hello is how a connection begins.
func hello() string { return Preface + wire(Settings, 0, 0, "") }

// outcome is an error in the words of tables.
func outcome(err error) string {
	var e Error
	switch {
	case err == nil:
		return "fine"
	case !errors.As(err, &e):
		return err.Error()
	case e.Stream > 0:
		return fmt.Sprintf("stream %d %s", e.Stream, e.Code)
	}
	return e.Code.String()
}

// readAll takes all frames off what is sent in pieces of so many bytes, and returns what they have in them and the first error.
func readAll(send string, piece int) (got []Frame, content string, err error) {
	var r Reader
	var b []byte
	for send != "" {
		k := min(piece, len(send))
		b, send = append(b, send[:k]...), send[k:]
		for {
			f, n, err := r.Next(b)
			if err != nil {
				return got, content, err
			}
			if n == 0 {
				break
			}
			if f.Type == Data {
				content += string(f.Payload)
			}
			if f.Last {
				f.Payload = append([]byte(nil), f.Payload...)
				got = append(got, f)
			}
			b = b[n:]
		}
	}
	return got, content, nil
}

func TestFrames(t *testing.T) {
	long := strings.Repeat("x", MaxFrame)
	tests := []struct{ name, send, want string }{
		{"3.4 preface and SETTINGS", hello(), "fine"},
		{"3.4 another preface", "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n", "PROTOCOL_ERROR"},
		{"3.4 a preface that goes wrong at its end", Preface[:20] + "xxxx", "PROTOCOL_ERROR"},
		{"3.4 no SETTINGS", Preface + wire(Ping, 0, 0, "12345678"), "PROTOCOL_ERROR"},
		{"3.4 HEADERS instead of SETTINGS", Preface + wire(Headers, EndHeaders, 1, ""), "PROTOCOL_ERROR"},
		{"3.4 an acknowledgement instead of SETTINGS", Preface + wire(Settings, Ack, 0, ""), "PROTOCOL_ERROR"},
		{"3.4 an unknown frame instead of SETTINGS", Preface + wire(99, 0, 0, ""), "PROTOCOL_ERROR"},
		{"4.1 the reserved bit is ignored", hello() + wire(Headers, EndHeaders, 1<<31|1, "x"), "fine"},
		{"4.1 an unknown type is ignored", hello() + wire(99, 0xff, 7, "anything"), "fine"},
		{"4.1 unknown flags are ignored", hello() + wire(Ping, 0xf0, 0, "12345678"), "fine"},
		{"4.2 as long as may be", hello() + wire(Data, 0, 1, long), "fine"},
		{"4.2 DATA that is too long", hello() + wire(Data, 0, 1, long+"x"), "FRAME_SIZE_ERROR"},
		{"4.2 HEADERS that are too long", hello() + wire(Headers, EndHeaders, 1, long+"x"), "FRAME_SIZE_ERROR"},
		{"4.2 SETTINGS that are too long", hello() + wire(Settings, 0, 0, long+"xx"), "FRAME_SIZE_ERROR"},
		{"4.2 an unknown frame that is too long", hello() + wire(99, 0, 0, long+"x"), "FRAME_SIZE_ERROR"},
		{"5.1.1 DATA on stream 0", hello() + wire(Data, 0, 0, "x"), "PROTOCOL_ERROR"},
		{"5.1.1 HEADERS on stream 0", hello() + wire(Headers, EndHeaders, 0, "x"), "PROTOCOL_ERROR"},
		{"5.1.1 PRIORITY on stream 0", hello() + wire(Priority, 0, 0, "12345"), "PROTOCOL_ERROR"},
		{"5.1.1 RST_STREAM on stream 0", hello() + wire(RSTStream, 0, 0, "1234"), "PROTOCOL_ERROR"},
		{"6.10 CONTINUATION on stream 0", hello() + wire(Continuation, 0, 0, "x"), "PROTOCOL_ERROR"},
		{"6.5 SETTINGS on a stream", hello() + wire(Settings, 0, 1, ""), "PROTOCOL_ERROR"},
		{"6.7 PING on a stream", hello() + wire(Ping, 0, 1, "12345678"), "PROTOCOL_ERROR"},
		{"6.8 GOAWAY on a stream", hello() + wire(GoAway, 0, 1, "12345678"), "PROTOCOL_ERROR"},
		{"6.1 no content", hello() + wire(Data, EndStream, 1, ""), "fine"},
		{"6.1 padding", hello() + wire(Data, Padded, 1, "\x03abc\x00\x00\x00"), "fine"},
		{"6.1 padding alone", hello() + wire(Data, Padded, 1, "\x03\x00\x00\x00"), "fine"},
		{"6.1 padding of length 0", hello() + wire(Data, Padded, 1, "\x00abc"), "fine"},
		{"6.1 as much padding as payload", hello() + wire(Data, Padded, 1, "\x04abc"), "PROTOCOL_ERROR"},
		{"6.1 more padding than payload", hello() + wire(Data, Padded, 1, "\xff"), "PROTOCOL_ERROR"},
		{"6.1 padding without its length", hello() + wire(Data, Padded, 1, ""), "FRAME_SIZE_ERROR"},
		{"6.2 padding and priority", hello() + wire(Headers, EndHeaders|Padded|HasPriority, 3, "\x02\x00\x00\x00\x01\x10block\x00\x00"), "fine"},
		{"6.2 padding of a whole head", hello() + wire(Headers, EndHeaders|Padded, 3, "\x05\x00\x00\x00\x00\x00"), "fine"},
		{"6.2 more padding than there is room for", hello() + wire(Headers, EndHeaders|Padded, 3, "\x06\x00\x00\x00\x00\x00"), "PROTOCOL_ERROR"},
		{"6.2 padding that reaches into the priority", hello() + wire(Headers, EndHeaders|Padded|HasPriority, 3, "\x01\x00\x00\x00\x01\x10"), "PROTOCOL_ERROR"},
		{"6.2 padding without its length", hello() + wire(Headers, EndHeaders|Padded, 3, ""), "FRAME_SIZE_ERROR"},
		{"6.2 a priority that is cut off", hello() + wire(Headers, EndHeaders|HasPriority, 3, "\x00\x00\x00\x01"), "FRAME_SIZE_ERROR"},
		{"6.2 a head that depends on itself", hello() + wire(Headers, EndHeaders|HasPriority, 3, "\x80\x00\x00\x03\x10"), "PROTOCOL_ERROR"},
		{"6.2 DATA within a header block", hello() + wire(Headers, 0, 1, "x") + wire(Data, 0, 1, "x"), "PROTOCOL_ERROR"},
		{"6.2 PING within a header block", hello() + wire(Headers, 0, 1, "x") + wire(Ping, 0, 0, "12345678"), "PROTOCOL_ERROR"},
		{"6.2 an unknown frame within a header block", hello() + wire(Headers, 0, 1, "x") + wire(99, 0, 1, ""), "PROTOCOL_ERROR"},
		{"6.2 another head within a header block", hello() + wire(Headers, 0, 1, "x") + wire(Headers, EndHeaders, 3, ""), "PROTOCOL_ERROR"},
		{"6.3 PRIORITY", hello() + wire(Priority, 0, 3, "\x00\x00\x00\x01\x10"), "fine"},
		{"6.3 PRIORITY of 4 bytes", hello() + wire(Priority, 0, 3, "1234"), "stream 3 FRAME_SIZE_ERROR"},
		{"6.3 PRIORITY of 6 bytes", hello() + wire(Priority, 0, 3, "123456"), "stream 3 FRAME_SIZE_ERROR"},
		{"6.3 PRIORITY that depends on itself", hello() + wire(Priority, 0, 3, "\x00\x00\x00\x03\x10"), "stream 3 PROTOCOL_ERROR"},
		{"6.4 RST_STREAM", hello() + wire(RSTStream, 0, 1, "\x00\x00\x00\x08"), "fine"},
		{"6.4 RST_STREAM of 3 bytes", hello() + wire(RSTStream, 0, 1, "123"), "FRAME_SIZE_ERROR"},
		{"6.4 RST_STREAM of 5 bytes", hello() + wire(RSTStream, 0, 1, "12345"), "FRAME_SIZE_ERROR"},
		{"6.5 SETTINGS", hello() + wire(Settings, 0, 0, "\x00\x04\x00\x00\x10\x00"), "fine"},
		{"6.5 an acknowledgement", hello() + wire(Settings, Ack, 0, ""), "fine"},
		{"6.5 an acknowledgement with settings", hello() + wire(Settings, Ack, 0, "123456"), "FRAME_SIZE_ERROR"},
		{"6.5 SETTINGS of 5 bytes", hello() + wire(Settings, 0, 0, "12345"), "FRAME_SIZE_ERROR"},
		{"6.5 first SETTINGS of 7 bytes", Preface + wire(Settings, 0, 0, "1234567"), "FRAME_SIZE_ERROR"},
		{"6.6 PUSH_PROMISE", hello() + wire(PushPromise, EndHeaders, 1, "\x00\x00\x00\x02"), "PROTOCOL_ERROR"},
		{"6.7 PING", hello() + wire(Ping, 0, 0, "12345678"), "fine"},
		{"6.7 PING of 7 bytes", hello() + wire(Ping, 0, 0, "1234567"), "FRAME_SIZE_ERROR"},
		{"6.7 PING of 9 bytes", hello() + wire(Ping, Ack, 0, "123456789"), "FRAME_SIZE_ERROR"},
		{"6.8 GOAWAY", hello() + wire(GoAway, 0, 0, "\x00\x00\x00\x00\x00\x00\x00\x00bye"), "fine"},
		{"6.8 GOAWAY of 7 bytes", hello() + wire(GoAway, 0, 0, "1234567"), "FRAME_SIZE_ERROR"},
		{"6.9 WINDOW_UPDATE", hello() + wire(WindowUpdate, 0, 1, "\x00\x00\x00\x01"), "fine"},
		{"6.9 WINDOW_UPDATE of the connection", hello() + wire(WindowUpdate, 0, 0, "\x7f\xff\xff\xff"), "fine"},
		{"6.9 WINDOW_UPDATE by 0", hello() + wire(WindowUpdate, 0, 1, "\x00\x00\x00\x00"), "stream 1 PROTOCOL_ERROR"},
		{"6.9 WINDOW_UPDATE by 0 and the reserved bit", hello() + wire(WindowUpdate, 0, 1, "\x80\x00\x00\x00"), "stream 1 PROTOCOL_ERROR"},
		{"6.9 WINDOW_UPDATE of the connection by 0", hello() + wire(WindowUpdate, 0, 0, "\x00\x00\x00\x00"), "PROTOCOL_ERROR"},
		{"6.9 WINDOW_UPDATE of 3 bytes", hello() + wire(WindowUpdate, 0, 1, "123"), "FRAME_SIZE_ERROR"},
		{"6.10 CONTINUATION", hello() + wire(Headers, 0, 1, "x") + wire(Continuation, 0, 1, "y") + wire(Continuation, EndHeaders, 1, "z"), "fine"},
		{"6.10 CONTINUATION of another stream", hello() + wire(Headers, 0, 1, "x") + wire(Continuation, EndHeaders, 3, "y"), "PROTOCOL_ERROR"},
		{"6.10 CONTINUATION of nothing", hello() + wire(Continuation, EndHeaders, 1, "x"), "PROTOCOL_ERROR"},
		{"6.10 CONTINUATION behind a whole head", hello() + wire(Headers, EndHeaders, 1, "x") + wire(Continuation, EndHeaders, 1, "y"), "PROTOCOL_ERROR"},
		{"6.10 CONTINUATION behind DATA", hello() + wire(Data, 0, 1, "x") + wire(Continuation, EndHeaders, 1, "y"), "PROTOCOL_ERROR"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, piece := range []int{1 << 20, 1, 2, 7, 1000} {
				if len(tt.send) > 1000 && piece < 1000 {
					continue
				}
				if _, _, err := readAll(tt.send, piece); outcome(err) != tt.want {
					t.Errorf("in pieces of %d: %s (%v), want %s", piece, outcome(err), err, tt.want)
				}
			}
		})
	}
}

// However content comes, it is the same, and all of a frame uses up the windows.
func TestContentInPieces(t *testing.T) {
	send := hello() + wire(Data, Padded, 1, "\x04hello \x00\x00\x00\x00") + wire(Data, 0, 1, "") + wire(Data, EndStream|Padded, 1, "\x00world")
	for piece := 1; piece <= len(send); piece++ {
		var r Reader
		content, used, ends := "", 0, 0
		for b, rest := "", send; rest != ""; {
			k := min(piece, len(rest))
			b, rest = b+rest[:k], rest[k:]
			for {
				f, n, err := r.Next([]byte(b))
				if err != nil {
					t.Fatal(err)
				}
				if n == 0 {
					break
				}
				b = b[n:]
				if f.Type == Data {
					content += string(f.Payload)
					used += f.Used
					if f.Last && f.Flags&EndStream != 0 {
						ends++
					}
				}
			}
		}
		if content != "hello world" || used != 11+6 || ends != 1 {
			t.Errorf("in pieces of %d: %q, %d bytes of the window, %d ends", piece, content, used, ends)
		}
	}
}

func TestPartial(t *testing.T) {
	for _, tt := range []struct {
		name, send string
		want       bool
	}{
		{"nothing", "", true},
		{"half a preface", Preface[:9], true},
		{"a preface", Preface, true},
		{"the beginning", hello(), false},
		{"half a header", hello() + wire(Ping, 0, 0, "12345678")[:5], true},
		{"half a PING", hello() + wire(Ping, 0, 0, "12345678")[:12], true},
		{"half a header block", hello() + wire(Headers, 0, 1, "x"), true},
		{"half of the content", hello() + wire(Data, 0, 1, "hello")[:11], false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var r Reader
			b := []byte(tt.send)
			for {
				_, n, err := r.Next(b)
				if err != nil {
					t.Fatal(err)
				}
				if n == 0 {
					break
				}
				b = b[n:]
			}
			if got := r.Partial(len(b)); got != tt.want {
				t.Errorf("partial: %t, want %t", got, tt.want)
			}
		})
	}
}

func TestSettings(t *testing.T) {
	for _, tt := range []struct {
		name    string
		setting Setting
		value   uint32
		want    string
	}{
		{"6.5.2 no push", EnablePush, 0, "fine"},
		{"6.5.2 push", EnablePush, 1, "fine"},
		{"6.5.2 ENABLE_PUSH 2", EnablePush, 2, "PROTOCOL_ERROR"},
		{"6.5.2 the largest window", InitialWindowSize, MaxWindow, "fine"},
		{"6.5.2 a window of 0", InitialWindowSize, 0, "fine"},
		{"6.5.2 a window that none is", InitialWindowSize, MaxWindow + 1, "FLOW_CONTROL_ERROR"},
		{"6.5.2 the smallest frame", MaxFrameSize, 16384, "fine"},
		{"6.5.2 the largest frame", MaxFrameSize, 1<<24 - 1, "fine"},
		{"6.5.2 a frame that is too small", MaxFrameSize, 16383, "PROTOCOL_ERROR"},
		{"6.5.2 a frame that is too large", MaxFrameSize, 1 << 24, "PROTOCOL_ERROR"},
		{"6.5.2 a table of 0", HeaderTableSize, 0, "fine"},
		{"6.5.2 no streams", MaxConcurrentStreams, 0, "fine"},
		{"6.5.2 a list of headers", MaxHeaderListSize, 1 << 31, "fine"},
		{"6.5.2 unknown", 999, 1<<32 - 1, "fine"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			payload := AppendSettings(nil, SettingValue{tt.setting, tt.value})[FrameHeaderLen:]
			n := 0
			err := EachSetting(payload, func(s Setting, value uint32) error {
				if n++; s != tt.setting || value != tt.value {
					t.Errorf("got %d: %d", s, value)
				}
				return nil
			})
			if outcome(err) != tt.want || (n == 1) != (err == nil) {
				t.Errorf("%s, %d settings, want %s", outcome(err), n, tt.want)
			}
		})
	}
	stop := errors.New("stop")
	if err := EachSetting(make([]byte, 12), func(Setting, uint32) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("got %v, want the error of the callback", err)
	}
}

func TestWindow(t *testing.T) {
	for _, tt := range []struct {
		name string
		from Window
		add  int64
		want Window
		ok   bool
	}{
		{"6.9.1 more", 10, 5, 15, true},
		{"6.9.1 up to the largest", 1, MaxWindow - 1, MaxWindow, true},
		{"6.9.1 beyond the largest", 1, MaxWindow, 1, false},
		{"6.9.2 less", 10, -5, 5, true},
		{"6.9.2 below zero", 10, -65535, -65525, true},
		{"6.9.2 out of the depth", -10, 20, 10, true},
		{"6.9.2 as deep as can be", 0, -MaxWindow, -MaxWindow, true},
		{"6.9.2 deeper", -1, -MaxWindow, -1, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := tt.from
			if ok := w.Add(tt.add); ok != tt.ok || w != tt.want {
				t.Errorf("%d, %t, want %d, %t", w, ok, tt.want, tt.ok)
			}
		})
	}
}
