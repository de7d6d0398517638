package doctor

import (
	"cmp"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/docker"
)

const (
	stateDown  = "down"
	active     = "active"
	reachable  = "reachable"
	labelHint  = "docker node update --label-add ruche.datacenter=NAME NODE"
	stateHint  = `bring their nodes up ("ruche state status" lists the members); when they are lost for good, docs/state.md has the way out`
	swarmHint  = "bring a majority of the managers up; when they are lost for good, docs/doctor.md#swarm-quorum has the way out"
	memberHint = "wait; when it stays so, the log of its node says why"
)

// swarmQuorum looks whether the managers of the Swarm are there, and how many of them may be lost.
func swarmQuorum(f Facts, n *notes) {
	s := f.Engine.Swarm
	switch {
	case f.NoDocker:
		n.fine("not looked at: no Engine is asked (--no-docker)")
	case f.Unknown.Engine != nil:
		n.add(ruche.LevelError, f.Node, "start the Engine there; docs/errors.md#docker-unreachable says more", "the Engine does not answer: %v", f.Unknown.Engine)
	case f.Unknown.Swarm != nil:
		known := ""
		if len(s.Managers) > 0 {
			known = " (its managers: " + strings.Join(s.Managers, ", ") + ")"
		}
		n.add(ruche.LevelError, "", "ask again in a minute, since managers that have lost their leader choose another; else "+swarmHint, "the Swarm does not answer: %v%s", f.Unknown.Swarm, known)
	case s.NodeID == "":
		n.fine("the Engine of %s is in no Swarm", f.Node)
	case !s.Manager && f.Alone:
		n.fine("the Engine of %s is a worker: containers declare for themselves there", f.Node)
	case !s.Manager:
		n.add(ruche.LevelWarning, f.Node, "run control nodes on managers, or: docker node promote NODE", "the Engine of this control node is no manager: it cannot look after services")
	default:
		managers(f, n)
	}
}

func managers(f Facts, n *notes) {
	all := managersOf(f)
	up := 0
	var lost, idle []string
	for _, m := range all {
		switch {
		case m.State == stateDown || m.Manager.Reachability != reachable:
			lost = append(lost, m.Name)
			continue
		case m.Availability != active:
			idle = append(idle, m.Name)
		}
		up++
	}
	n.majority("manager", up, len(all), swarmHint, "docker node promote NODE, or docker node demote NODE")
	for _, name := range lost {
		hint := "start its Engine, and look at its network"
		if up > len(all)/2 { // else nothing can be changed
			hint += "; if it is gone for good: docker node demote " + name + ", then docker node rm --force " + name
		}
		n.add(ruche.LevelError, name, hint, "the manager cannot be reached by the others")
	}
	for _, name := range idle {
		n.add(ruche.LevelWarning, name, "docker node update --availability active "+name, "the manager takes no tasks (drain or pause): no control node is started there")
	}
}

// majority says how many of them are up, and how many may be lost; lost and change are what to do when too few are up, and when their number is even.
func (n *notes) majority(what string, up, all int, lost, change string) {
	need := all/2 + 1
	switch {
	case up < need:
		n.add(ruche.LevelError, "", lost, "%d of %s up, and a majority is %d: nothing can be changed", up, are(all, what), need)
	case all%2 == 0:
		n.add(ruche.LevelWarning, "", "have an odd number of them: "+change, "%d of %s up: no more may be lost than of %d", up, are(all, what), all-1)
	case up == need && up < all:
		n.add(ruche.LevelWarning, "", "bring the others up", "%d of %s up: none of these may be lost", up, are(all, what))
	case up == need:
		n.add(ruche.LevelOK, "", "", "%d of %s up: it must not be lost", up, are(all, what))
	default:
		n.add(ruche.LevelOK, "", "", "%d of %s up: %d may be lost", up, are(all, what), up-need)
	}
}

// are gives "1 manager is", "3 managers are".
func are(n int, what string) string {
	if n == 1 {
		return count(n, what) + " is"
	}
	return count(n, what) + " are"
}

