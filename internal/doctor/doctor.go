// Package doctor says what is wrong or weak in an installation, and what to do about it. It looks at facts that others gather.
package doctor

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/docker"
)

// The checks, in the order in which they are made. docs/doctor.md explains each.
const (
	checkSwarmQuorum = "swarm-quorum"
	checkStateQuorum = "state-quorum"
	checkDataCentres = "data-centres"
	checkClock       = "clock"
	checkVersions    = "versions"
	checkPorts       = "ports"
	checkNodes       = "nodes"
	checkNetworks    = "networks"
	checkSockets     = "sockets"
	checkSinglePoint = "single-points"
	checkIngress     = "ingress"
	checkSealing     = "sealing-keys"
)

// Facts is what is known of an installation at a moment. What could not be learned has its reason in Unknown, and is empty.
type Facts struct {
	Now time.Time
	// Node is the name of the node that answers, and Alone tells that it is "ruche up": one process that no other node joins.
	Node  string
	Alone bool
	// Warnings are the health warnings of that node.
	Warnings []ruche.Warning

	State        ruche.StateStatus
	Nodes        []ruche.NodeInfo // that have joined; none where Alone
	Declarations []ruche.Declaration
	// Seals is what is sealed in the state.
	Seals ruche.SealStatus

	// NoDocker tells that no Engine is to be asked.
	NoDocker bool
	// Engine is unknown where the Swarm is, in part or as a whole.
	Engine docker.Info
	// PlainEngine tells that Engine is asked over a network without TLS, at EngineHost.
	PlainEngine bool
	EngineHost  string
	// These are known where the Engine is a manager of a Swarm.
	SwarmNodes []docker.Node
	Services   []docker.Service
	Networks   []docker.Network

	// Dials are those of Dials, and how they went.
	Dials []Dial

	Unknown Unknown
}

// Unknown has why facts are missing; nil where they are there.
type Unknown struct {
	State, Nodes, Declared, Engine, Swarm, Seals error
}

// Check looks at everything, and has a finding for each check at least.
func Check(f Facts) ruche.Checkup {
	f.SwarmNodes = slices.SortedFunc(slices.Values(f.SwarmNodes), func(a, b docker.Node) int { return strings.Compare(a.Name, b.Name) })
	c := ruche.Checkup{Node: f.Node}
	for _, check := range []struct {
		name string
		look func(Facts, *notes)
	}{
		{checkSwarmQuorum, swarmQuorum},
		{checkStateQuorum, stateQuorum},
		{checkDataCentres, dataCentres},
		{checkClock, clocks},
		{checkVersions, versions},
		{checkPorts, ports},
		{checkNodes, nodes},
		{checkNetworks, networks},
		{checkSockets, sockets},
		{checkSinglePoint, singlePoints},
		{checkIngress, ingress},
		{checkSealing, sealing},
	} {
		n := notes{check: check.name}
		check.look(f, &n)
		c.Findings = append(c.Findings, n.list...)
	}
	return c
}

const (
	swarmFirst = "mend what swarm-quorum says first"
	stateFirst = "mend what state-quorum says first"
)

// notes are the findings of one check.
type notes struct {
	check string
	list  []ruche.Finding
}

func (n *notes) add(level ruche.Level, subject, hint, format string, args ...any) {
	n.list = append(n.list, ruche.Finding{Check: n.check, Level: level, Subject: subject, Message: fmt.Sprintf(format, args...), Hint: hint})
}

// fine says what was looked at, where nothing was found.
func (n *notes) fine(format string, args ...any) {
	if len(n.list) == 0 {
		n.add(ruche.LevelOK, "", "", format, args...)
	}
}

// noSwarm says so where a check is about a Swarm and there is none that is known, and reports whether it did. Why it is not known swarm-quorum says.
func (n *notes) noSwarm(f Facts) bool {
	switch {
	case len(f.SwarmNodes) > 0:
		return false
	case f.Unknown.Engine != nil:
		n.add(ruche.LevelNote, "", swarmFirst, "not looked at: the Engine does not answer")
	case f.Unknown.Swarm != nil:
		n.add(ruche.LevelNote, "", swarmFirst, "not looked at: the Swarm does not answer")
	case f.Engine.Swarm.NodeID == "":
		n.fine("not looked at: there is no Swarm")
	default:
		n.fine("not looked at: the Engine of %s is no manager", f.Node)
	}
	return true
}

// noNodes is noSwarm for the nodes of the installation.
func (n *notes) noNodes(f Facts) bool {
	switch {
	case f.Alone:
		n.fine("not looked at: this is the only node")
	case f.Unknown.Nodes != nil:
		n.add(ruche.LevelNote, "", stateFirst, "not looked at: the state does not answer")
	default:
		return false
	}
	return true
}

// few lists names, of many the first ten.
func few(names []string) string {
	const most = 10
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}

// count gives "1 node", "2 nodes".
func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// worse gives the higher of two levels.
func worse(a, b ruche.Level) ruche.Level {
	order := []ruche.Level{ruche.LevelOK, ruche.LevelNote, ruche.LevelWarning, ruche.LevelError}
	return order[max(slices.Index(order, a), slices.Index(order, b))]
}
