package mesh

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ruche-project/ruche"
)

func raw(s string) json.RawMessage { return json.RawMessage(s) }

// content is all that a hub knows, and whether it knows all.
func content(t *testing.T, h *hub) (all map[string]map[string]json.RawMessage, ok bool) {
	t.Helper()
	data, ok := h.encode(func(string) bool { return true })
	if ok {
		if err := json.Unmarshal(data, &all); err != nil {
			t.Fatal(err)
		}
	}
	return all, ok
}

// assembled reads what was written to a stream, as a replica does.
func assembled(t *testing.T, stream []byte, bucket string) map[string]string {
	t.Helper()
	r := &replica{hub: newHub([]string{bucket})}
	in := bufio.NewReaderSize(bytes.NewReader(stream), 4096)
	var a assembly
	for {
		l, n, err := readLine(in)
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = r.take(&a, l, n)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	all, _ := content(t, r.hub)
	rows := map[string]string{}
	for key, v := range all[bucket] {
		rows[key] = string(v)
	}
	return rows
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	h := newHub([]string{"b"})
	want := map[string]string{}
	puts := map[string]json.RawMessage{}
	for i := range 300 {
		key := fmt.Sprintf("key %d \" \\ <\n\u2028", i)
		puts[key] = raw(fmt.Sprintf("{\n \"a\": %q}", strings.Repeat("v", 7*i)))
		want[key] = fmt.Sprintf("{  \"a\": %q}", strings.Repeat("v", 7*i))
	}
	puts["huge"], want["huge"] = raw(`"`+strings.Repeat("h", 2<<20)+`"`), `"`+strings.Repeat("h", 2<<20)+`"`
	h.apply("b", ruche.Update[json.RawMessage]{Reset: true, Puts: puts})
	var stream bytes.Buffer
	b, seen, ok := h.since("b", 0)
	if !ok || !b.reset {
		t.Fatal("there is nothing to send")
	}
	buf, err := writeBatch(&stream, nil, "b", b, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := assembled(t, stream.Bytes(), "b"); !maps.Equal(got, want) {
		t.Errorf("%d keys were read, want %d", len(got), len(want))
	}
	if n := strings.Count(stream.String(), "\n"); n < 3 {
		t.Errorf("there are %d lines, want several", n)
	}

	h.apply("b", ruche.Update[json.RawMessage]{Puts: map[string]json.RawMessage{"new": raw("1")}, Deletes: []string{"huge", "never was"}})
	h.apply("b", ruche.Update[json.RawMessage]{Puts: map[string]json.RawMessage{"new": raw("2")}, Deletes: slices.Collect(maps.Keys(puts))[:10]})
	b, _, _ = h.since("b", seen)
	if _, err := writeBatch(&stream, buf, "b", b, nil); err != nil {
		t.Fatal(err)
	}
	all, _ := content(t, h)
	got := assembled(t, stream.Bytes(), "b")
	if len(got) != len(all["b"]) || got["new"] != "2" || got["huge"] != "" {
		t.Errorf("%d keys after the changes, want %d", len(got), len(all["b"]))
	}
	empty := newHub([]string{"b"})
	empty.apply("b", ruche.Update[json.RawMessage]{Reset: true})
	b, _, ok = empty.since("b", 0)
	stream.Reset()
	if _, err := writeBatch(&stream, nil, "b", b, nil); err != nil || !ok || stream.String() != `{"bucket":"b","reset":true,"revision":0}`+"\n" {
		t.Errorf("an empty bucket is written as %q, %v", stream.String(), err)
	}
}

func TestAHubForgetsWhatWasDeletedLongAgo(t *testing.T) {
	h := newHub([]string{"b"})
	apply := func(u ruche.Update[json.RawMessage]) { h.apply("b", u) }
	apply(ruche.Update[json.RawMessage]{Reset: true, Puts: map[string]json.RawMessage{"stays": raw("1")}})
	_, early, _ := h.since("b", 0)
	for i := range 3 * maxGraves {
		key := fmt.Sprint(i)
		apply(ruche.Update[json.RawMessage]{Puts: map[string]json.RawMessage{key: raw("1")}})
		apply(ruche.Update[json.RawMessage]{Deletes: []string{key}})
	}
	s := h.shelves["b"]
	if len(s.items) > maxGraves+1 || s.order.Len() != len(s.items) || len(s.graves) > maxGraves {
		t.Errorf("%d items, %d in order, %d graves for one key", len(s.items), s.order.Len(), len(s.graves))
	}
	if b, _, _ := h.since("b", early); !b.reset || len(b.items) != 1 {
		t.Errorf("who was away for long gets reset %v with %d items, want all of the one", b.reset, len(b.items))
	}
	_, late, _ := h.since("b", 0)
	apply(ruche.Update[json.RawMessage]{Puts: map[string]json.RawMessage{"0": raw("2")}})
	if b, _, _ := h.since("b", late); b.reset || len(b.items) != 1 || b.items[0].key != "0" {
		t.Errorf("who was there gets %+v, want one item", b)
	}
	// The same values again are nothing new.
	_, now, _ := h.since("b", 0)
	apply(ruche.Update[json.RawMessage]{Reset: true, Puts: map[string]json.RawMessage{"stays": raw("1"), "0": raw("2")}})
	if b, _, ok := h.since("b", now); ok {
		t.Errorf("the same content again gives %+v", b)
	}
}

func TestLinesThatAreRefused(t *testing.T) {
	for name, stream := range map[string]string{
		"garbage":                     "\x00\x01garbage\n",
		"no object":                   "[]\n",
		"neither":                     "{}\n",
		"both":                        `{"beat":{},"bucket":"b"}` + "\n",
		"a bucket nobody asked for":   `{"bucket":"tokens","reset":true}` + "\n",
		"another in the middle":       `{"bucket":"b","more":true}` + "\n" + `{"bucket":"c"}` + "\n",
		"a beginning in the middle":   `{"bucket":"b","more":true}` + "\n" + `{"bucket":"b","reset":true}` + "\n",
		"a line without an end":       `{"bucket":"b"`,
		"a line that is too long":     `{"bucket":"` + strings.Repeat("b", maxLine) + `"}` + "\n",
		"a line that never ends":      strings.Repeat(" ", maxLine+1),
		"a value that is not closed":  `{"bucket":"b","puts":{"a":{}` + "\n",
		"a number where text belongs": `{"bucket":"b","deletes":[1]}` + "\n",
	} {
		r := &replica{hub: newHub([]string{"b", "c"})}
		in := bufio.NewReaderSize(strings.NewReader(stream), 4096)
		var a assembly
		var err error
		for err == nil {
			var l line
			var n int
			if l, n, err = readLine(in); err == nil && l.Beat == nil {
				err = r.take(&a, l, n)
			}
		}
		if errors.Is(err, io.EOF) && name != "a line without an end" {
			t.Errorf("%s: it was taken", name)
		}
		if _, ok := content(t, r.hub); ok {
			t.Errorf("%s: something became known", name)
		}
	}
}

func FuzzReadLine(f *testing.F) {
	f.Add([]byte(`{"bucket":"b","reset":true,"puts":{"a":{"b":1}},"deletes":["c"],"revision":7}` + "\n"))
	f.Add([]byte(`{"beat":{"quorum":true,"control":["a:1"]}}` + "\n" + `{"bucket":"b","more":true}` + "\n"))
	f.Add([]byte("{}\n\n"))
	f.Fuzz(func(t *testing.T, stream []byte) {
		r := &replica{hub: newHub([]string{"b"})}
		in := bufio.NewReaderSize(bytes.NewReader(stream), 16)
		var a assembly
		for {
			l, n, err := readLine(in)
			if err != nil {
				return
			}
			if (l.Beat == nil) == (l.Bucket == "") {
				t.Fatalf("%+v is neither a beat nor about a bucket", l)
			}
			if l.Beat == nil && r.take(&a, l, n) != nil {
				return
			}
			// What was taken can be written again.
			if b, _, ok := r.hub.since("b", 0); ok {
				var again bytes.Buffer
				if _, err := writeBatch(&again, nil, "b", b, nil); err != nil {
					t.Fatal(err)
				}
				all, _ := content(t, r.hub)
				if got := assembled(t, again.Bytes(), "b"); len(got) != len(all["b"]) {
					t.Fatalf("%q: %d keys were written, %d read", stream, len(all["b"]), len(got))
				}
			}
		}
	})
}

func FuzzParseReplica(f *testing.F) {
	f.Add([]byte("{\"format\":1,\"sha256\":\"44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a\"}\n{}"))
	f.Add([]byte("\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if head, content, err := parseReplica(data); err == nil && (head.Format != 1 || content == nil && !bytes.Contains(data, []byte("null"))) {
			t.Errorf("%q passes as %+v, %v", data, head, content)
		}
	})
}

func TestADamagedReplicaIsFetchedAnew(t *testing.T) {
	h := newHouse(t)
	c := h.control("c1")
	h.endpoints().put("a", at("10.0.0.1"))
	token := h.token(-1, RoleEdge)
	edge := h.client("edge-1", c, token, following(bucketEndpoints))
	stop := h.run(edge.Run)
	h.mirrorOf(edge).await(t, "a", "10.0.0.1")
	stop()
	file := filepath.Join(edge.cfg.Dir, replicaFile)
	good, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file is %v, %v, want mode 0600", info.Mode(), err)
	}
	for name, tc := range map[string]struct {
		data []byte
		ok   bool
	}{
		"as it was":        {good, true},
		"cut":              {good[:len(good)-5], false},
		"a letter changed": {bytes.Replace(good, []byte("10.0.0.1"), []byte("10.0.0.2"), 1), false},
		"a later format":   {bytes.Replace(good, []byte(`"format":1`), []byte(`"format":2`), 1), false},
		"empty":            {nil, false},
		"garbage":          {[]byte("garbage\ngarbage"), false},
	} {
		if err := os.WriteFile(file, tc.data, 0o600); err != nil {
			t.Fatal(err)
		}
		again := h.client("edge-1", c, "", following(bucketEndpoints))
		_, known := content(t, again.replica.hub)
		if known != tc.ok || (len(again.cfg.Health.List()) == 0) != tc.ok {
			t.Errorf("%s: known %v with warnings %v, want known %v", name, known, again.cfg.Health.List(), tc.ok)
		}
		stop := h.run(again.Run)
		h.mirrorOf(again).await(t, "a", "10.0.0.1")
		eventually(t, name+": no warning stands", func() bool { return len(again.cfg.Health.List()) == 0 })
		stop()
	}
}

