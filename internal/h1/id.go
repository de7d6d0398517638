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

// Identify returns the ID of a field name, whose letters may be small or large.
func Identify(name []byte) ID {
	for _, c := range name {
		if c == '_' {
			return disguised(name)
		}
	}
	return identify(name)
}

// disguised returns the ID of a name with underscores.
func disguised(name []byte) ID {
	var plain [32]byte // longer than any name, apart from those that only begin with X-Forwarded-
	n := copy(plain[:], name)
	for i, c := range plain[:n] {
		if c == '_' {
			plain[i] = '-'
		}
	}
	if id := identify(plain[:n]); id != Other && id < Disguised {
		return Disguised
	}
	return Other
}

// identify returns the ID of a name without underscores. The length and a letter or two leave one candidate.
func identify(name []byte) ID {
	if len(name) < 2 || len(name) > 12 {
		return identifyLong(name)
	}
	id, lower := Other, ""
	switch c := name[0] | 0x20; len(name) {
	case 2:
		id, lower = TE, "te"
	case 3:
		id, lower = Via, "via"
	case 4:
		if id, lower = Host, "host"; c == 'd' {
			id, lower = Date, "date"
		}
	case 5:
		id, lower = Proxy, "proxy"
	case 6:
		switch c {
		case 'c':
			id, lower = Cookie, "cookie"
		case 'e':
			id, lower = Expect, "expect"
		case 's':
			id, lower = Server, "server"
		}
	case 7:
		switch c {
		case 'a':
			id, lower = AltSvc, "alt-svc"
		case 'r':
			id, lower = Referer, "referer"
		case 't':
			id, lower = Trailer, "trailer"
		case 'u':
			id, lower = Upgrade, "upgrade"
		}
	case 8:
		id, lower = Location, "location"
	case 9:
		switch c {
		case 'f':
			id, lower = Forwarded, "forwarded"
		case 'r':
			id, lower = RucheHop, "ruche-hop"
		case 'x':
			id, lower = XRealIP, "x-real-ip"
		}
	case 10:
		switch c {
		case 'c':
			id, lower = Connection, "connection"
		case 'k':
			id, lower = KeepAlive, "keep-alive"
		case 's':
			id, lower = SetCookie, "set-cookie"
		case 'u':
			id, lower = UserAgent, "user-agent"
		}
	case 11:
		id, lower = RetryAfter, "retry-after"
	case 12:
		if id, lower = ContentType, "content-type"; c == 'x' {
			id, lower = XRequestID, "x-request-id"
		}
	}
	if fold(name, lower) {
		return id
	}
	return Other
}

// identifyLong is identify for names of more than twelve bytes.
func identifyLong(name []byte) ID {
	if len(name) < 13 {
		return Other
	}
	id, lower := Other, ""
	switch c := name[0] | 0x20; c {
	case 'x':
		return identifyForwarded(name)
	case 'c':
		id, lower = ContentLength, "content-length"
	case 't':
		id, lower = TransferEncoding, "transfer-encoding"
	case 's':
		id, lower = StrictTransportSecurity, "strict-transport-security"
	case 'a':
		id, lower = Authorization, "authorization"
	case 'p':
		switch len(name) {
		case 16:
			id, lower = ProxyConnection, "proxy-connection"
		case 18:
			id, lower = ProxyAuthenticate, "proxy-authenticate"
		case 19:
			id, lower = ProxyAuthorization, "proxy-authorization"
		}
	}
	if fold(name, lower) {
		return id
	}
	return Other
}

// identifyForwarded returns the ID of a long name that begins with an x.
func identifyForwarded(name []byte) ID {
	const prefix = "x-forwarded-"
	if fold(name, "x-original-uri") {
		return XOriginalURI
	}
	if !fold(name[:len(prefix)], prefix) {
		return Other
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
