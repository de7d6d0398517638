package ruche

import "time"

// Vocabulary names the language in which a route was declared.
type Vocabulary string

// The vocabularies, from the one that wins to the one that yields where two of them claim the
// same host and path.
const (
	VocabularyFile       Vocabulary = "file"        // a route file (--routes-dir)
	VocabularyRuche      Vocabulary = "ruche"       // ruche.* labels
	VocabularyTraefik    Vocabulary = "traefik"     // traefik.* labels
	VocabularyNginxProxy Vocabulary = "nginx-proxy" // VIRTUAL_* environment variables
)

// Rank orders the vocabularies: the lower rank wins. An unknown vocabulary ranks last.
func (v Vocabulary) Rank() int {
	switch v {
	case VocabularyFile:
		return 0
	case VocabularyRuche:
		return 1
	case VocabularyTraefik:
		return 2
	case VocabularyNginxProxy:
		return 3
	}
	return 4
}

// WorkloadKind says what sort of thing declares routes.
type WorkloadKind string

// The kinds of workload.
const (
	KindContainer WorkloadKind = "container"
	KindFile      WorkloadKind = "file"
	KindService   WorkloadKind = "service" // of a Swarm
)

// Workload is what declares routes: a container, a service of a Swarm or a route file.
type Workload struct {
	// ID is unique in the cluster: "container/<64 hex digits>", "service/<its ID>" or "file/<base name>".
	ID   string       `json:"id"`
	Kind WorkloadKind `json:"kind"`
	// Name is what people call it: the container's name without its slash, the service's name, the file's base name.
	Name string `json:"name"`
	// Group is what stays the same when a container is re-created: "project/service/number" from the labels
	// of Compose, else the container's or service's name.
	Group string `json:"group,omitempty"`
	// Node is where a container runs or a file lies; empty for a service.
	Node  string `json:"node,omitempty"`
	Image string `json:"image,omitempty"`
	// Created orders workloads that disagree: the oldest wins, then the smallest ID.
	Created time.Time `json:"created,omitzero"`
}

// Older reports whether w wins over o where the two disagree.
func (w Workload) Older(o Workload) bool {
	if !w.Created.Equal(o.Created) {
		return w.Created.Before(o.Created)
	}
	return w.ID < o.ID
}

// Declaration is all that one workload declares, and all that is wrong with it. It outlives the
// workload's endpoints, and for a while the workload itself (GoneSince).
type Declaration struct {
	Workload    Workload     `json:"workload"`
	Routes      []Route      `json:"routes,omitempty"`
	Diagnostics []Diagnostic `json:"diagnostics,omitempty"`
	// GoneSince is when the workload disappeared; zero while it exists.
	GoneSince time.Time `json:"gone_since,omitzero"`
}

// Route is one declared way from a request to the endpoints of a workload.
type Route struct {
	// Name is the Traefik router's name, or host and path as they were written.
	Name       string     `json:"name"`
	Vocabulary Vocabulary `json:"vocabulary"`
	// Source is the place of the declaration for people: "env VIRTUAL_HOST",
	// "label traefik.http.routers.web.rule", "site.yaml:12".
	Source string `json:"source"`
	Match  Match  `json:"match"`
	// Protocol says what the route carries: HTTP requests when it is empty, else bytes that nobody looks into.
	Protocol Protocol `json:"protocol,omitempty"`

	// Scheme is how endpoints are spoken to: one of the schemes, SchemeHTTP and so on.
	Scheme string `json:"scheme"`
	// Port is the endpoints' port; 0 when Endpoints is set.
	Port uint16 `json:"port,omitempty"`
	// PortReason says why that port: "VIRTUAL_PORT", "the only exposed port", ...
	PortReason string `json:"port_reason,omitempty"`
	// Endpoints are fixed base URLs ("http://127.0.0.1:9100"), in route files only. When it is empty the
	// live Endpoints of the declaring workload are used with Port.
	Endpoints []string `json:"endpoints,omitempty"`
	// Weights are the shares of requests that endpoints get next to the others: of Endpoints by index, or the one of the workload's own.
	// What is missing weighs 1; an endpoint that weighs 0 gets no requests.
	Weights []int `json:"weights,omitempty"`

	// Policy, Sticky, Check and Eject say how endpoints are chosen; the zero values mean round robin, no cookie, no active check and
	// Ruche's own rule of ejection.
	Policy Policy  `json:"policy,omitempty"`
	Sticky *Sticky `json:"sticky,omitempty"`
	Check  *Check  `json:"check,omitempty"`
	Eject  *Eject  `json:"eject,omitempty"`

	// Root is the directory of the scripts as a FastCGI endpoint sees it (VIRTUAL_ROOT).
	Root string `json:"root,omitempty"`
	// ProxyProtocol is the version of the PROXY header that begins a connection to an endpoint: 1, 2, or 0 for none.
	ProxyProtocol int       `json:"proxy_protocol,omitempty"`
	KeepAlive     KeepAlive `json:"keep_alive,omitempty"`

	// Dest replaces the matched prefix of the path (VIRTUAL_DEST); empty: the path is left alone.
	Dest string `json:"dest,omitempty"`
	// CleanPath asks for the path to be cleaned of dot segments and double slashes before matching and forwarding, as
	// Traefik does; otherwise it is forwarded byte for byte.
	CleanPath bool `json:"clean_path,omitempty"`

	TLS TLSMode `json:"tls,omitempty"`
	// CertName is the base name of the certificate files to use (CERT_NAME); empty: by host.
	CertName string `json:"cert_name,omitempty"`
	// HTTPSMethod says what each port does; empty means HTTPSRedirect.
	HTTPSMethod HTTPSMethod `json:"https_method,omitempty"`
	// ClientAuth says which certificates clients must show; nil: by the files there are, as nginx-proxy does.
	ClientAuth *ClientAuth `json:"client_auth,omitempty"`
	// MinTLS is the oldest version of TLS that clients may speak, MinTLS12 or MinTLS13; empty: that of the process, which a route cannot go below.
	MinTLS string `json:"min_tls,omitempty"`
	// HSTS is the value of Strict-Transport-Security (RFC 6797) in answers by HTTPS, or HSTSOff. Empty: nginx-proxy's default in its vocabulary, none in others.
	HSTS string `json:"hsts,omitempty"`
	// EndpointTLS says how endpoints with https or grpcs are verified; nil: not at all.
	EndpointTLS *EndpointTLS `json:"endpoint_tls,omitempty"`

	// Blocked is why the route must answer 503 although it could be forwarded: it asks for an access restriction
	// that is not supported, and serving it without would open what its owner closed.
	Blocked string `json:"blocked,omitempty"`
}

