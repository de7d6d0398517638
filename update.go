package ruche

// Update is what happened in a bucket: a part of the state in which one package writes values of one type under text keys, for others to watch.
type Update[T any] struct {
	// Reset tells that Puts is the whole content, and that keys missing from it are gone.
	Reset bool
	// Puts holds the keys that were written, with their values.
	Puts map[string]T
	// Deletes holds the keys that were removed, ordered.
	Deletes []string
	// Revision is the state's revision after the update; it grows with every write.
	Revision int64
}
