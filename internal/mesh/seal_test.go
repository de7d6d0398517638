package mesh

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// keyLine is a line of a key file: the key number n.
func keyLine(n byte) string {
	return base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{n}, sealKeyBytes)) + "\n"
}

func sealOf(t testing.TB, lines ...string) *Seal {
	t.Helper()
	s, err := parseSeal(strings.Join(lines, ""))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// before is what a release sealed that knew of one key only.
func before(s *Seal, what string, data []byte) []byte {
	return s.keys[0].aead.Seal(nil, nil, data, []byte(what))
}

func TestTheFirstKeySealsAndAllOpen(t *testing.T) {
	one, two, both := sealOf(t, keyLine(1)), sealOf(t, keyLine(2)), sealOf(t, keyLine(2), "\n", keyLine(1), keyLine(2))
	if ids := both.Keys(); len(ids) != 2 || ids[0] != two.Keys()[0] || ids[1] != one.Keys()[0] || len(ids[0]) != 8 {
		t.Errorf("the keys are %v", ids)
	}
	data := []byte("secret")
	for name, c := range map[string]struct {
		sealed       []byte
		by           *Seal
		opens, stale bool
		key          string
	}{
		"by the first":                  {two.Close("x", data), both, true, false, two.Keys()[0]},
		"by itself":                     {both.Close("x", data), both, true, false, two.Keys()[0]},
		"by the second":                 {one.Close("x", data), both, true, true, one.Keys()[0]},
		"by the first, long ago":        {before(two, "x", data), both, true, true, two.Keys()[0]},
		"by the second, long ago":       {before(one, "x", data), both, true, true, one.Keys()[0]},
		"by one that is not here":       {both.Close("x", data), one, false, true, two.Keys()[0]},
		"long ago, by one not here":     {before(two, "x", data), one, false, true, ""},
		"for another thing":             {both.Close("y", data), both, false, false, two.Keys()[0]},
		"with the head of another key":  {slices.Concat([]byte{sealVersion}, one.keys[0].id[:], two.Close("x", data)[sealHead:]), both, false, true, one.Keys()[0]},
		"short":                         {[]byte{sealVersion}, both, false, true, ""},
		"nothing":                       {nil, both, false, true, ""},
		"long ago, and looks like ours": {looksLikeOurs(one, data), both, true, true, one.Keys()[0]},
	} {
		got, err := c.by.Open("x", c.sealed)
		if (err == nil) != c.opens || c.opens && !bytes.Equal(got, data) || err != nil && !errors.Is(err, ErrSeal) {
			t.Errorf("%s: Open() = %q, %v", name, got, err)
		}
		if stale := c.by.Stale(c.sealed); stale != c.stale {
			t.Errorf("%s: Stale() = %v", name, stale)
		}
		id, opens := c.by.KeyOf("x", c.sealed)
		if opens != c.opens || id != c.key {
			t.Errorf("%s: KeyOf() = %q, %v, want %q", name, id, opens, c.key)
		}
		again, err := c.by.Reseal("x", c.sealed)
		if (err == nil) != c.opens || err == nil && c.by.Stale(again) {
			t.Errorf("%s: Reseal() = %v", name, err)
		}
	}
}

// looksLikeOurs gives what the old release sealed with by, as often as it takes to begin with the version. That the ID is a key's too is beyond patience.
func looksLikeOurs(by *Seal, data []byte) []byte {
	for {
		if sealed := before(by, "x", data); sealed[0] == sealVersion {
			return sealed
		}
	}
}

func TestKeysOfSeveralFiles(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	given, own := write("given", keyLine(2)+keyLine(3)), write("own", keyLine(1))
	s, err := ReadSeal(given, own, filepath.Join(dir, "missing"))
	if err != nil || len(s.Keys()) != 3 || s.Keys()[2] != sealOf(t, keyLine(1)).Keys()[0] {
		t.Errorf("ReadSeal() = %v, %v", s, err)
	}
	if _, err := ReadSeal(given, write("bad", "nonsense")); err == nil || !strings.Contains(err.Error(), "bad: line 1") {
		t.Errorf("with a bad file beside it: %v", err)
	}
	if _, err := ReadSeal(write("second", keyLine(1)+"\nnonsense\n")); err == nil || !strings.Contains(err.Error(), "line 3") || strings.Contains(err.Error(), "nonsense") {
		t.Errorf("with a bad line: %v", err)
	}
}

// While a key is being replaced, control nodes have different files for a while.
func TestJoiningWithOtherKeys(t *testing.T) {
	for name, c := range map[string]struct {
		theirs, ours []string
		ok           bool
	}{
		"the same":                      {[]string{keyLine(1)}, []string{keyLine(1)}, true},
		"they have the new one already": {[]string{keyLine(2), keyLine(1)}, []string{keyLine(1)}, true},
		"this node has it already":      {[]string{keyLine(1)}, []string{keyLine(2), keyLine(1)}, true},
		"the old one is gone there":     {[]string{keyLine(2)}, []string{keyLine(2), keyLine(1)}, true},
		"one in common":                 {[]string{keyLine(2), keyLine(1)}, []string{keyLine(3), keyLine(1)}, true},
		"none in common":                {[]string{keyLine(2), keyLine(1)}, []string{keyLine(3)}, false},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t)
			h.seal = sealOf(t, c.theirs...)
			h.join = func(context.Context, string, JoinRequest) (JoinAnswer, error) { return JoinAnswer{}, nil }
			c1 := h.control("c1")
			c2 := h.enrolled("c2", c1, h.token(1, RoleControl), as(RoleControl), func(c *ClientConfig) { c.Address = "192.0.2.2:8901" })
			_, err := c2.Join(t.Context(), JoinRequest{}, sealOf(t, c.ours...))
			if (err == nil) != c.ok || err != nil && !errors.Is(err, ErrSeal) {
				t.Errorf("Join() = %v", err)
			}
		})
	}
}

func FuzzSeal(f *testing.F) {
	seal := sealOf(f, keyLine(2), keyLine(1))
	f.Add(keyLine(1)+keyLine(2), seal.Close("x", []byte("y")))
	f.Add("AA==", before(seal, "x", nil))
	f.Fuzz(func(t *testing.T, text string, sealed []byte) {
		if s, err := parseSeal(text); err == nil {
			if got, err := s.Open("x", s.Close("x", sealed)); err != nil || !bytes.Equal(got, sealed) {
				t.Errorf("what was closed opened as %q, %v", got, err)
			}
		}
		if data, err := seal.Open("x", sealed); err == nil && len(data) > len(sealed) {
			t.Error("more came out than went in")
		}
		seal.KeyOf("x", sealed)
	})
}
