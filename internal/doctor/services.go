package doctor

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/docker"
)

const (
	// roleLabel tells on a service which part of Ruche it runs.
	roleLabel = "ruche.role"
	roleEdge  = "edge"
)

func edgeServices(f Facts) []docker.Service {
	return slices.DeleteFunc(slices.Clone(f.Services), func(s docker.Service) bool { return s.Labels[roleLabel] != roleEdge })
}

// edgeNetworks are the networks of the Swarm that edges are in.
func edgeNetworks(f Facts) []docker.Network {
	var list []docker.Network
	for _, n := range f.Networks {
		in := func(s docker.Service) bool {
			return slices.Contains(s.Networks, n.ID) || slices.Contains(s.Networks, n.Name)
		}
		if n.Driver == "overlay" && !n.Ingress && slices.ContainsFunc(edgeServices(f), in) {
			list = append(list, n)
		}
	}
	return list
}

// networks looks for what is declared and cannot be reached by the edges.
func networks(f Facts, n *notes) {
	if f.Unknown.Declared != nil {
		n.add(ruche.LevelNote, "", stateFirst, "not looked at: the state does not answer")
		return
	}
	var cut []string
	containers := 0
	for _, d := range f.Declarations {
		if !d.GoneSince.IsZero() || len(d.Routes) == 0 {
			continue
		}
		if d.Workload.Kind == ruche.KindContainer {
			containers++
		}
		for _, g := range d.Diagnostics {
			if g.Code == ruche.CodeNetworkUnreachable && g.Severity == ruche.SeverityError {
				cut = append(cut, d.Workload.Name)
				break
			}
		}
	}
	slices.Sort(cut)
	if len(cut) > 0 {
		n.add(ruche.LevelWarning, "", `"ruche routes" has the command that mends it, for each of them`, "declared, and in no network in which Ruche reaches it: %s", few(cut))
	}
	edges := edgeNetworks(f)
	if len(edges) > 0 && containers > 0 && !slices.ContainsFunc(edges, func(n docker.Network) bool { return n.Attachable }) {
		n.add(ruche.LevelWarning, edges[0].Name, "make another network with --attachable for the edges, and connect these containers to it",
			"%s declared without a service, and cannot join the edges' network: it is not attachable", are(containers, "container"))
	}
	n.fine("what is declared is in networks in which Ruche reaches it")
}

// sockets looks who has an Engine's socket, which is as good as root on its node, and can be spoken to by strangers.
func sockets(f Facts, n *notes) {
	if f.PlainEngine {
		n.add(ruche.LevelWarning, f.EngineHost, "use its socket, or TLS (DOCKER_CERT_PATH); between containers, a network that nobody else is in", "the Engine is asked over a network without TLS")
	}
	for _, w := range f.Engine.Warnings {
		if strings.Contains(w, "API is accessible on") {
			n.add(ruche.LevelError, f.Node, "remove that --host of dockerd, or protect it with --tlsverify: who reaches it is root", "the Engine says: %s", firstLine(w))
		}
	}
	if n.noSwarm(f) {
		return
	}
	shared := edgeNetworks(f)
	for _, s := range f.Services {
		in := slices.IndexFunc(shared, func(n docker.Network) bool {
			return slices.Contains(s.Networks, n.ID) || slices.Contains(s.Networks, n.Name)
		})
		role := s.Labels[roleLabel]
		switch {
		case !slices.ContainsFunc(s.Mounts, isSocket):
		case role == roleEdge:
			n.add(ruche.LevelError, s.Name, "remove the mount: an edge needs no socket (deploy/stack.yml)", "the edges, which face the internet, have the Engine's socket")
		case role != "": // Ruche's agents and control nodes, which answer no visitor
		case len(s.Ports) > 0:
			n.add(ruche.LevelWarning, s.Name, socketHint, "it has the Engine's socket, and publishes ports")
		case in >= 0:
			n.add(ruche.LevelWarning, s.Name, socketHint, "it has the Engine's socket, and is in network %q with the edges and what they publish", shared[in].Name)
		}
	}
	n.fine("no service that faces others has the Engine's socket")
}

const socketHint = "who takes it over is root on its node: give it no socket, or a proxy that permits less, or no way in"

// isSocket reports whether a mount holds the Engine's socket.
func isSocket(m docker.Mount) bool {
	if m.Type != "bind" {
		return false
	}
	switch source := path.Clean(m.Source); source {
	case "/", "/run", "/var", "/var/run":
		return true
	default:
		return path.Base(source) == "docker.sock"
	}
}