// stateQuorum looks whether the members of the state are there.
func stateQuorum(f Facts, n *notes) {
	if f.Unknown.State != nil {
		n.add(ruche.LevelError, f.Node, "the log of this node says more", "the state does not answer: %v", f.Unknown.State)
		return
	}
	voters, up := 0, 0
	for _, m := range f.State.Members {
		if !m.Learner {
			voters++
			if answers(f, m) {
				up++
			}
		}
	}
	n.majority("member", up, voters, stateHint, "let one more control node join, or take one away")
	if !f.State.Quorum && up > voters/2 {
		n.add(ruche.LevelError, f.Node, "look at the network between the control nodes", "this node sees no majority since %s, although the members answer", f.State.QuorumSince.UTC().Format(time.RFC3339))
	}
	for _, m := range f.State.Members {
		name := cmp.Or(m.Name, m.Peer)
		switch {
		case m.Learner && m.Healthy:
			n.add(ruche.LevelWarning, name, memberHint, "the member receives the state and does not vote yet")
		case m.Learner:
			n.add(ruche.LevelWarning, name, memberHint, "the member was invited and has not come up")
		case !answers(f, m):
			n.add(ruche.LevelError, name, "start its node, and look at its network; when it is lost for good, docs/state.md has the way out", "the member does not answer")
		}
	}
	const enough = 3
	control, managers := withRole(f, "control"), len(managersOf(f))
	if f.Unknown.Nodes == nil && len(control) == enough-1 && managers >= enough {
		n.add(ruche.LevelNote, "", controlHint, "there are %d managers, and %d control nodes", managers, len(control))
	}
}

// answers reports whether a member is up. That of this node is: without a majority it is not healthy, and it has told all that is known here.
func answers(f Facts, m ruche.Member) bool { return m.Healthy || m.Name == f.Node }

const controlHint = "the stack runs one on each manager that takes tasks: have three managers (docker node promote NODE); docker service ps ruche_control says what keeps one off"

func managersOf(f Facts) []docker.Node {
	return slices.DeleteFunc(slices.Clone(f.SwarmNodes), func(n docker.Node) bool { return n.Manager == nil })
}

// withRole gives the names of the nodes that have a role.
func withRole(f Facts, role string) []string {
	var names []string
	for _, n := range f.Nodes {
		if slices.Contains(n.Roles, role) {
			names = append(names, n.Name)
		}
	}
	return names
}

// dataCentres looks whether one data centre has a majority of the managers, or of the members.
func dataCentres(f Facts, n *notes) {
	if n.noSwarm(f) {
		return
	}
	all := managersOf(f)
	const few = 3 // of less than that any has a majority, or half
	if len(all) < few {
		n.fine("not looked at: %s", count(len(all), "manager"))
		return
	}
	var places, without []string
	for _, m := range all {
		if place := placeOf(m); place != "" {
			places = append(places, place)
		} else {
			without = append(without, m.Name)
		}
	}
	switch {
	case len(places) == 0:
		n.add(ruche.LevelOK, "", labelHint, "no manager has a label of its data centre: they are not compared")
		return
	case len(without) > 0:
		n.add(ruche.LevelWarning, "", labelHint, "managers without a label of their data centre: %s", strings.Join(without, ", "))
	}
	n.spread("managers", places, len(all))
	var members []string
	voters := 0
	for _, m := range f.State.Members {
		if m.Learner {
			continue
		}
		voters++
		if i := slices.IndexFunc(f.SwarmNodes, func(node docker.Node) bool { return node.Address.IsValid() && node.Address.String() == hostOf(m.Peer) }); i >= 0 && placeOf(f.SwarmNodes[i]) != "" {
			members = append(members, placeOf(f.SwarmNodes[i]))
		}
	}
	if voters >= few {
		n.spread("members of the state", members, voters)
	}
	n.fine("%s are in %s", count(len(all), "manager"), strings.Join(slices.Compact(slices.Sorted(slices.Values(places))), ", "))
}

// spread notes a place that has a majority of all.
func (n *notes) spread(what string, places []string, all int) {
	per := map[string]int{}
	for _, p := range places {
		per[p]++
	}
	for _, p := range slices.Sorted(slices.Values(slices.Compact(slices.Sorted(slices.Values(places))))) {
		if per[p] <= all/2 {
			continue
		}
		level := ruche.LevelWarning
		if per[p] == all {
			level = ruche.LevelNote // there may be no other
		}
		n.add(level, p, "spread them over three places, so that none has a majority", "%d of the %d %s are in one data centre: without it nothing can be changed", per[p], all, what)
	}
}

// placeOf is the data centre of a node, by the first of its labels that is there; empty when none is.
func placeOf(n docker.Node) string {
	return cmp.Or(n.Labels["ruche.datacenter"], n.Labels["datacenter"], n.Labels["dc"], n.Labels["zone"])
}

// hostOf is the address in a peer URL of a member; empty where it is none of a network.
func hostOf(peer string) string {
	if u, err := url.Parse(peer); err == nil && u.Scheme == "https" {
		return u.Hostname()
	}
	return ""
}
