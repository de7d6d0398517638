package ruche

import "time"

// CertificateKind says what sort of certificate a name is served with.
type CertificateKind string

// The kinds of certificate.
const (
	CertificateFile       CertificateKind = "file"
	CertificateACME       CertificateKind = "acme"
	CertificateInternal   CertificateKind = "internal" // of Ruche's own authority
	CertificateImported   CertificateKind = "imported"
	CertificateSelfSigned CertificateKind = "self-signed"
	CertificateForeign    CertificateKind = "foreign" // others look after it: the name is passed through, or watched
	CertificateNone       CertificateKind = "none"
)

// CertificateStatus says which certificate a name is served with and why.
type CertificateStatus struct {
	Kind CertificateKind `json:"kind"`
	// File is the path of the .crt file; empty unless Kind is CertificateFile.
	File     string    `json:"file,omitempty"`
	Issuer   string    `json:"issuer,omitempty"`
	Names    []string  `json:"names,omitempty"`
	NotAfter time.Time `json:"not_after,omitzero"`
	// NotBefore, CA (the common name of who issued it), KeyType and Serial (in hexadecimal digits) are told of files.
	NotBefore time.Time `json:"not_before,omitzero"`
	CA        string    `json:"ca,omitempty"`
	KeyType   string    `json:"key_type,omitempty"`
	Serial    string    `json:"serial,omitempty"`
	// Fingerprint is the SHA-256 of the certificate in hexadecimal digits, where it is a file or of the store.
	Fingerprint string `json:"fingerprint,omitempty"`
	// Reason says how it was chosen, or why there is none: "shop.example.crt is the host's own", ...
	Reason string `json:"reason"`
}

// Trusted reports whether port 80 may redirect to HTTPS: somebody vouches for the certificate.
func (c CertificateStatus) Trusted() bool {
	return c.Kind != CertificateSelfSigned && c.Kind != CertificateNone && c.Kind != ""
}

// EndpointStatus is an endpoint as the edge sees it now.
type EndpointStatus struct {
	// URL is scheme, address and port: "http://172.17.0.2:8080"; empty when it has no address.
	URL           string        `json:"url,omitempty"`
	Workload      string        `json:"workload"` // name, not ID
	Node          string        `json:"node,omitempty"`
	Network       string        `json:"network,omitempty"`
	NetworkReason string        `json:"network_reason,omitempty"`
	PortReason    string        `json:"port_reason,omitempty"`
	State         EndpointState `json:"state"`
	StateReason   string        `json:"state_reason,omitempty"`
	Since         time.Time     `json:"since,omitzero"`
	// InFlight counts requests being forwarded to it now.
	InFlight int64 `json:"in_flight"`
	// LastError is the newest failure to reach it, LastErrorAt when; zero when there was none.
	LastError   string    `json:"last_error,omitempty"`
	LastErrorAt time.Time `json:"last_error_at,omitzero"`
	// CoolingDown tells that recent failures make it the last choice, until EjectedUntil.
	CoolingDown  bool      `json:"cooling_down,omitempty"`
	EjectedUntil time.Time `json:"ejected_until,omitzero"`
	// Weight is its share of requests next to the route's other endpoints.
	Weight int `json:"weight"`
	// Check is what the active health check found; nil when there is none.
	Check *CheckStatus `json:"check,omitempty"`
}

// CheckStatus is what the active health check of an endpoint found.
type CheckStatus struct {
	// Healthy is false when the check has taken the endpoint out.
	Healthy bool `json:"healthy"`
	// At is when it was checked last; zero before the first time. Error is how that failed; empty when it did not.
	At    time.Time `json:"at,omitzero"`
	Error string    `json:"error,omitempty"`
}

// RouteSource is one declaration that feeds a route.
type RouteSource struct {
	Workload     string       `json:"workload"` // name, not ID
	WorkloadKind WorkloadKind `json:"workload_kind"`
	Source       string       `json:"source"`
	GoneSince    time.Time    `json:"gone_since,omitzero"`
}

