package h1

// ID names a header field that the proxy treats specially, so that names are compared once, while they are parsed.
type ID uint8

// The names. The order counts: Parse acts on those up to Expect, and those before Disguised must not be spoofed by names with underscores.
const (
	// Other is every name that is not listed here.
	Other ID = iota
	Host
	Connection
	ContentLength
	TransferEncoding
	TE
	Upgrade
	Expect
	Trailer
	KeepAlive
	ProxyConnection
	ProxyAuthenticate
	ProxyAuthorization
	Proxy
	Forwarded
	XForwardedFor
	XForwardedHost
	XForwardedProto
	XForwardedPort
	XForwardedSSL
	// XForwardedOther is any name that begins with X-Forwarded- and is not one of the above.
	XForwardedOther
	XRealIP
	XOriginalURI
	XRequestID
	RucheHop
	// Disguised is a name that becomes one of the above where underscores and dashes are the same (CGI and what follows its manner).
	Disguised
	Via
	Authorization
	Cookie
	SetCookie
	UserAgent
	Referer
	Date
	Server
	ContentType
	Location
	RetryAfter
	AltSvc
	StrictTransportSecurity
	ids // how many there are
)

// String returns the name as it is usually written, or something in brackets for an ID that stands for many.
func (id ID) String() string {
	names := [ids]string{
		Other: "(other)", Host: "Host", Connection: "Connection", ContentLength: "Content-Length", TransferEncoding: "Transfer-Encoding",
		TE: "TE", Upgrade: "Upgrade", Expect: "Expect", Trailer: "Trailer", KeepAlive: "Keep-Alive", ProxyConnection: "Proxy-Connection",
		ProxyAuthenticate: "Proxy-Authenticate", ProxyAuthorization: "Proxy-Authorization", Proxy: "Proxy", Forwarded: "Forwarded",
		XForwardedFor: "X-Forwarded-For", XForwardedHost: "X-Forwarded-Host", XForwardedProto: "X-Forwarded-Proto",
		XForwardedPort: "X-Forwarded-Port", XForwardedSSL: "X-Forwarded-Ssl", XForwardedOther: "(X-Forwarded-)", XRealIP: "X-Real-Ip",
		XOriginalURI: "X-Original-Uri", XRequestID: "X-Request-Id", RucheHop: "Ruche-Hop", Disguised: "(disguised)", Via: "Via",
		Authorization: "Authorization", Cookie: "Cookie", SetCookie: "Set-Cookie", UserAgent: "User-Agent", Referer: "Referer",
		Date: "Date", Server: "Server", ContentType: "Content-Type", Location: "Location", RetryAfter: "Retry-After", AltSvc: "Alt-Svc",
		StrictTransportSecurity: "Strict-Transport-Security",
	}
	if id >= ids {
		return "(unknown)"
	}
	return names[id]
}

// hopByHop has a bit for every field that concerns one connection (RFC 9110 section 7.6.1), and for Proxy, which some CGI programs take
// for the variable HTTP_PROXY.
const hopByHop = 1<<Connection | 1<<TransferEncoding | 1<<TE | 1<<Upgrade | 1<<Trailer | 1<<KeepAlive | 1<<ProxyConnection |
	1<<ProxyAuthenticate | 1<<ProxyAuthorization | 1<<Proxy

// HopByHop reports whether a field is not forwarded, whether Connection names it or not.
func HopByHop(id ID) bool { return uint64(hopByHop)>>id&1 != 0 }

// Guarded reports whether a field tells who the client is and how it came, which only trusted peers may say.
func Guarded(id ID) bool { return id >= Forwarded && id <= XOriginalURI }

// noTrailer has a bit for every field that must not come after the body (RFC 9110 section 6.5.1): it would change the framing or the
// route, or say who the client is, when that has been decided.
const noTrailer = hopByHop | 1<<Host | 1<<ContentLength | 1<<Expect | 1<<Forwarded | 1<<XForwardedFor | 1<<XForwardedHost |
	1<<XForwardedProto | 1<<XForwardedPort | 1<<XForwardedSSL | 1<<XForwardedOther | 1<<XRealIP | 1<<XOriginalURI | 1<<XRequestID |
	1<<RucheHop | 1<<Disguised | 1<<Authorization | 1<<Cookie | 1<<SetCookie | 1<<ContentType | 1<<Location | 1<<Date | 1<<RetryAfter

// NotInTrailer reports whether a field is dropped from trailers.
func NotInTrailer(id ID) bool { return uint64(noTrailer)>>id&1 != 0 }

// IdentifyString is Identify for a string.
func IdentifyString(name string) ID { return Identify([]byte(name)) }

// Identify returns the ID of a field name (ValidFieldName), whose letters may be small or large.
func Identify(name []byte) ID {
	for _, c := range name {
		if c == '_' {
			if plain := identifyPlain(name); plain != Other && plain < Disguised {
				return Disguised
			}
			return Other
		}
	}
	return identify(name)
}

