// Package table is the route table: what was declared and what is live, joined into routes and
// indexed by host and path. A Table is immutable; compiling one does no I/O and starts no goroutine, and the same input
// gives the same table whatever the order of the maps.
package table

import (
	"fmt"
	"net/url"
	"strconv"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/match"
)

// Table is a compiled route table. It is safe for concurrent use.
type Table struct {
	// Routes are sorted by ID. They must not be changed.
	Routes []*Route
	// Diagnostics are all that were declared by existing workloads and all that joining found.
	Diagnostics []ruche.Diagnostic
	// Slots is above the Index of each route.
	Slots int

	workloads map[string]*workload
	declared  map[string][]ruche.Diagnostic // with a workload, by its name
	found     map[*Route][]ruche.Diagnostic // in a route, beside the others of this table
	shadowed  map[*Route]string             // by whom

	names   hostIndex
	rules   ruleIndex
	streams map[listener]*streamIndex
}

// Route is all declarations of the same vocabulary and match, joined. It is immutable, and the same in each table until something about it changes.
type Route struct {
	// Index is a small number that no other route of a table has. It says nothing about the order.
	Index int
	// ID is stable across compilations; see ruche.RouteStatus.
	ID         string
	Vocabulary ruche.Vocabulary
	Match      ruche.Match
	// Protocol is empty for HTTP. Routes of other protocols are found by Stream and Datagrams alone.
	Protocol ruche.Protocol
	// Hosts are the exact names or host patterns of the match.
	Hosts     []string
	Sources   []ruche.RouteSource
	Endpoints []Endpoint

	Dest        string
	CleanPath   bool
	TLS         ruche.TLSMode
	CertName    string
	HTTPSMethod ruche.HTTPSMethod
	// Policy is never empty; Sticky, when there is one, has a cookie name.
	Policy ruche.Policy
	Sticky *ruche.Sticky
	Check  *ruche.Check
	Eject  *ruche.Eject
	// Root, ProxyProtocol and NoKeepAlive say how endpoints are spoken to; see ruche.Route.
	Root          string
	ProxyProtocol int
	NoKeepAlive   bool
	// ClientAuth, MinTLS, HSTS and EndpointTLS are about TLS; see ruche.Route. HSTS has its default here.
	ClientAuth  *ruche.ClientAuth
	MinTLS      string
	HSTS        string
	EndpointTLS *ruche.EndpointTLS
	// Blocked is why all that is declared must answer 503; see ruche.Route.
	Blocked string

	keepAlive ruche.KeepAlive // as it was declared

	host     match.Host
	path     match.Path
	rule     *match.Rule
	priority int
	owner    owner
	parts    []*part
	// diagnostics are what joining the parts found.
	diagnostics []ruche.Diagnostic
}

// byName reports whether the route is found by patterns of host and path.
func (r *Route) byName() bool { return r.rule == nil && r.Protocol == "" }

// owner is what orders routes that claim the same requests.
type owner struct {
	workload ruche.Workload
	life     life
}

// life says how alive what declares is. The lower one wins whatever the age: a container that does not run takes
// nothing from one that does.
type life int

const (
	running life = iota // it may take requests now, or would if it were well; route files always
	resting             // it exists, but does not run: created, exited, or waiting to be restarted
	gone
)

// before reports whether o wins over p: the one that is more alive, then the older.
func (o owner) before(p owner) bool {
	if o.life != p.life {
		return o.life < p.life
	}
	return o.workload.Older(p.workload)
}

// Replaced returns what Dest replaces at the beginning of a path that the route takes: the prefix or the whole of an exact path;
// and false for rules and regular expressions, which replace nothing.
func (r *Route) Replaced() (string, bool) {
	if r.rule != nil || r.path.Kind() == match.PathRegexp {
		return "", false
	}
	return r.path.Value(), true
}

// Endpoint is one place a route's requests can go to.
type Endpoint struct {
	// URL is scheme, address and port; empty when there is no address yet.
	URL string
	// Scheme is one of ruche's schemes, Address is "host:port".
	Scheme, Address string
	// TLS says how it is verified, for schemes with TLS; nil: not at all.
	TLS *ruche.EndpointTLS
	// Weight is its share of the requests; 0: it gets none.
	Weight        int
	WorkloadID    string
	Workload      string // name
	Node          string
	Network       string
	NetworkReason string
	PortReason    string
	State         ruche.EndpointState
	StateReason   string
	Since         time.Time
}

// Ready reports whether the endpoint takes requests.
func (e *Endpoint) Ready() bool { return e.State == ruche.EndpointReady && e.Address != "" }

// Key tells endpoints apart across compilations. A connection must not be used for a route that verifies otherwise.
func (e *Endpoint) Key() string {
	key := e.URL + " " + e.WorkloadID
	if e.TLS != nil {
		key += fmt.Sprintf(" %+v", *e.TLS)
	}
	return key
}

// parseEndpoint reads a fixed endpoint of a route file. It must be a base URL.
func parseEndpoint(s string) (scheme, address string, ok bool) {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.User != nil || (u.Path != "" && u.Path != "/") || u.RawQuery != "" || u.Fragment != "" {
		return "", "", false
	}
	port, known := ruche.DefaultPort(u.Scheme)
	known = known || u.Scheme == ruche.SchemeTCP || u.Scheme == ruche.SchemeUDP
	switch {
	case !known:
		return "", "", false
	case u.Port() != "":
		return u.Scheme, u.Host, true
	case port == 0:
		return "", "", false
	}
	return u.Scheme, u.Host + ":" + strconv.Itoa(int(port)), true
}
