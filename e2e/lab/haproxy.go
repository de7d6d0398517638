package lab

import (
	"os"
	"path/filepath"
)

// StartHAProxy starts HAProxy on the node, in the foreground, with what the configuration says.
func (n *Node) StartHAProxy(config string) {
	n.lab.t.Helper()
	dir := filepath.Join(n.dir, "haproxy")
	n.lab.must(os.MkdirAll(dir, 0o755))
	p, err := n.start("haproxy", nil, append(n.enter(), "haproxy", "-db", "-f", n.lab.File(dir, "haproxy.cfg", config))...)
	n.lab.must(err)
	n.others = append(n.others, p)
}