// identifyPlain returns the ID that a name with underscores has when they are dashes.
func identifyPlain(name []byte) ID {
	var plain [32]byte // longer than any name, apart from those that only begin with X-Forwarded-
	n := copy(plain[:], name)
	for i, c := range plain[:n] {
		if c == '_' {
			plain[i] = '-'
		}
	}
	if len(name) > n && identify(plain[:n]) != XForwardedOther {
		return Other
	}
	return identify(plain[:n])
}

// identify returns the ID of a name without underscores. Its length and a letter leave one candidate.
func identify(name []byte) ID {
	switch n := len(name); {
	case n < 2:
		return Other
	case n < 8:
		return identifyShort(name, name[0]|0x20)
	case n < 13:
		return identifyMiddle(name, name[0]|0x20)
	}
	return identifyLong(name, name[0]|0x20)
}

// is returns id when name is lower (fold), else Other.
func is(id ID, name []byte, lower string) ID {
	if fold(name, lower) {
		return id
	}
	return Other
}

// identifyShort is identify for names of 2 to 7 bytes; c is the first, as a small letter.
func identifyShort(name []byte, c byte) ID {
	switch uint(len(name))<<8 | uint(c) {
	case 2<<8 | 't':
		return is(TE, name, "te")
	case 3<<8 | 'v':
		return is(Via, name, "via")
	case 4<<8 | 'h':
		return is(Host, name, "host")
	case 4<<8 | 'd':
		return is(Date, name, "date")
	case 5<<8 | 'p':
		return is(Proxy, name, "proxy")
	case 6<<8 | 'c':
		return is(Cookie, name, "cookie")
	case 6<<8 | 'e':
		return is(Expect, name, "expect")
	case 6<<8 | 's':
		return is(Server, name, "server")
	case 7<<8 | 'a':
		return is(AltSvc, name, "alt-svc")
	case 7<<8 | 'r':
		return is(Referer, name, "referer")
	case 7<<8 | 't':
		return is(Trailer, name, "trailer")
	case 7<<8 | 'u':
		return is(Upgrade, name, "upgrade")
	}
	return Other
}

// identifyMiddle is identify for names of 8 to 12 bytes.
func identifyMiddle(name []byte, c byte) ID {
	switch uint(len(name))<<8 | uint(c) {
	case 8<<8 | 'l':
		return is(Location, name, "location")
	case 9<<8 | 'f':
		return is(Forwarded, name, "forwarded")
	case 9<<8 | 'r':
		return is(RucheHop, name, "ruche-hop")
	case 9<<8 | 'x':
		return is(XRealIP, name, "x-real-ip")
	case 10<<8 | 'c':
		return is(Connection, name, "connection")
	case 10<<8 | 'k':
		return is(KeepAlive, name, "keep-alive")
	case 10<<8 | 's':
		return is(SetCookie, name, "set-cookie")
	case 10<<8 | 'u':
		return is(UserAgent, name, "user-agent")
	case 11<<8 | 'r':
		return is(RetryAfter, name, "retry-after")
	case 12<<8 | 'c':
		return is(ContentType, name, "content-type")
	case 12<<8 | 'x':
		if fold(name, "x-request-id") {
			return XRequestID
		}
		return is(XForwardedOther, name, "x-forwarded-")
	}
	return Other
}

// identifyLong is identify for names of more than 12 bytes.
func identifyLong(name []byte, c byte) ID {
	switch c {
	case 'x':
		return identifyForwarded(name)
	case 'c':
		return is(ContentLength, name, "content-length")
	case 't':
		return is(TransferEncoding, name, "transfer-encoding")
	case 's':
		return is(StrictTransportSecurity, name, "strict-transport-security")
	case 'a':
		return is(Authorization, name, "authorization")
	case 'p':
		switch len(name) {
		case 16:
			return is(ProxyConnection, name, "proxy-connection")
		case 18:
			return is(ProxyAuthenticate, name, "proxy-authenticate")
		case 19:
			return is(ProxyAuthorization, name, "proxy-authorization")
		}
	}
	return Other
}

// identifyForwarded is identifyLong for names that begin with an x.
func identifyForwarded(name []byte) ID {
	const prefix = "x-forwarded-"
	if !fold(name[:len(prefix)], prefix) {
		return is(XOriginalURI, name, "x-original-uri")
	}
	switch rest := name[len(prefix):]; {
	case fold(rest, "for"):
		return XForwardedFor
	case fold(rest, "host"):
		return XForwardedHost
	case fold(rest, "proto"):
		return XForwardedProto
	case fold(rest, "port"):
		return XForwardedPort
	case fold(rest, "ssl"):
		return XForwardedSSL
	}
	return XForwardedOther
}