// Protocol says what a route carries. The zero value means HTTP.
type Protocol string

// The protocols that are not HTTP.
const (
	ProtocolTCP Protocol = "tcp" // connections, chosen by entry point, and by the server name of their TLS or a rule
	ProtocolUDP Protocol = "udp" // datagrams, chosen by entry point
)

// EntryPointHTTPS is the name of the entry point that HTTPS is served on.
const EntryPointHTTPS = "https"

// Match says which requests a route takes. Either Host and Path are set (nginx-proxy and route
// files), or Rule (Traefik). A route that is not about HTTP has an EntryPoint; one of TCP may have a Host, when it takes only TLS connections for that name, or a Rule.
type Match struct {
	// EntryPoint is the name of the listener; it is set only where the route's protocol is not HTTP.
	EntryPoint string `json:"entry_point,omitempty"`
	// Host is a pattern in the forms of VIRTUAL_HOST: "a.example", "*.a.example", "a.*", "~^regex".
	Host string `json:"host,omitempty"`
	// Path is a pattern in the forms of VIRTUAL_PATH: "/prefix", "= /exact", "^~ /prefix", "~ regex", "~* regex".
	Path string `json:"path,omitempty"`
	// Rule is a Traefik router rule.
	Rule string `json:"rule,omitempty"`
	// Priority orders rules, higher first; 0 means the length of the rule.
	Priority int `json:"priority,omitempty"`
}

// TLSMode says where a route's certificate comes from.
type TLSMode string

// The TLS modes. TLSAuto is the zero value's meaning.
const (
	TLSAuto     TLSMode = "auto"     // a file, else one by ACME where an issuer is configured, else self-signed
	TLSACME     TLSMode = "acme"     // one by ACME; self-signed until it is there
	TLSInternal TLSMode = "internal" // one of Ruche's own authority; self-signed until it is there
	TLSFile     TLSMode = "file"     // a file, else no HTTPS
	TLSOff      TLSMode = "off"      // no HTTPS
)

// TLSPassthrough is that of routes whose endpoints do the handshake; only where Route.Protocol is ProtocolTCP. There the modes other than TLSOff mean that Ruche does it and hands on
// what is inside, and the zero value that nobody asks whether it is TLS.
const TLSPassthrough TLSMode = "passthrough"

// HTTPSMethod says what the two ports do for a host (HTTPS_METHOD).
type HTTPSMethod string

// The HTTPS methods. A host without a trusted certificate is never redirected.
const (
	HTTPSRedirect   HTTPSMethod = "redirect"   // port 80 redirects to 443
	HTTPSNoRedirect HTTPSMethod = "noredirect" // both ports serve
	HTTPSNoHTTP     HTTPSMethod = "nohttp"     // only 443 serves
	HTTPSNoHTTPS    HTTPSMethod = "nohttps"    // only 80 serves
)
