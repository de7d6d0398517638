// Package dns is what the ACME engine needs of DNS: it writes and removes the records of dns-01 at many providers, waits until
// every name server has them, and looks beforehand whether a CA may issue for a name at all (CAA, dns-persist-01, addresses).
//
// Names are fully qualified, in lower case and without the last dot wherever this package is spoken to.
package dns
