// Package stack runs Ruche as a stack of a Docker Swarm: it makes what such an installation begins with, writes the stack file, and brings a new version
// to one node after the other.
package stack

// hinted is an error that says what to do about it.
type hinted struct {
	error
	hint string
}

// Hint says what to do.
func (h hinted) Hint() string { return h.hint }

// Unwrap returns the cause.
func (h hinted) Unwrap() error { return h.error }
