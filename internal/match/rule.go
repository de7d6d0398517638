package match

import (
	"net/netip"
	"regexp"
	"slices"
	"strings"
)

// Request is what a rule is asked about.
type Request struct {
	Host string // as CanonicalHost returns it; of a connection the server name, empty when it asks for none
	Path string // begins with a slash, decoded, without the query

	// Client and Protocols matter to the rules of connections alone: who connects, and what TLS offers (ALPN).
	Client    netip.Addr
	Protocols []string
}

// Specificity says how closely a rule describes a request that it takes.
type Specificity struct {
	Host    HostKind // HostAny when nothing was said about the host
	HostLen int      // length of the matcher's host without "*.", in bytes
	PathLen int      // how many bytes of the path were fixed; one more when its end was, too
}

// Rule is a Traefik router rule: matchers for host and path, or for a connection, joined by &&, ||, ! and parentheses.
type Rule struct {
	text  string
	root  *node
	hosts []string
	exact bool
}

type operation uint8

const (
	opAnd operation = iota
	opOr
	opNot
	opHost         // name
	opHostWildcard // one label, then name (".a.example")
	opHostAny
	opHostRegexp
	opPath
	opPathPrefix
	opPathRegexp
	opClient   // network
	opProtocol // of TLS
)

// node is one operation of the parsed rule. Chains of one operator are one node, so that the depth of the
// tree is the depth of the parentheses, which the parser bounds.
type node struct {
	op    operation
	nodes []*node
	text  string
	re    *regexp.Regexp
	// network is of IPv4 or IPv6 addresses, not of the former in the form of the latter.
	network netip.Prefix
	// literal is what the operation adds to Specificity.PathLen.
	literal int
}

// String returns the rule as it was written.
func (r *Rule) String() string { return r.text }

// Len returns the rule's length in bytes, which is its priority unless one is declared.
func (r *Rule) Len() int { return len(r.text) }

// Match reports whether the rule takes the request. It does not allocate.
func (r *Rule) Match(req Request) bool {
	ok, _ := r.root.match(req)
	return ok
}

// Specificity returns how closely the rule describes the request, and whether it takes it at all. Of several
// alternatives that take it, the closest one counts; what is said under a negation does not.
func (r *Rule) Specificity(req Request) (Specificity, bool) {
	ok, s := r.root.match(req)
	return s, ok
}

// Hosts returns the host names of the rule, sorted. With exact, the rule can be true for these hosts alone (and
// for none at all when there are none); without, it can be true for hosts that it does not name.
func (r *Rule) Hosts() (hosts []string, exact bool) { return slices.Clone(r.hosts), r.exact }

func (n *node) match(req Request) (bool, Specificity) {
	none := Specificity{Host: HostAny}
	switch n.op {
	case opAnd:
		return n.matchAll(req)
	case opOr:
		return n.matchAny(req)
	case opNot:
		ok, _ := n.nodes[0].match(req)
		return !ok, none
	case opHost:
		return req.Host == n.text, Specificity{Host: HostExact, HostLen: len(n.text)}
	case opHostWildcard:
		label, ok := strings.CutSuffix(req.Host, n.text)
		ok = ok && label != "" && !strings.Contains(label, ".")
		return ok, Specificity{Host: HostLeading, HostLen: len(n.text) - 1}
	case opHostAny:
		return true, none
	case opHostRegexp:
		return n.re.MatchString(req.Host), Specificity{Host: HostRegexp}
	case opClient:
		return n.network.Contains(req.Client), none
	case opProtocol:
		return slices.Contains(req.Protocols, n.text), none
	}
	return n.matchPath(req.Path), Specificity{Host: HostAny, PathLen: n.literal}
}

func (n *node) matchPath(path string) bool {
	switch n.op {
	case opPath:
		return path == n.text
	case opPathPrefix:
		return strings.HasPrefix(path, n.text)
	}
	return n.re.MatchString(path)
}

func (n *node) matchAll(req Request) (bool, Specificity) {
	sum := Specificity{Host: HostAny}
	for _, child := range n.nodes {
		ok, s := child.match(req)
		if !ok {
			return false, sum
		}
		if closer(s, sum) {
			sum.Host, sum.HostLen = s.Host, s.HostLen
		}
		sum.PathLen = max(sum.PathLen, s.PathLen)
	}
	return true, sum
}

func (n *node) matchAny(req Request) (bool, Specificity) {
	best, found := Specificity{Host: HostAny}, false
	for _, child := range n.nodes {
		ok, s := child.match(req)
		if !ok {
			continue
		}
		same := s.Host == best.Host && s.HostLen == best.HostLen
		if !found || closer(s, best) || same && s.PathLen > best.PathLen {
			best = s
		}
		found = true
	}
	return found, best
}

// closer reports whether a names the host more closely than b.
func closer(a, b Specificity) bool {
	return a.Host < b.Host || a.Host == b.Host && a.HostLen > b.HostLen
}

// hostSet returns the hosts that the node names, and whether it is false for all others.
func (n *node) hostSet() (hosts []string, exact bool) {
	switch n.op {
	case opHost:
		return []string{n.text}, true
	case opAnd:
		return n.hostsOfAll()
	case opOr:
		exact = true
		for _, child := range n.nodes {
			h, e := child.hostSet()
			hosts, exact = append(hosts, h...), exact && e
		}
		slices.Sort(hosts)
		return slices.Compact(hosts), exact
	}
	return nil, false
}

func (n *node) hostsOfAll() (hosts []string, exact bool) {
	var named []string
	for _, child := range n.nodes {
		h, e := child.hostSet()
		switch {
		case e && exact:
			hosts = slices.DeleteFunc(hosts, func(s string) bool { return !slices.Contains(h, s) })
		case e:
			hosts, exact = h, true
		default:
			named = append(named, h...)
		}
	}
	if !exact {
		hosts = named
	}
	slices.Sort(hosts)
	return slices.Compact(hosts), exact
}
