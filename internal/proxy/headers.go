package proxy

import (
	"bytes"
	"strings"

	"github.com/ruche-project/ruche/internal/h1"
)

// hopHeader has a token of every Ruche that forwarded the request. Via (RFC 9110 section 7.6.3) is meant for this, but
// servers leave out compression and the like when they see it.
const hopHeader = "Ruche-Hop"

// looped reports whether the request was forwarded by this proxy before.
func (x *exchange) looped() bool {
	for i := range x.req.Fields {
		if f := &x.req.Fields[i]; f.ID == h1.RucheHop && bytes.Contains(f.Value, bytesOf(x.proxy.hop)) {
			return true
		}
	}
	return false
}

// upgradeType returns the protocol that a message asks for or switches to, or nothing. HTTP/2 is none (RFC 9113 section 3.1): it would
// be a tunnel past the routes.
func upgradeType(protocols []byte) string {
	if protocol := text(protocols); !strings.EqualFold(protocol, "h2c") {
		return protocol
	}
	return ""
}

// setOutbound makes the fields that endpoints get (docs: what Ruche tells your application), but for Host and those about framing.
func (x *exchange) setOutbound() {
	x.outbound = x.outbound[:0]
	for i := range x.req.Fields {
		if f := &x.req.Fields[i]; x.passesOn(f) {
			x.outbound = append(x.outbound, *f)
		}
	}
	if x.req.TETrailers {
		x.add(h1.TE, "TE", bytesOf("trailers"))
	}
	if x.req.Expect100 && !x.body.whole {
		x.add(h1.Expect, "Expect", bytesOf("100-continue"))
	}
	if x.upgrade != "" {
		x.add(h1.Connection, "Connection", bytesOf("Upgrade"))
		x.add(h1.Upgrade, "Upgrade", bytesOf(x.upgrade))
	}
	x.addForwarded()
}

// passesOn reports whether an endpoint gets the field as it came. Names that become others where underscores and dashes are the same never do.
func (x *exchange) passesOn(f *h1.Field) bool {
	switch id := f.ID; {
	case id == h1.Other:
		return !x.req.ConnectionNames(f.Name)
	case id == h1.Host, id == h1.ContentLength, id == h1.Expect, id == h1.Disguised, h1.HopByHop(id):
		return false
	case id == h1.XForwardedFor, id == h1.XForwardedSSL, id == h1.XOriginalURI, id == h1.XRequestID:
		return false // made anew
	case id == h1.XRealIP, id == h1.XForwardedHost, id == h1.XForwardedProto, id == h1.XForwardedPort:
		return x.trusted && len(f.Value) > 0
	case h1.Guarded(id):
		return x.trusted
	}
	return !x.req.ConnectionNames(f.Name)
}

func (x *exchange) add(id h1.ID, name string, value []byte) {
	x.outbound = append(x.outbound, h1.Field{ID: id, Name: bytesOf(name), Value: value})
}

// addForwarded tells the endpoint who the client is. What a trusted peer said stands.
func (x *exchange) addForwarded() {
	from := len(x.scratch)
	x.scratch = x.peer.AppendTo(x.scratch)
	peer := x.scratch[from:len(x.scratch):len(x.scratch)]
	x.add(h1.XForwardedFor, "X-Forwarded-For", x.forwardedFor(peer))
	x.addUnlessSaid(h1.XRealIP, "X-Real-IP", peer)
	x.addUnlessSaid(h1.XForwardedHost, "X-Forwarded-Host", x.req.Host)
	proto := x.addUnlessSaid(h1.XForwardedProto, "X-Forwarded-Proto", bytesOf(x.scheme()))
	x.addUnlessSaid(h1.XForwardedPort, "X-Forwarded-Port", bytesOf(x.port))
	ssl := "off"
	if string(proto) == "https" {
		ssl = "on"
	}
	x.add(h1.XForwardedSSL, "X-Forwarded-Ssl", bytesOf(ssl))
	x.add(h1.XOriginalURI, "X-Original-URI", bytesOf(x.target.raw))
	x.add(h1.XRequestID, "X-Request-Id", bytesOf(x.id))
	x.add(h1.RucheHop, hopHeader, bytesOf(x.proxy.hop))
}

// forwardedFor is the chain of addresses that a trusted peer told, and the peer.
func (x *exchange) forwardedFor(peer []byte) []byte {
	if !x.trusted || x.field(h1.XForwardedFor) == nil {
		return peer
	}
	from := len(x.scratch)
	for i := range x.req.Fields {
		if f := &x.req.Fields[i]; f.ID == h1.XForwardedFor {
			x.scratch = append(append(x.scratch, f.Value...), ", "...)
		}
	}
	x.scratch = append(x.scratch, peer...)
	return x.scratch[from:len(x.scratch):len(x.scratch)]
}

// addUnlessSaid adds a field unless a trusted peer's was passed on, and returns what the endpoint gets.
func (x *exchange) addUnlessSaid(id h1.ID, name string, value []byte) []byte {
	if x.trusted {
		if said := x.field(id); len(said) > 0 {
			return said
		}
	}
	x.add(id, name, value)
	return value
}

// setAnswered makes the fields that the client gets of an answer's, but for those about framing.
func (x *exchange) setAnswered() {
	x.answered = x.answered[:0]
	in := &x.inbound
	bodyless := in.Framing == h1.NoBody && in.Status >= 200 && in.Status != 204
	for i := range in.Fields {
		f := &in.Fields[i]
		switch {
		case f.ID == h1.ContentLength:
			if !bodyless { // what a HEAD would have got is the endpoint's to say
				continue
			}
		case f.ID == h1.Trailer: // announces, and is no hop-by-hop field since RFC 9110
		case f.ID != h1.Other && h1.HopByHop(f.ID) || in.ConnectionNames(f.Name):
			continue
		}
		x.answered = append(x.answered, *f)
	}
}