func firstLine(s string) string {
	s, _, _ = strings.Cut(strings.TrimPrefix(s, "WARNING: "), "\n")
	return strings.TrimSpace(s)
}

// singlePoints looks for what there is only one of.
func singlePoints(f Facts, n *notes) {
	several := len(f.SwarmNodes) > 1 || len(f.Engine.Swarm.Managers) > 1
	level := ruche.LevelNote // what is there once on one host is meant so
	if several {
		level = ruche.LevelWarning
	}
	if len(managersOf(f)) == 1 {
		n.add(level, managersOf(f)[0].Name, "have three: docker node promote NODE", "it is the only manager: without it the Swarm starts nothing anew")
	}
	control, edges := withRole(f, "control"), withRole(f, "edge")
	switch {
	case f.Alone:
		n.add(level, f.Node, "docs/swarm.md tells how to share the work among several nodes", "all of Ruche is on this node: what it publishes is gone with it")
	case f.Unknown.Nodes != nil:
	case len(control) == 1:
		n.add(level, control[0], controlHint, "it is the only control node: without it nothing that changes is published")
	}
	switch {
	case f.Alone || f.Unknown.Nodes != nil:
	case len(edges) == 0:
		n.add(ruche.LevelNote, "", "docs/swarm.md tells how to start edges", "no edge has joined: visitors are not served")
	case len(edges) == 1:
		n.add(level, edges[0], "run an edge on a second node: docs/swarm.md", "it is the only edge: without it visitors are not served")
	}
	once, pinned := loneServices(f)
	if len(once) > 0 {
		n.add(ruche.LevelNote, "", "if they can run twice: docker service scale NAME=2", "published services with one task, that pause when it or its node does: %s", few(once))
	}
	if several && len(pinned) > 0 {
		n.add(ruche.LevelNote, "", "if other nodes can have them: docker service update --constraint-rm CONSTRAINT NAME", "published services that may run on one node only: %s", few(pinned))
	}
	if f.Unknown.Engine != nil || f.Unknown.Swarm != nil {
		n.noSwarm(f)
	}
	n.fine("nothing that matters is there only once")
}

// loneServices gives the published services with one replica, and those that are bound to one node, sorted by name.
func loneServices(f Facts) (once, pinned []string) {
	published := map[string]bool{}
	for _, d := range f.Declarations {
		if d.Workload.Kind == ruche.KindService && d.GoneSince.IsZero() && len(d.Routes) > 0 {
			published[d.Workload.ID] = true
		}
	}
	for _, s := range f.Services {
		if !published["service/"+s.ID] {
			continue
		}
		if s.Replicas == 1 {
			once = append(once, s.Name)
		}
		if slices.ContainsFunc(s.Constraints, oneNode) {
			pinned = append(pinned, s.Name)
		}
	}
	slices.Sort(once)
	slices.Sort(pinned)
	return once, pinned
}

// oneNode reports whether a constraint names a single node.
func oneNode(constraint string) bool {
	key, _, equal := strings.Cut(constraint, "==")
	key = strings.TrimSpace(key)
	return equal && (key == "node.id" || key == "node.hostname")
}

// ingress looks for edges that do not see who their visitors are.
func ingress(f Facts, n *notes) {
	if n.noSwarm(f) {
		return
	}
	edges := edgeServices(f)
	for _, s := range edges {
		var mesh, update []string
		for _, p := range s.Ports {
			if p.Host {
				continue
			}
			port := fmt.Sprintf("%d/%s", p.Published, p.Protocol)
			if !slices.Contains(mesh, port) {
				mesh = append(mesh, port)
				update = append(update, fmt.Sprintf("--publish-rm %d/%s --publish-add mode=host,published=%d,target=%d,protocol=%s",
					p.Target, p.Protocol, p.Published, p.Target, p.Protocol))
			}
		}
		if len(mesh) > 0 {
			n.add(ruche.LevelWarning, s.Name, "publish them in host mode: docker service update "+strings.Join(update, " ")+" "+s.Name,
				"%s are published by the routing mesh: the address of every visitor is that of its gateway", strings.Join(mesh, ", "))
		}
	}
	if len(edges) == 0 {
		n.fine("not looked at: no service has the label %s=%s", roleLabel, roleEdge)
	}
	n.fine("edges publish their ports on their own nodes")
}
