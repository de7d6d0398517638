package match

import "slices"

// MayMatchHost reports whether there can be a path, or a client and protocols, with which the rule takes this host. For rules that ask
// about one path twice it may report true although there is none.
func (r *Rule) MayMatchHost(host string) bool {
	may, _ := r.root.may(host)
	return may
}

// Paths returns the prefixes and exact paths that the rule names outside of negations. With plain, the rule
// consists of host names and prefixes alone: it takes a path whatever comes after what it names.
func (r *Rule) Paths() (paths []string, plain bool) {
	paths, plain = r.root.paths(nil)
	slices.Sort(paths)
	return slices.Compact(paths), plain
}

// may reports whether the node can be true, and whether it can be false, for some path.
func (n *node) may(host string) (be, notBe bool) {
	switch n.op {
	case opAnd, opOr:
		be, notBe = n.op == opAnd, n.op == opOr
		for _, child := range n.nodes {
			b, nb := child.may(host)
			if n.op == opAnd {
				be, notBe = be && b, notBe || nb
			} else {
				be, notBe = be || b, notBe && nb
			}
		}
		return be, notBe
	case opNot:
		b, nb := n.nodes[0].may(host)
		return nb, b
	case opPath, opPathPrefix, opPathRegexp, opClient, opProtocol:
		return true, true
	}
	ok, _ := n.match(Request{Host: host})
	return ok, !ok
}

func (n *node) paths(sum []string) (paths []string, plain bool) {
	switch n.op {
	case opAnd, opOr:
		plain = true
		for _, child := range n.nodes {
			var p bool
			sum, p = child.paths(sum)
			plain = plain && p
		}
		return sum, plain
	case opPathPrefix:
		return append(sum, n.text), true
	case opPath:
		return append(sum, n.text), false
	case opHost, opHostAny:
		return sum, true
	}
	return sum, false
}