// RouteStatus is one route as the edge serves it: all declarations of the same match joined.
type RouteStatus struct {
	// ID is stable across compilations and restarts: "<vocabulary>:<host><path>" or "traefik:<router>".
	ID         string     `json:"id"`
	Vocabulary Vocabulary `json:"vocabulary"`
	Match      Match      `json:"match"`
	// Protocol is empty for HTTP; see Route.Protocol.
	Protocol Protocol `json:"protocol,omitempty"`
	// Hosts are the exact names or host patterns of the match, for display and for certificates.
	Hosts     []string         `json:"hosts,omitempty"`
	Sources   []RouteSource    `json:"sources"`
	Endpoints []EndpointStatus `json:"endpoints"`
	// Certificates has one entry for each of Hosts that is an exact name or a wildcard.
	Certificates map[string]CertificateStatus `json:"certificates,omitempty"`
	HTTPSMethod  HTTPSMethod                  `json:"https_method"`
	// Policy is how endpoints are chosen, Sticky the name of the cookie that keeps clients at one, if there is one.
	Policy Policy `json:"policy"`
	Sticky string `json:"sticky,omitempty"`
	// Blocked is why the route answers 503 on purpose; see Route.Blocked.
	Blocked string `json:"blocked,omitempty"`
	// ShadowedBy is the ID of the route that takes all its requests, if there is one.
	ShadowedBy  string       `json:"shadowed_by,omitempty"`
	Diagnostics []Diagnostic `json:"diagnostics,omitempty"`
	// Requests counts the requests answered since start, by status class 1 to 5 at index 0 to 4. Connections count with class 2, and with
	// class 5 when no endpoint took them; with UDP these are sessions, and datagrams that were dropped.
	Requests [5]uint64 `json:"requests"`
}

// ReadyEndpoints counts the endpoints that take requests.
func (r RouteStatus) ReadyEndpoints() int {
	n := 0
	for _, e := range r.Endpoints {
		if e.State == EndpointReady {
			n++
		}
	}
	return n
}

// ReplicaStatus is how a node that is no member of the state knows it.
type ReplicaStatus struct {
	// Follows is the address of the control node that it follows; empty when it follows none, since FollowsSince in both cases.
	Follows      string    `json:"follows,omitempty"`
	FollowsSince time.Time `json:"follows_since,omitzero"`
	// Heard is of when what it knows is; zero when it knows nothing.
	Heard time.Time `json:"heard,omitzero"`
}

// Elsewhere tells that a node cannot answer a question, and whom to ask.
type Elsewhere struct {
	Error string `json:"error"`
	Hint  string `json:"hint"`
}

// RouteList answers "what is published?".
type RouteList struct {
	// Replica tells how old what is served may be; nil on a node that has the state itself.
	Replica *ReplicaStatus `json:"replica,omitempty"`
	// Elsewhere is set on a node that serves no visitors, and so has no routes; nil on others.
	Elsewhere *Elsewhere    `json:"elsewhere,omitempty"`
	Routes    []RouteStatus `json:"routes"`
	// Diagnostics are all that were found, those that belong to no route included.
	Diagnostics []Diagnostic `json:"diagnostics"`
	Warnings    []Warning    `json:"warnings"`
}

// Explanation answers "what happens to a request for this URL, and why?".
type Explanation struct {
	URL string `json:"url"`
	// Elsewhere is set on a node that serves no visitors, which knows nothing but its Warnings; nil on others.
	Elsewhere *Elsewhere `json:"elsewhere,omitempty"`
	// Answer is what a request gets now, in one sentence: "forwarded to 2 endpoints", "503: no endpoint is ready", ...
	Answer string `json:"answer"`
	// Status is the status code Ruche itself would give; 0 when the request is forwarded.
	Status int `json:"status,omitempty"`
	// Location is where a redirect points.
	Location string `json:"location,omitempty"`
	// Reasons tell step by step how the route was chosen.
	Reasons []string     `json:"reasons"`
	Route   *RouteStatus `json:"route,omitempty"`
	// Certificate is the one that the URL's host is served with.
	Certificate CertificateStatus `json:"certificate"`
	// Candidates are the nearest routes when no route matches.
	Candidates []Candidate `json:"candidates,omitempty"`
	// Diagnostics are those that concern the host, or may have kept it out.
	Diagnostics []Diagnostic `json:"diagnostics,omitempty"`
	Warnings    []Warning    `json:"warnings,omitempty"`
}

// Candidate is a route that nearly matches.
type Candidate struct {
	RouteID string `json:"route_id"`
	Host    string `json:"host"`
	Path    string `json:"path,omitempty"`
	// Why says what keeps it from matching.
	Why string `json:"why"`
}

// RouteCount is what the edge has counted for one route since start.
type RouteCount struct {
	RouteID string
	// ByClass counts answers by status class 1 to 5 at index 0 to 4.
	ByClass [5]uint64
	// Buckets counts answers by latency: Buckets[i] took at most LatencyBounds[i]; the last one, without bound, the rest.
	// They are not cumulative.
	Buckets [len(LatencyBounds) + 1]uint64
	// Seconds is the sum of all latencies.
	Seconds float64
}

// StreamCount is what the edge has counted for one route that is not about HTTP since start.
type StreamCount struct {
	RouteID string
	// Carried counts connections that had an endpoint, Failed those that had none. With UDP these are sessions, and datagrams that were dropped.
	Carried, Failed uint64
	// Received and Sent are bytes from and to clients.
	Received, Sent uint64
}

