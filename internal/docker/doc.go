// Package docker speaks to one Docker Engine and gives what it says in plain types of its own: containers,
// networks and events. It is the only importer of the Engine's client library, so that the rest of Ruche knows
// neither its types nor its versions.
//
// The API version is negotiated with the Engine (1.40 and up). Every call is bounded by a timeout, except the
// stream of events, which lives as long as its context.
package docker
