// Package acmeserver lets any server of a data centre have its certificates from Ruche's own authority by ACME (RFC 8555), with renewal
// information (RFC 9773), certificates for IP addresses (RFC 8738), profiles (draft-ietf-acme-profiles) and account keys that carry rights (external
// account binding). It is an HTTP handler and a loop. All that it keeps stands in three buckets, so any node may answer any request.
package acmeserver
