// Package cgi holds what FastCGI and uwsgi have from CGI/1.1 (RFC 3875): the variables that describe a request to a program, and
// the answer that comes back.
//
// Vars builds the variables as nginx's fastcgi_params and uwsgi_params name them. Answer reads an answer from any reader: a
// head in CGI's form or in that of HTTP/1.x, then the body. Nothing here starts goroutines or waits for anything but the reader.
package cgi
