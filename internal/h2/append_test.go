package h2

import (
	"fmt"
	"strings"
	"testing"

	"golang.org/x/net/http2/hpack"
)

// unpack reads frames of a head as a client does.
func unpack(t *testing.T, b []byte, most int) (fields []string, flags Flags) {
	t.Helper()
	var all []byte
	for first := true; len(b) > 0; first = false {
		length, kind, f := int(b[0])<<16|int(b[1])<<8|int(b[2]), Type(b[3]), Flags(b[4])
		if (kind == Headers) != first || !first && kind != Continuation || length > most || b[8] != 5 {
			t.Fatalf("a frame of type %d and %d bytes on stream %d", kind, length, b[8])
		}
		if first {
			flags = f &^ EndHeaders
		}
		if all = append(all, b[9:9+length]...); (f&EndHeaders != 0) != (len(b) == 9+length) {
			t.Fatal("the block does not end where it should")
		}
		b = b[9+length:]
	}
	list, err := hpack.NewDecoder(4096, nil).DecodeFull(all)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range list {
		fields = append(fields, f.Name+": "+f.Value)
	}
	return fields, flags
}

func TestAnswerHeads(t *testing.T) {
	long := strings.Repeat("y", 300)
	for _, tt := range []struct {
		name   string
		status int
		fields []string
		most   int
	}{
		{"8.3.2 a status that the table has", 200, nil, MaxFrame},
		{"8.3.2 each of them", 404, nil, MaxFrame},
		{"8.3.2 another", 418, nil, MaxFrame},
		{"names that the table has", 200, []string{"content-type: text/plain", "date: now", "set-cookie: a=b", "set-cookie: c=d", "www-authenticate: Basic"}, MaxFrame},
		{"names that it has not", 200, []string{"x: y", "x-request-id: 1", strings.Repeat("n", 200) + ": y", "e:"}, MaxFrame},
		{"a value that is long", 200, []string{"x: " + long, "y: " + strings.Repeat(long, 60)}, 1 << 20},
		{"6.10 more than a frame", 200, []string{"x: " + long, "y: " + long}, 100},
		{"6.10 a frame to the last byte", 200, []string{"x: " + strings.Repeat("y", 94)}, 99},
		{"6.10 one byte more", 200, []string{"x: " + strings.Repeat("y", 95)}, 99},
	} {
		t.Run(tt.name, func(t *testing.T) {
			out := append([]byte(nil), "before"...)
			start := len(out)
			out = AppendStatus(BeginHeaders(out), tt.status)
			want := []string{fmt.Sprintf(":status: %d", tt.status)}
			for _, line := range tt.fields {
				name, value, _ := strings.Cut(line, ":")
				value = strings.TrimPrefix(value, " ")
				out = AppendField(out, []byte(strings.ToUpper(name)), []byte(value))
				want = append(want, name+": "+value)
			}
			out = AppendIntField(out, "content-length", 1<<40)
			want = append(want, "content-length: 1099511627776")
			out = EndHeadersFrame(out, start, EndStream, 5, tt.most)
			got, flags := unpack(t, out[start:], tt.most)
			if strings.Join(got, "\n") != strings.Join(want, "\n") || flags != EndStream || string(out[:start]) != "before" {
				t.Errorf("got %q with the flags %x, want %q", got, flags, want)
			}
		})
	}
}

// The table of names is that of the RFC.
func TestStaticNames(t *testing.T) {
	d := hpack.NewDecoder(4096, nil)
	for index := 1; index <= 61; index++ {
		list, err := d.DecodeFull([]byte{0x80 | byte(index)})
		if err != nil || len(list) != 1 {
			t.Fatal(err)
		}
		if got := staticIndex(list[0].Name); got != 0 && got != index {
			t.Errorf("%s is %d, want %d", list[0].Name, got, index)
		}
	}
	for status := 100; status < 600; status++ {
		list, err := d.DecodeFull(AppendStatus(nil, status))
		if err != nil || len(list) != 1 || list[0].Name != ":status" || list[0].Value != fmt.Sprint(status) {
			t.Errorf("%d: %v, %v", status, list, err)
		}
	}
}

func TestControlFrames(t *testing.T) {
	for _, tt := range []struct {
		name string
		got  []byte
		want string
	}{
		{"6.4 RST_STREAM", AppendRSTStream(nil, 3, Cancel), wire(RSTStream, 0, 3, "\x00\x00\x00\x08")},
		{"6.5 SETTINGS", AppendSettings(nil, SettingValue{MaxConcurrentStreams, 250}, SettingValue{InitialWindowSize, 1 << 20}), wire(Settings, 0, 0, "\x00\x03\x00\x00\x00\xfa\x00\x04\x00\x10\x00\x00")},
		{"6.5 an acknowledgement", AppendSettingsAck(nil), wire(Settings, Ack, 0, "")},
		{"6.7 PING", AppendPing(nil, Ack, [8]byte{1, 2, 3, 4, 5, 6, 7, 8}), wire(Ping, Ack, 0, "\x01\x02\x03\x04\x05\x06\x07\x08")},
		{"6.8 GOAWAY", AppendGoAway(nil, 7, EnhanceYourCalm, "calm"), wire(GoAway, 0, 0, "\x00\x00\x00\x07\x00\x00\x00\x0bcalm")},
		{"6.9 WINDOW_UPDATE", AppendWindowUpdate(nil, 0, 65536), wire(WindowUpdate, 0, 0, "\x00\x01\x00\x00")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if string(tt.got) != tt.want {
				t.Errorf("%x, want %x", tt.got, tt.want)
			}
		})
	}
	if got := Code(99).String(); got != "code 99" {
		t.Errorf("an unknown code is called %q", got)
	}
}
