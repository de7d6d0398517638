package mesh

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
)

const (
	// maxLine bounds a line of a stream. A value of a bucket has at most 1.5 MB.
	maxLine = 4 << 20
	// lineBytes is where a line of several values ends.
	lineBytes = 256 << 10
	// maxUpdate bounds an update, over all of its lines.
	maxUpdate = 512 << 20
)

// line is one line of what a follower is sent: a beat, or what happened in a bucket. What happened may take several lines, all but the last with
// More; it counts when the last was read.
type line struct {
	Beat     *beat                      `json:"beat,omitempty"`
	Bucket   string                     `json:"bucket,omitempty"`
	Reset    bool                       `json:"reset,omitempty"`
	Puts     map[string]json.RawMessage `json:"puts,omitempty"`
	Deletes  []string                   `json:"deletes,omitempty"`
	Revision int64                      `json:"revision,omitempty"`
	More     bool                       `json:"more,omitempty"`
}

// beat tells how the control node is.
type beat struct {
	// Quorum says whether it can write the state.
	Quorum bool `json:"quorum"`
	// Control is where control nodes are.
	Control []string `json:"control"`
}

// writeBatch writes what happened in a bucket. The values are on one line each, and JSON, and are not looked at again, but by change if that is not nil: it gives
// what is written of a line's items, a line at a time, so that nothing of it is kept.
func writeBatch(w io.Writer, buf []byte, bucket string, b batch, change func([]*item) []*item) ([]byte, error) {
	items, first := b.items, true
	for {
		buf = append(buf[:0], `{"bucket":"`...)
		buf = append(buf, bucket...)
		buf = append(buf, '"')
		if b.reset && first {
			buf = append(buf, `,"reset":true`...)
		}
		buf, items = appendItems(buf, items, change)
		buf = append(buf, `,"revision":`...)
		buf = strconv.AppendInt(buf, b.revision, 10)
		if len(items) > 0 {
			buf = append(buf, `,"more":true`...)
		}
		buf = append(buf, '}', '\n')
		if _, err := w.Write(buf); err != nil || len(items) == 0 {
			return buf, err
		}
		first = false
	}
}

// appendItems appends as many items as have room in a line, and gives the others.
func appendItems(buf []byte, items []*item, change func([]*item) []*item) ([]byte, []*item) {
	n, size := 0, 0
	for n < len(items) && (n == 0 || size+len(items[n].value) < lineBytes) {
		size += len(items[n].quoted) + len(items[n].value) + 2
		n++
	}
	said := items[:n]
	if change != nil {
		said = change(said)
	}
	buf = appendList(buf, `,"puts":{`, '}', said, func(i *item) bool { return i.value != nil })
	buf = appendList(buf, `,"deletes":[`, ']', said, func(i *item) bool { return i.value == nil })
	return buf, items[n:]
}

// appendList appends those items that are to be, if there are any: their keys, and their values if they have one.
func appendList(buf []byte, begin string, end byte, items []*item, is func(*item) bool) []byte {
	empty := true
	for _, i := range items {
		if !is(i) {
			continue
		}
		if empty {
			buf = append(buf, begin...)
		} else {
			buf = append(buf, ',')
		}
		empty = false
		buf = append(buf, i.quoted...)
		if i.value != nil {
			buf = append(append(buf, ':'), i.value...)
		}
	}
	if !empty {
		buf = append(buf, end)
	}
	return buf
}

var errLineTooLong = fmt.Errorf("a line has more than %d bytes", maxLine)

// readLine reads one line of a stream.
func readLine(r *bufio.Reader) (line, int, error) {
	var long []byte
	for {
		part, err := r.ReadSlice('\n')
		if len(long)+len(part) > maxLine {
			return line{}, 0, errLineTooLong
		}
		if errors.Is(err, bufio.ErrBufferFull) || len(long) > 0 {
			long = append(long, part...)
			part = long
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if err != nil {
			return line{}, 0, err
		}
		l, err := parseLine(part)
		return l, len(part), err
	}
}

// parseLine reads a line and checks that it is one of the kinds that there are.
func parseLine(data []byte) (line, error) {
	var l line
	if err := json.Unmarshal(data, &l); err != nil {
		return line{}, fmt.Errorf("a line cannot be read: %w", err)
	}
	if (l.Beat == nil) == (l.Bucket == "") {
		return line{}, errors.New("a line is neither a beat nor about a bucket")
	}
	return l, nil
}