// ConnectionCount is what the edge knows of its clients' connections.
type ConnectionCount struct {
	// Open is how many there are now, Most how many there may be.
	Open, Most int64
	// Refused counts those that were refused since start, by reason: "all" (there were too many), "address" (their client had too many), "udp" (there were
	// too many sessions of UDP, which have a part of the places), "proxy-protocol" (a peer that has to begin with a PROXY header did not) and "http2" (they were
	// ended, since the client did again and again what only costs time).
	Refused map[string]uint64
}

// LatencyBounds are the upper bounds of the latency histogram, in seconds.
var LatencyBounds = [...]float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60}

// NodeStatus is how a node is, as it says itself.
type NodeStatus struct {
	Node     string    `json:"node"`
	Version  string    `json:"version"`
	Warnings []Warning `json:"warnings,omitempty"`
	// Follows is the address of the control node that it follows; empty when it follows none, since FollowsSince in both cases.
	Follows      string    `json:"follows,omitempty"`
	FollowsSince time.Time `json:"follows_since,omitzero"`
	// Challenges is the revision of the state of which the challenges are that an edge answers CAs with; 0 on other nodes.
	Challenges int64 `json:"challenges,omitempty"`
	// Seen is when a control node heard this, by that one's clock, to some 15 s.
	Seen time.Time `json:"seen,omitzero"`
	// ClockOffset is how far its clock is ahead of that control node's, negative where it is behind; 0 where they differ by less than half a second.
	ClockOffset time.Duration `json:"clock_offset,omitempty"`
	// SealKeys are the IDs of a control node's sealing keys, the one that seals first.
	SealKeys []string `json:"seal_keys,omitempty"`
}

// NodeInfo is a node as the control nodes know it.
type NodeInfo struct {
	Name     string    `json:"name"`
	Roles    []string  `json:"roles"`
	Address  string    `json:"address,omitempty"` // of a control node, as host:port
	Enrolled time.Time `json:"enrolled"`
	// Status is what it said last; nil when it has said nothing yet.
	Status *NodeStatus `json:"status,omitempty"`
}

// NodeList answers "which nodes are there?".
type NodeList struct {
	Nodes []NodeInfo `json:"nodes"` // by name
	// Refused counts the peers that the answering control node has turned away since its start, by reason.
	Refused map[string]uint64 `json:"refused,omitempty"`
}

// TokenRequest says what a join token is for.
type TokenRequest struct {
	Roles []string `json:"roles"`
	// Uses is how many nodes may join by it; -1 is any number.
	Uses int `json:"uses"`
	// Expires is when it ends to be good; zero: never.
	Expires time.Time `json:"expires,omitzero"`
}

// TokenInfo is a join token as it is listed: nobody can join by what is in it.
type TokenInfo struct {
	// ID names it: the first 8 digits of what it is kept under, which its text cannot be made from.
	ID    string   `json:"id"`
	Roles []string `json:"roles"`
	// Uses is how many more nodes may join by it; -1 is any number.
	Uses int `json:"uses"`
	// Used tells that a node has joined by it.
	Used    bool      `json:"used"`
	Created time.Time `json:"created"`
	// Expires is when it ends to be good; zero: never.
	Expires time.Time `json:"expires,omitzero"`
}

// TokenList answers "by which join tokens may nodes join?".
type TokenList struct {
	Tokens []TokenInfo `json:"tokens"` // the oldest first
}

// StateCount is what is counted of the replicated state, as one member sees it.
type StateCount struct {
	Quorum bool
	// Members is how many there are, Healthy how many of them answered when they were asked last, a few seconds ago. Both are 0 before that.
	Members, Healthy int
	// LeadsSwarm tells that this node looks after the services of the Swarm, LeadsCertificates that it has certificates issued.
	LeadsSwarm, LeadsCertificates bool
	// Refused counts connections to this member's peer address that were refused since start, by reason.
	Refused map[string]int64
}

// ACMEServerCount is what the ACME server of a control node has done since start.
type ACMEServerCount struct {
	// Orders and Challenges by result, Refused requests by type of problem.
	Orders, Challenges, Refused map[string]uint64
	// Accounts is how many there are in the installation.
	Accounts int64
}

// MeshCount is what a control node counts of other nodes.
type MeshCount struct {
	// Nodes counts those that are enrolled by role, Seen those of them that some control node has heard of in the last minute. A node with several roles counts in each.
	Nodes, Seen map[string]int
	// Followers is how many follow this control node.
	Followers int
	// Refused counts peers that were turned away since start, by reason.
	Refused map[string]uint64
}
