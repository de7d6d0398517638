package cgi

import (
	"bytes"
	"iter"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Vars are variables in order, no name twice. The zero value has none; building anew takes the place of what was there and
// reuses its memory. Not safe for concurrent use.
type Vars struct {
	text    []byte // names and values, one after the other
	marks   []mark
	headers []header
	names   []byte // of headers
}

// mark is where a name and its value end in the text. The name begins where the value before it ends.
type mark struct{ name, value int }

// header is a client's header under its name as a variable, without HTTP_.
type header struct{ name, value []byte }

// All gives the variables. Names and values are valid until the variables are built anew.
func (v *Vars) All() iter.Seq2[[]byte, []byte] {
	return func(yield func(name, value []byte) bool) {
		from := 0
		for _, m := range v.marks {
			if !yield(v.text[from:m.name:m.name], v.text[m.name:m.value:m.value]) {
				return
			}
			from = m.value
		}
	}
}

// FastCGI builds the variables for a FastCGI program that runs the scripts below the directory root: those of nginx's
// fastcgi.conf, and PATH_INFO where the path goes on behind a script. The error is about r.Path.
func (v *Vars) FastCGI(r *Request, root string) error {
	if err := v.begin(r); err != nil {
		return err
	}
	root = strings.TrimRight(root, "/")
	name, index, info := script(r.Path)
	v.add("SCRIPT_FILENAME", root, name, index)
	v.addBody(r)
	v.add("SCRIPT_NAME", name, index)
	if info != "" {
		v.add("PATH_INFO", info)
	}
	v.add("REQUEST_URI", r.URI)
	v.add("DOCUMENT_URI", r.Path)
	if root == "" {
		root = "/"
	}
	v.add("DOCUMENT_ROOT", root)
	v.addOrigin(r)
	v.add("GATEWAY_INTERFACE", "CGI/1.1")
	v.add("SERVER_SOFTWARE", "ruche")
	v.addEnds(r)
	v.add("SERVER_ADDR", address(r.Server))
	// A PHP that was built to run behind a redirect only (cgi.force_redirect) refuses to work without it.
	v.add("REDIRECT_STATUS", "200")
	v.addHeaders(r.Host)
	return nil
}

// UWSGI builds the variables for a uwsgi program: those of nginx's uwsgi_params but for DOCUMENT_ROOT, which such a program
// has no use for. The error is about r.Path.
func (v *Vars) UWSGI(r *Request) error {
	if err := v.begin(r); err != nil {
		return err
	}
	v.addBody(r)
	v.add("REQUEST_URI", r.URI)
	v.add("PATH_INFO", r.Path)
	v.addOrigin(r)
	v.addEnds(r)
	v.addHeaders(r.Host)
	return nil
}

// begin empties the variables and gathers the headers.
func (v *Vars) begin(r *Request) error {
	v.text, v.marks, v.names = v.text[:0], v.marks[:0], v.names[:0]
	if err := r.check(); err != nil {
		return err
	}
	if r.Headers != nil {
		for name, value := range r.Headers {
			v.take(name, value)
		}
	}
	// Equal names come together, in the order in which they were sent.
	slices.SortStableFunc(v.headers, func(a, b header) int { return bytes.Compare(a.name, b.name) })
	return nil
}

// add adds a variable whose value is made of parts.
func (v *Vars) add(name string, parts ...string) {
	v.open(name)
	for _, p := range parts {
		v.text = append(v.text, p...)
	}
	v.close()
}

func (v *Vars) addNumber(name string, n int64) {
	v.open(name)
	v.text = strconv.AppendInt(v.text, n, 10)
	v.close()
}

// open begins a variable; what is appended to the text from here to close is its value.
func (v *Vars) open(name ...string) {
	for _, n := range name {
		v.text = append(v.text, n...)
	}
	v.marks = append(v.marks, mark{name: len(v.text)})
}

func (v *Vars) close() { v.marks[len(v.marks)-1].value = len(v.text) }

// addBody tells what is asked for, and what the body is. CONTENT_TYPE and CONTENT_LENGTH are there without a body too, empty, for programs are
// used to that.
func (v *Vars) addBody(r *Request) {
	v.add("QUERY_STRING", r.query())
	v.add("REQUEST_METHOD", r.Method)
	v.open("CONTENT_TYPE")
	v.join(v.named(contentType))
	v.close()
	if r.ContentLength < 0 {
		v.add("CONTENT_LENGTH")
		return
	}
	v.addNumber("CONTENT_LENGTH", r.ContentLength)
}

func (v *Vars) addOrigin(r *Request) {
	v.add("SERVER_PROTOCOL", r.Proto)
	if r.HTTPS {
		v.add("REQUEST_SCHEME", "https")
		v.add("HTTPS", "on")
		return
	}
	v.add("REQUEST_SCHEME", "http")
}

func (v *Vars) addEnds(r *Request) {
	v.add("REMOTE_ADDR", address(r.Client))
	v.addPort("REMOTE_PORT", r.Client)
	v.addPort("SERVER_PORT", r.Server)
	v.add("SERVER_NAME", r.ServerName)
}

func (v *Vars) addPort(name string, a netip.AddrPort) {
	if !a.IsValid() {
		v.add(name)
		return
	}
	v.addNumber(name, int64(a.Port()))
}

// address is an address as programs know it: without zone, and an IPv4 address in its own form.
func address(a netip.AddrPort) string {
	if !a.IsValid() {
		return ""
	}
	return a.Addr().Unmap().WithZone("").String()
}
