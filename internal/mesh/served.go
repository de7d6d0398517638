package mesh

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// What an edge may tell of what it serves. All of it is in the state, and so on every control node: an edge that is out of its mind must not fill that.
const (
	// ServedRows is how many rows an edge has, ServedNames how many names each of them, and ServedSights how many names may be in the one of what was seen of endpoints.
	ServedRows   = 16
	ServedNames  = 4000
	ServedSights = 2000
	// maxServedBytes bounds a row; the state takes no larger value.
	maxServedBytes = 3 << 19
	// maxServedName bounds a name (RFC 1035 section 2.3.4, with a port and brackets), maxServedText the other texts.
	maxServedName = 270
	maxServedText = 4096
	// servedSeen ends the key of the row with what was seen of endpoints.
	servedSeen = "seen"
)

// servedRow is such a row, as far as it is looked at: vault.Served has what it means. A newer release may have more in it.
type servedRow struct {
	Node  string `json:"node"`
	Names map[string]struct {
		Kind        string    `json:"kind"`
		Fingerprint string    `json:"fingerprint"`
		NotAfter    time.Time `json:"not_after"`
		File        string    `json:"file"`
	} `json:"names"`
	Seen map[string]struct {
		Seen        time.Time `json:"seen"`
		Fingerprint string    `json:"fingerprint"`
		Issuer      string    `json:"issuer"`
		Problem     string    `json:"problem"`
	} `json:"seen"`
}

// checkServed is for what an edge serves: rows under its own name, or that with a slash and more where one row has no room for all.
func checkServed(node, key string, value json.RawMessage) error {
	var s struct {
		Node string `json:"node"`
	}
	if err := decode(value, &s); err != nil {
		return err
	}
	if first, _, _ := strings.Cut(key, "/"); s.Node != node || first != node {
		return errOthers
	}
	return nil
}

// limitServed says what is too much, or of another shape, in a row of what an edge serves.
func limitServed(key string, value json.RawMessage) error {
	_, part, many := strings.Cut(key, "/")
	seen := many && part == servedSeen
	if n, err := strconv.Atoi(part); many && !seen && (err != nil || n < 1 || strconv.Itoa(n) != part) {
		return fmt.Errorf("the key of a row is the name of the node, with /1, /2, ... or /%s", servedSeen)
	} else if n >= ServedRows {
		return fmt.Errorf("an edge has at most %d rows", ServedRows)
	}
	if len(value) > maxServedBytes {
		return fmt.Errorf("it has %d bytes, at most %d have room", len(value), maxServedBytes)
	}
	var row servedRow
	if err := decode(value, &row); err != nil {
		return err
	}
	names, sights := ServedNames, 0
	if seen {
		names, sights = 0, ServedSights
	}
	if len(row.Names) > names || len(row.Seen) > sights {
		return fmt.Errorf("it has %d names and %d that were looked at, at most %d and %d have room", len(row.Names), len(row.Seen), names, sights)
	}
	for name, s := range row.Names {
		if !ServedFits(name, s.Kind, s.Fingerprint, s.File) {
			return fmt.Errorf("what it says of %.100q is no name (%d bytes), kind, fingerprint or file (%d bytes)", name, maxServedName, maxServedText)
		}
	}
	for name, s := range row.Seen {
		if !isServedName(name) || !isFingerprint(s.Fingerprint) || !isText(s.Issuer) || !isText(s.Problem) {
			return fmt.Errorf("what it says of %.100q is no name (%d bytes), fingerprint, issuer or problem (%d bytes)", name, maxServedName, maxServedText)
		}
	}
	return nil
}

// ServedFits reports whether control nodes take what an edge says of a name: its kind, fingerprint and file are those of its certificate.
func ServedFits(name, kind, fingerprint, file string) bool {
	return isServedName(name) && isWord(kind) && isFingerprint(fingerprint) && isText(file)
}

// isServedName reports whether a text can be a host, or host and port. Hosts of routes may have any letters.
func isServedName(s string) bool {
	return s != "" && len(s) <= maxServedName && !strings.ContainsFunc(s, func(c rune) bool { return unicode.IsSpace(c) || !unicode.IsPrint(c) })
}

// isWord reports whether a text can be the kind of a certificate. Which ones there are is not for this release alone to say.
func isWord(s string) bool {
	return s != "" && len(s) <= 32 && !strings.ContainsFunc(s, func(c rune) bool { return c != '-' && (c < 'a' || c > 'z') })
}

// isFingerprint reports whether a text is an SHA-256 in hexadecimal digits, or empty.
func isFingerprint(s string) bool {
	return (s == "" || len(s) == 64) && !strings.ContainsFunc(s, func(c rune) bool { return (c < '0' || c > '9') && (c < 'a' || c > 'f') })
}

func isText(s string) bool { return len(s) <= maxServedText }
