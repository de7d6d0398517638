package cgi

import "bytes"

// contentType is the one header that has a variable without HTTP_ (RFC 3875 section 4.1.3).
const contentType = "CONTENT_TYPE"

// take keeps a header under its name as a variable (RFC 3875 section 4.1.18), unless no variable may be made of it.
func (v *Vars) take(name, value []byte) {
	from := len(v.names)
	for _, c := range name {
		switch {
		case 'a' <= c && c <= 'z':
			c -= 'a' - 'A'
		case c == '-':
			c = '_'
		case 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		default:
			// With an underscore it would look like another header, and so it would with a dot, which PHP turns into one.
			v.names = v.names[:from]
			return
		}
		v.names = append(v.names, c)
	}
	if len(v.names) == from || told(string(v.names[from:])) {
		v.names = v.names[:from]
		return
	}
	v.headers = append(v.headers, header{v.names[from:len(v.names):len(v.names)], value})
}

// told reports whether a header never becomes a variable: HTTP_PROXY would send the program's own requests to where the client says,
// what frames the message does not hold for what the program gets, and the host is in the request.
func told(name string) bool {
	switch name {
	case "PROXY", "CONTENT_LENGTH", "TRANSFER_ENCODING", "HOST":
		return true
	}
	return false
}

// named gives the headers of a name.
func (v *Vars) named(name string) []header {
	for i := range v.headers {
		if string(v.headers[i].name) == name {
			return v.headers[i:v.run(i)]
		}
	}
	return nil
}

// run returns where the headers of the name that stands at i end.
func (v *Vars) run(i int) int {
	end := i + 1
	for end < len(v.headers) && bytes.Equal(v.headers[end].name, v.headers[i].name) {
		end++
	}
	return end
}

// addHeaders adds what is left to say of the headers.
func (v *Vars) addHeaders(host string) {
	if host != "" {
		v.add("HTTP_HOST", host)
	}
	for i := 0; i < len(v.headers); {
		same := v.headers[i:v.run(i)]
		i += len(same)
		name := string(same[0].name)
		if name == contentType {
			continue
		}
		v.open("HTTP_", name)
		v.join(same)
		v.close()
	}
	clear(v.headers) // their values are somebody else's memory
	v.headers = v.headers[:0]
}

// join appends the values of headers of one name: a list goes on behind a comma (RFC 9110 section 5.3), cookies behind a
// semicolon (RFC 9113 section 8.2.3).
func (v *Vars) join(same []header) {
	for i, h := range same {
		switch {
		case i == 0:
		case string(h.name) == "COOKIE":
			v.text = append(v.text, "; "...)
		default:
			v.text = append(v.text, ", "...)
		}
		v.text = append(v.text, h.value...)
	}
}
