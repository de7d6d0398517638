// Package ruche holds the nouns that the subsystems of Ruche exchange: what was declared
// (Workload, Declaration, Route), what is live (Endpoint), what went wrong (Diagnostic), and
// what is shown to people (RouteStatus, Explanation).
//
// It imports the standard library only, does no I/O and starts no goroutine. A noun lives here
// only when two subsystems exchange it; everything else stays in the package that owns it.
package ruche
