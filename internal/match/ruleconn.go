package match

import (
	"net/netip"
	"slices"
	"strings"
)

const connectionMatchers = "HostSNI, HostSNIRegexp, ClientIP, ALPN"

// ParseConnectionRule parses the rule of a Traefik TCP router. Matchers are HostSNI, HostSNIRegexp, ClientIP and ALPN; all else is as with ParseRule. HostSNI(`*`) is
// true for connections that ask for no name, too.
func ParseConnectionRule(s string) (*Rule, error) {
	return parseRule(&parser{text: s, connection: true})
}

func (p *parser) knownOfConnections(at int, name string) *Error {
	switch strings.ToLower(name) {
	case "hostsni", "hostsniregexp", "clientip", "alpn":
		return nil
	case "host":
		return p.fail(at, "write HostSNI", "Host belongs to the rules of HTTP routers")
	case "hostregexp":
		return p.fail(at, "write HostSNIRegexp", "HostRegexp belongs to the rules of HTTP routers")
	case "path", "pathprefix", "pathregexp", "method", "header", "headers", "headerregexp", "headersregexp", "query", "queryregexp":
		return p.fail(at, "a TCP router uses "+connectionMatchers, "%s belongs to the rules of HTTP routers", name)
	}
	return p.fail(at, "the matchers are "+connectionMatchers, "unknown matcher %s", quote(name))
}

// connectionArgument makes the node of one string of a matcher; name is lower case and known.
func connectionArgument(name, value string) (*node, *Error) {
	switch name {
	case "hostsni":
		return argument("host", value)
	case "hostsniregexp":
		return argument("hostregexp", value)
	case "clientip":
		return clientArgument(value)
	}
	switch {
	case value == "":
		return nil, fail("write for example ALPN(`h2`)", "the protocol is empty")
	case value == "acme-tls/1":
		return nil, fail("", "acme-tls/1 is for those who issue certificates")
	}
	return &node{op: opProtocol, text: value}, nil
}

func clientArgument(value string) (*node, *Error) {
	network, err := netip.ParsePrefix(value)
	if err != nil {
		var a netip.Addr
		if a, err = netip.ParseAddr(value); err == nil {
			network = netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen())
		}
	} else if network.Addr().Is4In6() && network.Bits() >= 96 {
		network = netip.PrefixFrom(network.Addr().Unmap(), network.Bits()-96)
	}
	if err != nil || strings.Contains(value, "%") { // an interface of this host means nothing to who writes a label
		return nil, fail("write for example ClientIP(`10.0.0.0/8`)", "%s is neither an address nor a network", quote(value))
	}
	return &node{op: opClient, network: network.Masked()}, nil
}

// Protocols returns the protocols (ALPN) that the rule names outside of negations, in order.
func (r *Rule) Protocols() []string { return r.root.protocols(nil) }

func (n *node) protocols(sum []string) []string {
	switch {
	case n.op == opProtocol && !slices.Contains(sum, n.text):
		return append(sum, n.text)
	case n.op == opAnd || n.op == opOr:
		for _, child := range n.nodes {
			sum = child.protocols(sum)
		}
	}
	return sum
}

// AsksTLS reports whether the rule asks for something that only TLS tells.
func (r *Rule) AsksTLS() bool { return r.root.asksTLS() }

func (n *node) asksTLS() bool {
	switch n.op {
	case opHost, opHostWildcard, opHostRegexp, opProtocol:
		return true
	}
	return slices.ContainsFunc(n.nodes, (*node).asksTLS)
}

// TakesAll reports whether the rule is HostSNI(`*`) alone.
func (r *Rule) TakesAll() bool { return r.root.op == opHostAny }