func TestAFullDiskKeepsNothingFromBeingInForce(t *testing.T) {
	h := newHouse(t)
	c := h.control("c1")
	disk := t.TempDir()
	if err := syscall.Mount("none", disk, "tmpfs", 0, "size=1m"); err != nil {
		t.Skipf("cannot mount a small disk, which needs root: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(disk, 0); err != nil {
			t.Errorf("cannot unmount the small disk: %v", err)
		}
	})
	edge := h.client("edge-1", c, h.token(1, RoleEdge), following(bucketEndpoints), func(c *ClientConfig) { c.Dir = filepath.Join(disk, "mesh") })
	h.run(edge.Run)
	m := h.mirrorOf(edge)
	h.endpoints().put("a", at("10.0.0.1"))
	m.await(t, "a", "10.0.0.1")
	before, _ := edge.keeper.current()
	file := filepath.Join(edge.cfg.Dir, replicaFile)
	eventually(t, "it is written", func() bool { data, _ := os.ReadFile(file); return bytes.Contains(data, []byte("10.0.0.1")) })

	ballast := filepath.Join(disk, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 2<<20), 0o600); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("the disk is not full: %v", err)
	}
	h.endpoints().put("a", at("10.0.0.2"))
	m.await(t, "a", "10.0.0.2")
	h.clock.forward(certificateLifetime*6/10 + time.Minute)
	stands := func(code ruche.Code) func() bool {
		return func() bool {
			return slices.ContainsFunc(edge.cfg.Health.List(), func(w ruche.Warning) bool { return w.Code == code })
		}
	}
	eventually(t, "a warning stands about the replica", stands(ruche.CodeReplicaUnwritten))
	eventually(t, "a warning stands about the certificate", stands(ruche.CodeIdentityUnavailable))
	if now, _ := edge.keeper.current(); now != before {
		t.Error("a certificate is in use that is not on the disk")
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := parseReplica(data); err != nil {
		t.Errorf("what was on the disk is there no more: %v", err)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is written again", func() bool { data, _ := os.ReadFile(file); return bytes.Contains(data, []byte("10.0.0.2")) })
	eventually(t, "the certificate is renewed", func() bool { now, _ := edge.keeper.current(); return now != before })
	eventually(t, "no warning stands", func() bool { return len(edge.cfg.Health.List()) == 0 })
	h.endpoints().put("a", at("10.0.0.3"))
	m.await(t, "a", "10.0.0.3")
}
