package ruche

import (
	"encoding/json"
	"errors"
)

// What a bucket answers when the key is not as the caller expects.
var (
	ErrNotFound = errors.New("not found")
	ErrExists   = errors.New("it exists already")
	ErrConflict = errors.New("it was changed meanwhile")
)

// Entry is a value of a bucket with its key. A bucket is a part of the state in which one package writes values of one type under text keys,
// for others to watch.
type Entry[T any] struct {
	Key   string
	Value T
	// Revision is the state's revision at which the value was written; it grows with every write.
	Revision int64
}

// Update is what happened in a bucket.
type Update[T any] struct {
	// Reset tells that Puts is the whole content, and that keys missing from it are gone.
	Reset bool
	// Puts holds the keys that were written, with their values.
	Puts map[string]T
	// Deletes holds the keys that were removed, ordered.
	Deletes []string
	// Revision is the state's revision after the update.
	Revision int64
}

// Change is one write: the new value of a key in JSON, or nil to remove the key.
type Change struct {
	Bucket string          `json:"bucket"`
	Key    string          `json:"key"`
	Value  json.RawMessage `json:"value,omitempty"`
}
