package uwsgi_test

import (
	"iter"
	"strings"
	"testing"

	"github.com/ruche-project/ruche/internal/uwsgi"
)

func vars(pairs ...string) iter.Seq2[[]byte, []byte] {
	return func(yield func(name, value []byte) bool) {
		for i := 0; i < len(pairs); i += 2 {
			if !yield([]byte(pairs[i]), []byte(pairs[i+1])) {
				return
			}
		}
	}
}

func TestAppendPacket(t *testing.T) {
	long := strings.Repeat("x", 300)
	for _, tt := range []struct {
		name string
		vars []string
		want string
	}{
		{"none", nil, "\x00\x00\x00\x00"},
		{"two", []string{"A", "bc", "EMPTY", ""}, "\x00\x10\x00\x00" + "\x01\x00A\x02\x00bc" + "\x05\x00EMPTY\x00\x00"},
		{"long", []string{"A", long}, "\x00\x31\x01\x00" + "\x01\x00A\x2c\x01" + long},
	} {
		got, err := uwsgi.AppendPacket([]byte("before"), vars(tt.vars...))
		if err != nil || string(got) != "before"+tt.want {
			t.Errorf("%s: got %q, %v\nwant %q", tt.name, got, err, tt.want)
		}
	}
}

func TestPacketLimit(t *testing.T) {
	value := strings.Repeat("x", 65535-4-1-4-1)
	got, err := uwsgi.AppendPacket(nil, vars("A", value, "B", ""))
	if err != nil || string(got[:4]) != "\x00\xff\xff\x00" || len(got) != 4+65535 {
		t.Errorf("the largest packet has %d bytes, %v", len(got), err)
	}
	for name, v := range map[string]iter.Seq2[[]byte, []byte]{
		"one byte more":   vars("A", value, "B", "x"),
		"a small one":     vars("A", value, "B", "", "C", ""),
		"a large one":     vars("B", "", "A", value+value+value, "C", ""),
		"a large name":    vars(value+value, ""),
		"many small ones": vars(strings.Split(strings.Repeat("A,xxxxxxxxxx,", 10_000), ",")[:20_000]...),
	} {
		got, err := uwsgi.AppendPacket([]byte("before"), v)
		if err == nil || !strings.Contains(err.Error(), "more than 65535; the largest is") || string(got) != "before" {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
	}
}
