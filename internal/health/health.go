// Package health keeps the standing warnings of this process: things that are wrong now, each under
// a stable code, until whoever raised it clears it again.
package health

import (
	"cmp"
	"slices"
	"sync"

	"github.com/ruche-project/ruche"
)

// Registry holds the standing warnings. It is safe for concurrent use; the zero value is ready.
type Registry struct {
	mu       sync.Mutex
	warnings map[key]ruche.Warning
}

type key struct {
	code    ruche.Code
	subject string
}

// Set raises w, or replaces the warning of the same code and subject. It reports whether the warning
// is new, so that the caller logs it once and not at every retry.
func (r *Registry) Set(w ruche.Warning) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.warnings == nil {
		r.warnings = make(map[key]ruche.Warning)
	}
	k := key{w.Code, w.Subject}
	_, stood := r.warnings[k]
	r.warnings[k] = w
	return !stood
}

// Clear takes back the warning of this code and subject. It reports whether there was one.
func (r *Registry) Clear(code ruche.Code, subject string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	k := key{code, subject}
	_, stood := r.warnings[k]
	delete(r.warnings, k)
	return stood
}

// List returns the standing warnings, ordered by code and subject.
func (r *Registry) List() []ruche.Warning {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := make([]ruche.Warning, 0, len(r.warnings))
	for _, w := range r.warnings {
		list = append(list, w)
	}
	slices.SortFunc(list, func(a, b ruche.Warning) int {
		return cmp.Or(cmp.Compare(a.Code, b.Code), cmp.Compare(a.Subject, b.Subject))
	})
	return list
}
