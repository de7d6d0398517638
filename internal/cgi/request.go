package cgi

import (
	"fmt"
	"iter"
	"net/netip"
	"strings"
)

// Request is what a program is told about a request.
type Request struct {
	Method string
	// URI is path and query as the client sent them ("/a%20b?x=1"). It is REQUEST_URI; QUERY_STRING is what follows its first
	// question mark.
	URI string
	// Path is the decoded and clean path: it begins with a slash, and has no dot segments and no NUL. It must be the path that
	// the route and its restrictions were found by, for it chooses the script that runs.
	Path string
	// Proto is the client's version of HTTP: "HTTP/1.1", "HTTP/2.0".
	Proto string
	// HTTPS says that the client came over TLS.
	HTTPS bool
	// Host is the request's host with its port, if it names one; empty if the client sent none. It stands for the header Host.
	Host string
	// ServerName is the name that the request's route was found by, without a port.
	ServerName string
	// Client and Server are the two ends of the client's connection. What is not valid is told as empty.
	Client, Server netip.AddrPort
	// ContentLength is the length of the body in bytes, -1 if there is none. CGI has no way to tell a length that is not known yet: most
	// programs then take the body for empty.
	ContentLength int64
	// Headers gives the request's headers. It is asked once; names and values must stay as they are until the variables are
	// built. Hop-by-hop headers are told like any other: take out what the program must not see.
	Headers iter.Seq2[[]byte, []byte]
}

// check refuses a path that leads somewhere else than it says. It is the last line: who cleans paths has done so before.
func (r *Request) check() error {
	what := ""
	switch {
	case !strings.HasPrefix(r.Path, "/"):
		what = "does not begin with a slash"
	case strings.IndexByte(r.Path, 0) >= 0:
		what = "holds a NUL"
	case strings.Contains(r.Path, "/../"), strings.HasSuffix(r.Path, "/.."):
		what = "leads upwards"
	default:
		return nil
	}
	return fmt.Errorf("cannot describe the request to a program: path %q %s", cut(r.Path), what)
}

// query is what follows the first question mark.
func (r *Request) query() string {
	_, query, _ := strings.Cut(r.URI, "?")
	return query
}

// script takes a path apart into the script's name and what follows it (PATH_INFO, RFC 3875 section 4.1.5): the script ends with the first
// ".php" at the end of a segment. A path that ends with a slash is a directory, whose script is index.php.
func script(path string) (name, index, info string) {
	if i := strings.Index(path, ".php/"); i >= 0 {
		i += len(".php")
		return path[:i], "", path[i:]
	}
	if strings.HasSuffix(path, "/") {
		return path, "index.php", ""
	}
	return path, "", ""
}

// cut shortens what is quoted in an error.
func cut[T string | []byte](s T) T {
	const most = 60
	if len(s) > most {
		return s[:most]
	}
	return s
}
