package doctor

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ruche-project/ruche"
)

const (
	// silent is for how long a node may say nothing: it reports every 5 s, and that is noted every 15 s.
	silent = time.Minute
	// clockWeak is what makes logs and ages misleading, clockWrong what certificates and tokens do not bear for long.
	clockWeak  = time.Second
	clockWrong = 30 * time.Second
	clockHint  = "let NTP keep the clock of its host: timedatectl, or chronyc tracking"
)

// talks reports whether a node has said something lately.
func talks(f Facts, n ruche.NodeInfo) bool {
	return n.Status != nil && f.Now.Sub(n.Status.Seen) <= silent
}

// clocks compares the clocks of the nodes with those of the control nodes that they report to.
func clocks(f Facts, n *notes) {
	if n.noNodes(f) {
		return
	}
	compared := 0
	for _, node := range f.Nodes {
		if !talks(f, node) {
			continue
		}
		compared++
		offset, seen := node.Status.ClockOffset, node.Status.Seen.Sub(f.Now)
		switch {
		case offset.Abs() > clockWeak:
			n.add(clockLevel(offset), node.Name, clockHint, "its clock is %s", aheadOrBehind(offset))
		case seen > clockWeak: // said by the clock of a control node
			n.add(clockLevel(seen), node.Name, clockHint, "a control node heard of it in the future: its clock, or the one of that control node, is at least %s against that of %s",
				aheadOrBehind(seen), f.Node)
		}
	}
	if compared < 2 {
		n.fine("not looked at: no other node reports")
	}
	n.fine("the clocks of %s differ by less than a second", count(compared, "node"))
}

func clockLevel(offset time.Duration) ruche.Level {
	if offset.Abs() > clockWrong {
		return ruche.LevelError
	}
	return ruche.LevelWarning
}

func aheadOrBehind(d time.Duration) string {
	way := "ahead"
	if d < 0 {
		way = "behind"
	}
	return fmt.Sprintf("%v %s", d.Abs().Round(100*time.Millisecond), way)
}

// versions looks for upgrades that have stopped half-way, and for Engines that are old or differ.
func versions(f Facts, n *notes) {
	ours := map[string][]string{}
	for _, node := range f.Nodes {
		if talks(f, node) {
			ours[node.Status.Version] = append(ours[node.Status.Version], node.Name)
		}
	}
	if len(ours) > 1 {
		n.add(ruche.LevelWarning, "", "finish the upgrade, or go back: ruche stack upgrade IMAGE; docs/upgrade.md tells of other ways", "the nodes run several versions of Ruche: %s", byVersion(ours))
	}
	engines, managers := map[string][]string{}, map[string][]string{}
	for _, node := range f.SwarmNodes {
		engines[node.Engine] = append(engines[node.Engine], node.Name)
		if node.Manager != nil {
			managers[node.Engine] = append(managers[node.Engine], node.Name)
		}
	}
	if len(f.SwarmNodes) == 0 && f.Engine.Version != "" {
		engines[f.Engine.Version] = []string{f.Node}
	}
	for _, v := range slices.Sorted(maps.Keys(engines)) {
		if tooOld(v) {
			n.add(ruche.LevelWarning, "", "upgrade the Engine: Ruche is tried with 20.10 and newer", "Docker Engine %s is old (%s)", v, few(engines[v]))
		}
	}
	if len(managers) > 1 {
		n.add(ruche.LevelWarning, "", "bring the managers to one version, one after the other", "the managers run several versions of the Engine: %s", byVersion(managers))
	}
	var all []string
	if len(ours) == 1 {
		all = append(all, "Ruche "+slices.Collect(maps.Keys(ours))[0])
	}
	for _, v := range slices.Sorted(maps.Keys(engines)) {
		all = append(all, "Engine "+v)
	}
	if len(all) == 0 {
		n.fine("not looked at: nothing is known of other nodes or of an Engine")
	}
	n.fine("%s", strings.Join(all, ", "))
}

func byVersion(m map[string][]string) string {
	var list []string
	for _, v := range slices.Sorted(maps.Keys(m)) {
		list = append(list, fmt.Sprintf("%s (%s)", v, few(m[v])))
	}
	return strings.Join(list, ", ")
}

// tooOld reports whether a version, such as "19.03.15" or "20.10.24+dfsg1", comes before 20.10. One that cannot be read does not.
func tooOld(version string) bool {
	major, rest, _ := strings.Cut(version, ".")
	minor, _, _ := strings.Cut(rest, ".")
	a, err := strconv.Atoi(major)
	b, _ := strconv.Atoi(minor)
	return err == nil && (a < 20 || a == 20 && b < 10)
}

