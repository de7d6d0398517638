package proxy

import (
	"net/http"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// hopByHop are the headers that concern one connection (RFC 9110 section 7.6.1), and Proxy, which some CGI programs
// take for the variable HTTP_PROXY.
func hopByHop() []string {
	return []string{"Connection", "Proxy-Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization",
		"Te", "Trailer", "Transfer-Encoding", "Upgrade", "Proxy"}
}

// hopHeader has a token of every Ruche that forwarded the request. Via (RFC 9110 section 7.6.3) is meant for this, but
// servers leave out compression and the like when they see it.
const hopHeader = "Ruche-Hop"

// looped reports whether the request was forwarded by this proxy before.
func (x *exchange) looped() bool {
	return httpguts.HeaderValuesContainsToken(x.r.Header[hopHeader], x.hop)
}

// removeHopByHop removes what concerns one connection only, and what Connection names.
func removeHopByHop(h http.Header) {
	for _, f := range h["Connection"] {
		for name := range strings.SplitSeq(f, ",") {
			if name = strings.TrimSpace(name); name != "" {
				h.Del(name)
			}
		}
	}
	for _, name := range hopByHop() {
		delete(h, name)
	}
}

// guarded reports whether a header tells who the client is and how it came, which only trusted peers may say.
func guarded(name string) bool {
	return strings.HasPrefix(name, "X-Forwarded-") || name == "X-Real-Ip" || name == "Forwarded" || name == "X-Original-Uri"
}

// disguised reports whether a header becomes a guarded one, or a hop-by-hop one, where underscores and dashes are the same (CGI).
func disguised(name string) bool {
	if strings.IndexByte(name, '_') < 0 {
		return false
	}
	plain := http.CanonicalHeaderKey(strings.ReplaceAll(name, "_", "-"))
	return guarded(plain) || plain == "X-Request-Id" || plain == "Proxy"
}

// upgradeType returns the protocol that the message asks for or switches to, or nothing. HTTP/2 is none (RFC 9113 section 3.1): it would
// be a tunnel past the routes.
func upgradeType(h http.Header) string {
	if protocol := h.Get("Upgrade"); httpguts.HeaderValuesContainsToken(h["Connection"], "Upgrade") && !strings.EqualFold(protocol, "h2c") {
		return protocol
	}
	return ""
}

// cleanTrailer removes from a client's trailer what it may not say, whoever it is.
func cleanTrailer(h http.Header) {
	for name := range h {
		if guarded(name) || disguised(name) || name == "X-Request-Id" || slices.Contains(hopByHop(), name) {
			delete(h, name)
		}
	}
}

// outboundHeader returns the header that endpoints get (docs: what Ruche tells your application).
func (x *exchange) outboundHeader() http.Header {
	in := x.r.Header
	h := make(http.Header, len(in)+10)
	for name, values := range in {
		if disguised(name) || !x.trusted && guarded(name) {
			continue
		}
		h[name] = values
	}
	trailers := httpguts.HeaderValuesContainsToken(h["Te"], "trailers")
	removeHopByHop(h)
	delete(h, "Expect")
	if trailers {
		h["Te"] = []string{"trailers"}
	}
	if x.upgrade != "" {
		h["Connection"], h["Upgrade"] = []string{"Upgrade"}, []string{x.upgrade}
	}
	if _, ok := h["User-Agent"]; !ok {
		h["User-Agent"] = []string{""} // keeps net/http from naming itself
	}
	x.setForwarded(h)
	return h
}

// setForwarded tells the endpoint who the client is. One array holds the values of all headers set here.
func (x *exchange) setForwarded(h http.Header) {
	peer := x.peer.String()
	values := make([]string, 0, 9)
	set := func(name, value string, keep bool) {
		if keep && x.trusted && len(h[name]) > 0 && h[name][0] != "" {
			return
		}
		values = append(values, value)
		h[name] = values[len(values)-1 : len(values) : len(values)]
	}
	chain := peer
	if before := h["X-Forwarded-For"]; len(before) > 0 {
		chain = strings.Join(before, ", ") + ", " + peer
	}
	set("X-Forwarded-For", chain, false)
	set("X-Real-Ip", peer, true)
	set("X-Forwarded-Host", x.r.Host, true)
	set("X-Forwarded-Proto", x.scheme(), true)
	set("X-Forwarded-Port", x.port, true)
	ssl := "off"
	if h["X-Forwarded-Proto"][0] == "https" {
		ssl = "on"
	}
	set("X-Forwarded-Ssl", ssl, false)
	set("X-Original-Uri", x.target.raw, false)
	set("X-Request-Id", x.id, false)
	if hops := h[hopHeader]; len(hops) > 0 {
		h[hopHeader] = append(slices.Clip(hops), x.hop)
	} else {
		set(hopHeader, x.hop, false)
	}
}
