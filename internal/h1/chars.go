package h1

import (
	"encoding/binary"
	"math/bits"
)

// What a byte may be part of: the bits of class.
const (
	isToken      = 1 << iota // of a token (RFC 9110 section 5.6.2): method, field name, connection option
	isHost                   // of a host name: what RFC 3986 calls unreserved
	isHex                    // of a hexadecimal number
	isUnderscore             // an underscore
)

// class has the bits of every byte. It is a string because a string can be a constant.
const class = "" +
	"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00" + // 0x00
	"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00" + // 0x10
	"\x00\x01\x00\x01\x01\x01\x01\x01\x00\x00\x01\x01\x00\x03\x03\x00" + // 0x20
	"\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x00\x00\x00\x00\x00\x00" + // 0x30
	"\x00\x07\x07\x07\x07\x07\x07\x03\x03\x03\x03\x03\x03\x03\x03\x03" + // 0x40
	"\x03\x03\x03\x03\x03\x03\x03\x03\x03\x03\x03\x00\x00\x00\x01\x0b" + // 0x50
	"\x01\x07\x07\x07\x07\x07\x07\x03\x03\x03\x03\x03\x03\x03\x03\x03" + // 0x60
	"\x03\x03\x03\x03\x03\x03\x03\x03\x03\x03\x03\x00\x01\x00\x03\x00" + // 0x70
	half

// half is the table of 128 bytes that are part of nothing: those that are not ASCII.
const half = "" +
	"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00" +
	"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00" +
	"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00" +
	"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00" +
	"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00" +
	"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00" +
	"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00" +
	"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// text returns the index of the first byte of b, from i on, that no field value has (RFC 9110 section 5.5), which CR and LF are the usual
// ones of: any control byte but the tab. It returns len(b) when there is none.
//
// Eight bytes are looked at together. Subtracting 0x20 from every byte borrows from the high bit of those that are smaller, and adding
// one to the lower seven bits reaches it from 0x7f. A borrow may reach the bytes above, but the lowest one found is always right.
func text(b []byte, i int) int {
	for i+8 <= len(b) {
		x := binary.LittleEndian.Uint64(b[i:])
		found := ((x - 0x20*ones) | (x&^highs + ones)) &^ x & highs
		if found == 0 {
			i += 8
			continue
		}
		i += bits.TrailingZeros64(found) >> 3
		if b[i] != '\t' {
			return i
		}
		i++
	}
	for i < len(b) && (b[i] >= 0x20 && b[i] != 0x7f || b[i] == '\t') {
		i++
	}
	return i
}

// solid reports whether no byte of b is whitespace, '#' or a control byte other than DEL, which text finds.
func solid(b []byte) bool {
	for len(b) >= 8 {
		x := binary.LittleEndian.Uint64(b)
		y := x ^ '#'*ones
		if ((x-0x21*ones)&^x|(y-ones)&^y)&highs != 0 {
			return false
		}
		b = b[8:]
	}
	for _, c := range b {
		if c <= ' ' || c == '#' {
			return false
		}
	}
	return true
}

// only reports whether all bytes of b have the bit, and there is at least one.
func only(b []byte, bit byte) bool {
	for _, c := range b {
		if class[c]&bit == 0 {
			return false
		}
	}
	return len(b) > 0
}

// ValidTarget reports whether b has nothing that ends a request target, or is no part of one: whitespace, control bytes, a fragment.
func ValidTarget(b []byte) bool { return solid(b) }

// ValidFieldName reports whether a field can have this name (RFC 9110 section 5.1).
func ValidFieldName(name []byte) bool { return only(name, isToken) }

// ValidFieldValue reports whether a field can have this value (RFC 9110 section 5.5). Whitespace around it is allowed, and ignored by readers.
func ValidFieldValue(value []byte) bool { return text(value, 0) == len(value) }

// plainName returns the index of the first byte from i on that is not of a field name without underscores, if that is a colon, else -1.
// Letters and dashes are looked at eight together.
func plainName(b []byte, i int) int {
	for i+8 <= len(b) {
		x := binary.LittleEndian.Uint64(b[i:])
		small := (x | 0x20*ones) &^ highs
		letters := (small + (0x80-'a')*ones) &^ (small + (0x80-'z'-1)*ones)
		dashes := ^((x&^highs ^ '-'*ones) + 0x7f*ones)
		found := ^((letters | dashes) &^ x) & highs
		if found == 0 {
			i += 8
			continue
		}
		i += bits.TrailingZeros64(found) >> 3
		if c := b[i]; c == ':' {
			return i
		} else if class[c]&(isToken|isUnderscore) != isToken {
			return -1
		}
		i++
	}
	return -1
}

func blank(c byte) bool { return c == ' ' || c == '\t' }

// trim returns b without the spaces and tabs around it.
func trim(b []byte) []byte {
	for len(b) > 0 && blank(b[0]) {
		b = b[1:]
	}
	for len(b) > 0 && blank(b[len(b)-1]) {
		b = b[:len(b)-1]
	}
	return b
}

// fold reports whether b, which has no control bytes, is lower, of which the letters may be written large. lower has only small letters,
// digits and dashes: the bit that makes letters small is set in all of them.
func fold(b []byte, lower string) bool {
	n := len(lower)
	if len(b) != n {
		return false
	}
	if n < 8 {
		for i := range n {
			if b[i]|0x20 != lower[i] {
				return false
			}
		}
		return true
	}
	for i := 0; i < n-8; i += 8 {
		if binary.LittleEndian.Uint64(b[i:])|0x20*ones != word(lower[i:]) {
			return false
		}
	}
	return binary.LittleEndian.Uint64(b[n-8:])|0x20*ones == word(lower[n-8:])
}

// word is binary.LittleEndian.Uint64 for a string.
func word(s string) uint64 {
	_ = s[7]
	return uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
		uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
}

// item takes the first element off a list (RFC 9110 section 5.6.1). It may be empty.
func item(list []byte) (first, rest []byte) {
	for i, c := range list {
		if c == ',' {
			return trim(list[:i]), list[i+1:]
		}
	}
	return trim(list), nil
}

// SameFold reports whether a and b are the same but for the case of ASCII letters.
func SameFold(a, b []byte) bool {
	if len(a) != len(b) {
		return false
	}
	for i, c := range a {
		if Lower(c) != Lower(b[i]) {
			return false
		}
	}
	return true
}

// Lower is a letter of ASCII in lower case, and any other byte as it is.
func Lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c | 0x20
	}
	return c
}
