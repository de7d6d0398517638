// Package match holds the languages in which people say which requests a route takes: the host and
// path patterns of nginx-proxy (VIRTUAL_HOST, VIRTUAL_PATH) and the router rules of Traefik.
//
// It parses and it matches; which of several matching patterns wins is the route table's business.
// Everything parsed is immutable and safe for concurrent use.
package match
