package h1

// contentLength reads a Content-Length field (RFC 9110 section 8.6). One is enough: several are refused even if they agree,
// since what stands in front of us may have looked at one that we do not see as the same.
func (h *Head) contentLength(value []byte) error {
	if h.length >= 0 {
		return bad("several Content-Length", "RFC 9112 6.3")
	}
	const digits = 18 // any number of them fits an int64
	if len(value) == 0 || len(value) > digits {
		return bad("a Content-Length that is no length", "RFC 9110 8.6")
	}
	n := int64(0)
	for _, c := range value {
		if c < '0' || c > '9' {
			return bad("a Content-Length that is no length", "RFC 9110 8.6")
		}
		n = n*10 + int64(c-'0')
	}
	h.length = n
	return nil
}

// transferEncoding reads a Transfer-Encoding field (RFC 9112 section 6.1). It takes exactly "chunked".
func (h *Head) transferEncoding(value []byte) error {
	if h.encodings++; h.encodings > 1 {
		return bad("several Transfer-Encoding", "RFC 9112 6.1")
	}
	if fold(value, "chunked") {
		return nil
	}
	chunked := false
	for list := value; ; {
		var coding []byte
		coding, list = item(list)
		switch {
		case chunked:
			return bad("a Transfer-Encoding after chunked", "RFC 9112 6.1")
		case !only(coding, isToken):
			return bad("a malformed Transfer-Encoding", "RFC 9112 6.1")
		}
		chunked = fold(coding, "chunked")
		if list == nil {
			return Error{501, "a Transfer-Encoding other than chunked", "RFC 9112 6.1"}
		}
	}
}

// framing decides how the body ends, but for what a response's status decides (RFC 9112 section 6.3).
func (h *Head) framing() error {
	switch {
	case h.encodings == 0:
		if h.length >= 0 {
			h.Framing, h.ContentLength = Length, h.length
		}
	case h.length >= 0:
		return bad("both Content-Length and Transfer-Encoding", "RFC 9112 6.3")
	case h.Minor == 0:
		return bad("Transfer-Encoding in HTTP/1.0", "RFC 9112 6.1")
	default:
		h.Framing = Chunked
	}
	return nil
}

// persistence decides whether the connection stays (RFC 9112 section 9.3), and what it may become.
func (h *Head) persistence() {
	if h.Close = h.options&optionClose != 0; h.Minor == 0 {
		h.Close = h.Close || h.options&optionKeepAlive == 0
		return
	}
	if h.options&optionUpgrade != 0 && len(h.protocols) > 0 {
		h.Upgrade = h.protocols
	}
}
