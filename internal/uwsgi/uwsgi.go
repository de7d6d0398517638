// Package uwsgi writes the head of a uwsgi request: the packet that describes it.
//
// The rest of an exchange needs no codec. The request's body follows the packet as it is; the answer is read with cgi.Answer, and
// the connection ends with it.
package uwsgi

import (
	"encoding/binary"
	"fmt"
	"iter"
	"math"
)

// AppendPacket appends the packet for a request with these variables, in their order, for the program's ordinary request
// handler (modifiers 0). The variables may take 65,535 bytes together, each with four bytes for its lengths; if they take more, dst is returned as
// it was, with an error.
func AppendPacket(dst []byte, vars iter.Seq2[[]byte, []byte]) ([]byte, error) {
	out := append(dst, 0, 0, 0, 0)
	size, largest := 0, []byte(nil)
	most := 0
	for name, value := range vars {
		n := 2 + len(name) + 2 + len(value)
		if n > most {
			most, largest = n, append(largest[:0], name...)
		}
		if size += n; size > math.MaxUint16 {
			continue // to tell by how much
		}
		out = append(binary.LittleEndian.AppendUint16(out, uint16(len(name))), name...)
		out = append(binary.LittleEndian.AppendUint16(out, uint16(len(value))), value...)
	}
	if size > math.MaxUint16 {
		return dst, fmt.Errorf("cannot describe the request to a uwsgi program: its variables take %d bytes, more than %d; the largest is %.60q with %d",
			size, math.MaxUint16, largest, most)
	}
	binary.LittleEndian.PutUint16(out[len(dst)+1:], uint16(size))
	return out, nil
}
