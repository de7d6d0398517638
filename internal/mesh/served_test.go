package mesh

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/ruche-project/ruche"
)

// servedOf makes a row of an edge with so many names, each with one value.
func servedOf(field string, count int, value string) json.RawMessage {
	var b strings.Builder
	for i := range count {
		fmt.Fprintf(&b, `,"n%d.example":%s`, i, value)
	}
	return raw(`{"node":"edge-1","` + field + `":{` + strings.TrimPrefix(b.String(), ",") + `}}`)
}

// TestHowMuchAnEdgeMayTell has an edge write what is too much, or of another shape: it is told which limit that is beyond, and the state stays as it is.
func TestHowMuchAnEdgeMayTell(t *testing.T) {
	h := newHouse(t)
	c := h.control("c1")
	edge := h.enrolled("edge-1", c, h.token(1, RoleEdge))
	const good, seen = `{"kind":"acme"}`, `{"seen":"2027-01-01T00:00:00Z"}`
	print64, long := strings.Repeat("0a", 32), strings.Repeat("x", maxServedText+1)
	names := func(name, value string) json.RawMessage {
		return raw(`{"node":"edge-1","names":{"` + name + `":` + value + `}}`)
	}
	for _, tc := range []struct {
		name, key string
		value     json.RawMessage
		want      string // in the refusal; empty: none
	}{
		{"one name", "edge-1", names("*.shop.example", `{"kind":"self-signed","fingerprint":"`+print64+`","not_after":"2027-01-01T00:00:00Z","file":"/certs/a.crt","stopgap":true,"later":[1]}`), ""},
		{"an address, and letters of other scripts", "edge-1", raw(`{"node":"edge-1","names":{"[fd00::1]":` + good + `,"bücher.example":` + good + `}}`), ""},
		{"as many as have room", "edge-1/15", servedOf("names", ServedNames, good), ""},
		{"one more", "edge-1/2", servedOf("names", ServedNames+1, good), "at most 4000"},
		{"one row more", "edge-1/16", names("a.example", good), "at most 16 rows"},
		{"a number in another form", "edge-1/01", names("a.example", good), "the key of a row"},
		{"a key that is none", "edge-1/x", names("a.example", good), "the key of a row"},
		{"a key below", "edge-1/1/1", names("a.example", good), "the key of a row"},
		{"a key of nothing", "edge-1/", names("a.example", good), "the key of a row"},
		{"what was seen", "edge-1/seen", servedOf("seen", ServedSights, seen), ""},
		{"more that was seen", "edge-1/seen", servedOf("seen", ServedSights+1, seen), "at most 0 and 2000"},
		{"what was seen, among names", "edge-1", servedOf("seen", 1, seen), "at most 4000 and 0"},
		{"names, among what was seen", "edge-1/seen", servedOf("names", 1, good), "at most 0 and 2000"},
		{"many bytes", "edge-1", raw(`{"node":"edge-1","filling":"` + strings.Repeat("x", maxServedBytes) + `"}`), "bytes, at most 1572864"},
		{"a long name", "edge-1", names(strings.Repeat("n", maxServedName+1), good), "no name"},
		{"no name", "edge-1", names("", good), "no name"},
		{"a name with a line's end", "edge-1", names(`a\nb`, good), "no name"},
		{"no kind", "edge-1", names("a.example", `{}`), "kind"},
		{"a kind that is a text", "edge-1", names("a.example", `{"kind":"a text"}`), "kind"},
		{"half a fingerprint", "edge-1", names("a.example", `{"kind":"acme","fingerprint":"0a"}`), "fingerprint"},
		{"a long path", "edge-1", names("a.example", `{"kind":"file","file":"`+long+`"}`), "file"},
		{"a time that is none", "edge-1", names("a.example", `{"kind":"acme","not_after":"soon"}`), "cannot be read"},
		{"a long problem", "edge-1/seen", servedOf("seen", 1, `{"seen":"2027-01-01T00:00:00Z","problem":"`+long+`"}`), "problem"},
	} {
		err := edge.Apply(t.Context(), []ruche.Change{{Bucket: bucketServed, Key: tc.key, Value: tc.value}})
		var refusal *Refusal
		switch {
		case tc.want == "":
			if err != nil {
				t.Errorf("%s: %v", tc.name, err)
			}
		case !errors.As(err, &refusal) || refusal.Reason != ReasonTooLarge || !strings.Contains(refusal.Message, tc.want):
			t.Errorf("%s: %v, want a refusal that tells of %q", tc.name, err, tc.want)
		}
	}
	c.refused(t, "too much", ReasonTooLarge)

	// What is there from before there were limits can be overwritten and removed.
	h.raw(bucketServed).put("edge-1/99", servedOf("names", ServedNames+1, good))
	if err := edge.Apply(t.Context(), []ruche.Change{{Bucket: bucketServed, Key: "edge-1/99"}}); err != nil {
		t.Errorf("removing a row of before: %v", err)
	}
	rows, err := h.raw(bucketServed).List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var keys []string
	for key := range rows {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	if got, want := strings.Join(keys, " "), "edge-1 edge-1/15 edge-1/seen"; got != want {
		t.Errorf("the state has %s, want %s", got, want)
	}
}
