package certs

import "sync"

// signal tells any number of waiters that something has changed. The zero value is ready.
type signal struct {
	mu sync.Mutex
	c  chan struct{}
}

// wait gives what is closed at the next change.
func (s *signal) wait() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.c == nil {
		s.c = make(chan struct{})
	}
	return s.c
}

func (s *signal) say() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.c != nil {
		close(s.c)
		s.c = nil
	}
}
