// Package e2e holds the scenarios: the built binary against real Docker Engines. They are behind the build tag e2e and
// need root; "make e2e" runs them.
package e2e
