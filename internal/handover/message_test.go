package handover

import (
	"reflect"
	"strings"
	"testing"
)

func TestDecode(t *testing.T) {
	cases := []struct {
		name, packet string
		descriptors  int
		want         message
		wantErr      string
	}{
		{"a hello", `{"kind":"hello","protocol":1,"version":"1.0"}`, 0, message{Kind: kindHello, Protocol: 1, Version: "1.0"}, ""},
		{"a hello of the future", `{"kind":"hello","protocol":9,"version":"9","moon":{}}`, 0, message{Kind: kindHello, Protocol: 9, Version: "9"}, ""},
		{"a kind of the future", `{"kind":"wave"}`, 0, message{Kind: "wave"}, ""},
		{"sockets", `{"kind":"sockets","sockets":[{"name":"http","address":":80"}],"more":true}`, 1,
			message{Kind: kindSockets, Sockets: []Socket{{"http", ":80"}}, More: true}, ""},
		{"nothing", ``, 0, message{}, "no message"},
		{"no object", `7`, 0, message{}, "no message"},
		{"half", `{"kind":"hel`, 0, message{}, "no message"},
		{"two", `{"kind":"ready"}{}`, 0, message{}, "no message"},
		{"fewer sockets than told", `{"kind":"sockets","sockets":[{"name":"http","address":":80"}]}`, 0, message{}, "1 sockets are described and 0 came"},
		{"more sockets than told", `{"kind":"sockets"}`, 1, message{}, "0 sockets are described and 1 came"},
		{"sockets with a greeting", `{"kind":"hello"}`, 1, message{}, "none belong"},
		{"a socket without a name", `{"kind":"sockets","sockets":[{"address":":80"}]}`, 1, message{}, "without a name"},
		{"a long text", `{"kind":"refuse","reason":"` + strings.Repeat("x", maxText+1) + `"}`, 0, message{}, "more than 1024 bytes"},
		{"a long message", `{"kind":"ready"}` + strings.Repeat(" ", maxMessage), 0, message{}, "more than 65536 bytes"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got, err := decode([]byte(c.packet), c.descriptors)
			if c.wantErr != "" && (err == nil || !strings.Contains(err.Error(), c.wantErr)) || c.wantErr == "" && err != nil {
				t.Fatalf("decode() = %v, want %q", err, c.wantErr)
			}
			if !reflect.DeepEqual(got, c.want) {
				t.Errorf("decode() = %+v, want %+v", got, c.want)
			}
		})
	}
}

// What can be decoded can be sent on and means the same.
func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"kind":"hello","protocol":1,"version":"1.0"}`), 0)
	f.Add([]byte(`{"kind":"sockets","sockets":[{"name":"http","address":":80"}],"more":true}`), 1)
	f.Add([]byte(`{"kind":"abort","reason":"\ud800"}`), 0)
	f.Fuzz(func(t *testing.T, packet []byte, descriptors int) {
		m, err := decode(packet, descriptors)
		if err != nil {
			return
		}
		data, err := m.encode()
		if err != nil {
			return // it may be longer than it was: escapes
		}
		again, err := decode(data, descriptors)
		if err != nil || len(m.Sockets) == 0 != (len(again.Sockets) == 0) {
			t.Fatalf("%q becomes %q, which is %v", packet, data, err)
		}
		if len(m.Sockets) == 0 {
			m.Sockets, again.Sockets = nil, nil
		}
		if !reflect.DeepEqual(m, again) {
			t.Fatalf("%+v became %+v", m, again)
		}
	})
}