// nodes looks for nodes that are silent, follow nobody, or have health warnings, and for those of the Swarm that have no part of Ruche.
func nodes(f Facts, n *notes) {
	switch {
	case f.Alone:
		n.warnings(f.Node, f.Warnings, "ruche routes")
		n.fine("%s is the only node, and has no health warning", f.Node)
		return
	case n.noNodes(f):
		return
	}
	for _, node := range f.Nodes {
		n.node(f, node)
	}
	n.parts(f)
	verbs := "report, and have"
	if len(f.Nodes) == 1 {
		verbs = "reports, and has"
	}
	n.fine("%s %s no health warning", count(len(f.Nodes), "node"), verbs)
}

func (n *notes) node(f Facts, node ruche.NodeInfo) {
	s := node.Status
	switch {
	case s == nil && f.Now.Sub(node.Enrolled) > silent:
		n.add(ruche.LevelError, node.Name, silentHint(node.Name), "the node has joined, and never reported")
	case s == nil:
	case !talks(f, node):
		n.add(ruche.LevelError, node.Name, silentHint(node.Name), "the node was heard of %s ago", f.Now.Sub(s.Seen).Round(time.Second))
	default:
		if s.Follows == "" && !slices.Contains(node.Roles, "control") {
			n.add(ruche.LevelWarning, node.Name, "docs/errors.md#control-unreachable", "the node follows no control node: it serves what it knows")
		}
		n.warnings(node.Name, s.Warnings, "ruche nodes")
	}
}

func silentHint(name string) string {
	return "start it, or look at its log; if it is gone for good: ruche nodes remove " + name
}

// warnings counts the health warnings of a node; verb lists them.
func (n *notes) warnings(node string, list []ruche.Warning, verb string) {
	if len(list) == 0 {
		return
	}
	level, per := ruche.LevelNote, map[ruche.Code]bool{}
	for _, w := range list {
		per[w.Code] = true
		switch w.Severity {
		case ruche.SeverityError:
			level = worse(level, ruche.LevelError)
		case ruche.SeverityWarning:
			level = worse(level, ruche.LevelWarning)
		}
	}
	codes := make([]string, 0, len(per))
	for _, c := range slices.Sorted(maps.Keys(per)) {
		codes = append(codes, string(c))
	}
	n.add(level, node, verb+" says what is wrong", "%s: %s", count(len(list), "health warning"), strings.Join(codes, ", "))
}

// parts looks which nodes of the Swarm have no agent or no edge. Nodes of Ruche are told by the names that the stacks give them: that of the host, or one that begins
// with it and a dash.
func (n *notes) parts(f Facts) {
	agents, edges := withRole(f, "agent"), withRole(f, "edge")
	var noAgent, noEdge []string
	here := 0
	for _, node := range f.SwarmNodes {
		if node.State == stateDown {
			if node.Manager == nil { // of managers swarm-quorum tells
				n.add(ruche.LevelError, node.Name, "start its Engine, and look at its network; if it is gone for good: docker node rm --force "+node.Name, "the node of the Swarm is down")
			}
			continue
		}
		if node.State != "ready" || node.Availability != active {
			continue
		}
		here++
		on := func(name string) bool { return name == node.Name || strings.HasPrefix(name, node.Name+"-") }
		if !slices.ContainsFunc(agents, on) {
			noAgent = append(noAgent, node.Name)
		}
		if !slices.ContainsFunc(edges, on) {
			noEdge = append(noEdge, node.Name)
		}
	}
	switch {
	case len(agents) > 0 && here > 0 && len(noAgent) == here:
		n.add(ruche.LevelNote, "", "name agents after their hosts (--node-name), or begin with that name and a dash", "no agent has the name of a node of the Swarm: which nodes lack one is not known")
		return
	case len(noAgent) > 0:
		n.add(ruche.LevelWarning, "", "run an agent on every node: docs/swarm.md", "without an agent, so that what happens to containers there is known as late as the Swarm knows it: %s", few(noAgent))
	}
	if len(noEdge) > 0 && len(edges) > 0 {
		n.add(ruche.LevelNote, "", "run an edge on every node that takes visitors: docs/swarm.md", "without an edge, so that visitors of these nodes are not served: %s", few(noEdge))
	}
}
