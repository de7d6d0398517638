package ruche

import "time"

// The schemes by which endpoints are spoken to.
const (
	SchemeHTTP    = "http"    // HTTP/1.1
	SchemeHTTPS   = "https"   // HTTP/1.1 by TLS without verification
	SchemeH2C     = "h2c"     // HTTP/2 without TLS
	SchemeGRPC    = "grpc"    // HTTP/2 without TLS, for gRPC
	SchemeGRPCS   = "grpcs"   // HTTP/2 by TLS without verification, for gRPC
	SchemeFastCGI = "fastcgi" // FastCGI, see Route.Root
	SchemeUWSGI   = "uwsgi"   // the uwsgi protocol
	SchemeTCP     = "tcp"     // bytes as they come; only where Route.Protocol is ProtocolTCP
	SchemeUDP     = "udp"     // datagrams as they come; only where Route.Protocol is ProtocolUDP
)

// DefaultPort returns the port that a scheme has when none is given, 0 when it must be given, and false for an unknown scheme.
func DefaultPort(scheme string) (port uint16, known bool) {
	switch scheme {
	case SchemeHTTP, SchemeH2C, SchemeGRPC:
		return 80, true
	case SchemeHTTPS, SchemeGRPCS:
		return 443, true
	case SchemeFastCGI, SchemeUWSGI:
		return 0, true
	}
	return 0, false
}

// Policy says how a request's endpoint is chosen among those of its route.
type Policy string

// The policies. PolicyRoundRobin is the zero value's meaning.
const (
	PolicyRoundRobin       Policy = "round-robin"       // in turn, by weight
	PolicyLeastConnections Policy = "least-connections" // the fewest running requests for its weight
	PolicyTwoChoices       Policy = "two-choices"       // of two at random the one with fewer running requests for its weight
	PolicyClientHash       Policy = "client-hash"       // by the client's address: rendezvous hashing
)

// Sticky keeps a client at the endpoint that answered it first, by a cookie.
type Sticky struct {
	// Cookie is the cookie's name; empty: one that is made of the route's ID.
	Cookie string `json:"cookie,omitempty"`
	// Secure keeps the cookie off connections without TLS, HTTPOnly away from scripts.
	Secure   bool `json:"secure,omitempty"`
	HTTPOnly bool `json:"http_only,omitempty"`
	// SameSite is "lax", "strict", "none", or empty: the attribute is left out.
	SameSite string `json:"same_site,omitempty"`
	// Path is the cookie's path; empty means "/". Domain is left out when it is empty.
	Path   string `json:"path,omitempty"`
	Domain string `json:"domain,omitempty"`
	// MaxAge is in seconds; 0 makes a cookie that ends with the browser's session.
	MaxAge int `json:"max_age,omitempty"`
}

// CheckMode says what an active health check asks for.
type CheckMode string

// The check modes. CheckHTTP is the zero value's meaning.
const (
	CheckHTTP    CheckMode = "http"    // an HTTP request
	CheckGRPC    CheckMode = "grpc"    // a call of gRPC's own health service
	CheckConnect CheckMode = "connect" // a connection, nothing else
)

// Check is an active health check of a route's endpoints.
type Check struct {
	Mode CheckMode `json:"mode,omitempty"`
	// Method (default GET) and Path (with its query) are the request of an HTTP check.
	Method string `json:"method,omitempty"`
	Path   string `json:"path,omitempty"`
	// Status is the status code that counts as well; 0: any from 200 to 399.
	Status int `json:"status,omitempty"`
	// Scheme ("http", "https" or "h2c") and Port are asked instead of the endpoint's own when they are set.
	Scheme string `json:"scheme,omitempty"`
	Port   uint16 `json:"port,omitempty"`
	// Host is the Host header; empty: the endpoint's address and port.
	Host    string            `json:"host,omitempty"`
	Headers map[string]string `json:"headers,omitempty"`
	// NoRedirects takes a redirect for the answer. Otherwise it is followed, as long as it stays at the endpoint.
	NoRedirects bool `json:"no_redirects,omitempty"`
	// Interval is the time between two checks of an endpoint that is well (0: 30 s), UnhealthyInterval of one that is not (0: the same).
	// Timeout is how long one check may take (0: 5 s). In JSON all three are nanoseconds.
	Interval          time.Duration `json:"interval,omitempty"`
	UnhealthyInterval time.Duration `json:"unhealthy_interval,omitempty"`
	Timeout           time.Duration `json:"timeout,omitempty"`
	// Failures in a row take an endpoint out, Successes in a row take it in again; 0 means 1.
	Failures  int `json:"failures,omitempty"`
	Successes int `json:"successes,omitempty"`
}

// Eject changes when an endpoint is ejected because of how it answers requests.
type Eject struct {
	// Failures in a row eject an endpoint: broken exchanges, and, because this is declared, the answers 502, 503 and 504.
	Failures int `json:"failures"`
	// Time is how long the first ejection takes (0: 5 s); each further one takes twice as long, up to a minute. In JSON it is nanoseconds.
	Time time.Duration `json:"time,omitempty"`
}

// KeepAlive says whether connections to endpoints are kept for further requests. KeepAliveOn is the zero value's meaning.
type KeepAlive string

// The values of KeepAlive.
const (
	KeepAliveOn  KeepAlive = "on"
	KeepAliveOff KeepAlive = "off"
)
