// Package fastcgi is the web server's side of FastCGI 1.0, in the role of the responder: it writes a request in records, and
// takes the program's output out of the records that come back.
//
// Requests are not multiplexed: a connection carries one after the other. The package starts no goroutines and waits for nothing but the
// connection's reads and writes.
package fastcgi
