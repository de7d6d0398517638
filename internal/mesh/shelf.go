package mesh

import (
	"bytes"
	"container/list"
	"encoding/json"
	"sync"

	"github.com/ruche-project/ruche"
)

// maxGraves is how many deleted keys a shelf remembers.
const maxGraves = 4096

// hub holds the content of several buckets for any number of followers. A follower is a position in time and nothing else: what it has not
// seen yet is found by going back from the newest change, so that a slow one costs no memory, and sees the last value of each key.
type hub struct {
	mu      sync.RWMutex
	shelves map[string]*shelf
	changed chan struct{} // closed when any of them changes
}

// shelf is one bucket.
type shelf struct {
	known    bool // the content was read
	revision int64
	items    map[string]*list.Element // of item, by key
	order    *list.List               // by the time of the last change
	now      uint64                   // counts changes; 0 is before the first
	graves   []grave                  // deleted keys that are remembered, the oldest first
	// forgotten is the time of the newest deletion that is not remembered: who has not seen it must read all.
	forgotten uint64
}

type item struct {
	key     string
	quoted  []byte          // the key as JSON
	value   json.RawMessage // on one line; nil when it was deleted
	changed uint64
}

type grave struct {
	key     string
	changed uint64
}

func newHub(buckets []string) *hub {
	h := &hub{shelves: map[string]*shelf{}, changed: make(chan struct{})}
	for _, name := range buckets {
		h.shelves[name] = &shelf{items: map[string]*list.Element{}, order: list.New()}
	}
	return h
}

// apply takes in what happened in a bucket.
func (h *hub) apply(bucket string, u ruche.Update[json.RawMessage]) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.shelves[bucket]
	s.now++ // before anything: what is known and empty is told apart from what was never seen
	if u.Reset {
		for key, e := range s.items {
			if _, stays := u.Puts[key]; !stays {
				s.remove(key, e)
			}
		}
	}
	for key, v := range u.Puts {
		s.put(key, v)
	}
	for _, key := range u.Deletes {
		if e := s.items[key]; e != nil {
			s.remove(key, e)
		}
	}
	s.known, s.revision = s.known || u.Reset, u.Revision
	s.forget()
	close(h.changed)
	h.changed = make(chan struct{})
}

// settle has a bucket be empty of which nothing is known.
func (h *hub) settle(bucket string) {
	h.mu.RLock()
	known := h.shelves[bucket].known
	h.mu.RUnlock()
	if !known {
		h.apply(bucket, ruche.Update[json.RawMessage]{Reset: true})
	}
}

func (s *shelf) put(key string, v json.RawMessage) {
	if bytes.IndexByte(v, '\n') >= 0 { // outside of text, where it stands for nothing
		v = bytes.ReplaceAll(v, []byte("\n"), []byte(" "))
	}
	e := s.items[key]
	if e == nil {
		quoted, _ := json.Marshal(key) // of a string, cannot fail
		s.items[key] = s.order.PushBack(&item{key: key, quoted: quoted, value: v, changed: s.now})
		return
	}
	if i := e.Value.(*item); !bytes.Equal(i.value, v) {
		// A follower may be reading the item that was there.
		e.Value = &item{key: key, quoted: i.quoted, value: v, changed: s.now}
		s.order.MoveToBack(e)
	}
}

func (s *shelf) remove(key string, e *list.Element) {
	i := e.Value.(*item)
	if i.value == nil {
		return
	}
	e.Value = &item{key: key, quoted: i.quoted, changed: s.now}
	s.order.MoveToBack(e)
	s.graves = append(s.graves, grave{key, s.now})
}

// forget drops the oldest deleted keys.
func (s *shelf) forget() {
	for len(s.graves) > maxGraves {
		g := s.graves[0]
		s.graves = s.graves[1:]
		e := s.items[g.key]
		if e == nil {
			continue
		}
		if i := e.Value.(*item); i.value == nil && i.changed == g.changed { // else the key has come back
			s.order.Remove(e)
			delete(s.items, g.key)
			s.forgotten = g.changed
		}
	}
}

// batch is what a follower has not seen of a bucket.
type batch struct {
	reset    bool
	items    []*item
	revision int64
}

// since gives what happened in a bucket after the time that a follower has seen, 0 for nothing yet, and the time that it has seen then. It reports false
// when there is nothing new, or the bucket was not read yet.
func (h *hub) since(bucket string, seen uint64) (b batch, now uint64, ok bool) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	s := h.shelves[bucket]
	if !s.known || s.now == seen {
		return batch{}, seen, false
	}
	b = batch{reset: seen == 0 || seen < s.forgotten, revision: s.revision}
	for e := s.order.Back(); e != nil; e = e.Prev() {
		i := e.Value.(*item)
		if !b.reset && i.changed <= seen {
			break
		}
		if i.value != nil || !b.reset {
			b.items = append(b.items, i)
		}
	}
	return b, s.now, b.reset || len(b.items) > 0
}

// wait gives what is closed at the next change. It is to be asked for before since.
func (h *hub) wait() <-chan struct{} {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.changed
}

// version is a number that grows with every change of some buckets.
func (h *hub) version(of func(bucket string) bool) (n uint64) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	for name, s := range h.shelves {
		if of(name) {
			n += s.now
		}
	}
	return n
}

// encode gives all that is known of some buckets as a JSON object of objects, by bucket and key, for the disk, and false while one of them is not known.
func (h *hub) encode(of func(bucket string) bool) ([]byte, bool) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	buf := []byte{'{'}
	for name, s := range h.shelves {
		if !of(name) {
			continue
		}
		if !s.known {
			return nil, false
		}
		if len(buf) > 1 {
			buf = append(buf, ',')
		}
		buf = append(append(append(buf, '"'), name...), `":{`...)
		begin := len(buf)
		for e := s.order.Front(); e != nil; e = e.Next() {
			if i := e.Value.(*item); i.value != nil {
				if len(buf) > begin {
					buf = append(buf, ',')
				}
				buf = append(append(append(buf, i.quoted...), ':'), i.value...)
			}
		}
		buf = append(buf, '}')
	}
	return append(buf, '}'), true
}
