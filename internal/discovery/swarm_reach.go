package discovery

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/docker"
)

// roleLabel tells on a service that it runs Ruche itself, in a role: edge.
const (
	roleLabel = "ruche.role"
	roleEdge  = "edge"
)

// reach is what the edges reach of the Swarm.
type reach struct {
	// networks are those that the edges are in, ordered by name; none when they use the network of their nodes.
	networks []docker.Network
	// from says how that is known, and container is what to connect to a network to reach more; empty on the host.
	from, container string
}

// findReach finds the networks of the edges, and reports whether they are others than before.
func (l *lookout) findReach() bool {
	next := reach{from: "the edges run on the network of their nodes"}
	var names []string
	switch {
	case len(l.cfg.EdgeNetworks) > 0:
		names, next.from = l.cfg.EdgeNetworks, "--edge-networks names them"
	case l.edges(&names, &next):
	case !l.own.host:
		for _, a := range l.own.networks {
			names = append(names, cmp.Or(a.NetworkID, a.Name))
		}
		next.from, next.container = fmt.Sprintf("Ruche's container %s is in them", l.own.container), l.own.container
	}
	for _, n := range l.networks {
		if !n.Ingress && n.Driver != "host" && n.Driver != "null" && (slices.Contains(names, n.ID) || slices.Contains(names, n.Name)) {
			next.networks = append(next.networks, n)
		}
	}
	same := next.from == l.reach.from && next.container == l.reach.container && slices.EqualFunc(next.networks, l.reach.networks, docker.Network.Equal)
	l.reach = next
	return !same
}

// edges finds the services that run Ruche's edges.
func (l *lookout) edges(names *[]string, next *reach) bool {
	var services []string
	for _, id := range slices.Sorted(maps.Keys(l.services)) {
		if s := l.services[id].service; s.Labels[roleLabel] == roleEdge {
			services, *names = append(services, s.Name), append(*names, s.Networks...)
		}
	}
	if len(services) == 0 {
		return false
	}
	next.from = fmt.Sprintf("service %s with the label %s=%s is in them", strings.Join(services, ", "), roleLabel, roleEdge)
	return true
}

// find returns the network of an attachment; false when the edges are not in it.
func (r reach) find(a docker.Attachment) bool {
	return slices.ContainsFunc(r.networks, func(n docker.Network) bool { return n.ID == a.NetworkID })
}

func (r reach) names() string {
	if len(r.networks) == 0 {
		return "no network of the Swarm"
	}
	quoted := make([]string, len(r.networks))
	for i, n := range r.networks {
		quoted[i] = fmt.Sprintf("%q", n.Name)
	}
	return strings.Join(quoted, ", ")
}

// choose says where the edges find a task: in a network that they share with it, else on its node.
func (r reach) choose(t docker.Task, s docker.Service, node docker.Node) choice {
	var good []docker.Attachment
	host := false
	for _, a := range t.Networks {
		host = host || a.Name == "host"
		if r.find(a) && addressOf(a).IsValid() {
			good = append(good, a)
		}
	}
	switch {
	case len(good) > 0:
		wanted, _ := networkLabelOf(s)
		return r.pick(good, wanted)
	case host:
		return onNode(node, nil, "it uses the network of its node")
	}
	if ports := hostPorts(s); len(ports) > 0 {
		bound := map[uint16]uint16{}
		for _, p := range t.Ports {
			if p.Host && p.Protocol == "tcp" && p.Published != 0 {
				bound[p.Target] = p.Published
			}
		}
		if len(bound) == 0 {
			return choice{reachable: true, network: "host", reason: "its ports are published on its node (mode host), but are not bound yet"}
		}
		return onNode(node, bound, "its ports are published on its node (mode host)")
	}
	return r.cutOff(t, s)
}

// onNode finds a task under the address of its node.
func onNode(node docker.Node, ports map[uint16]uint16, why string) choice {
	c := choice{address: node.Address, ports: ports, network: "host", reachable: true, reason: why}
	if !node.Address.IsValid() && node.Name != "" {
		c.reachable, c.reason = false, why+", but the Swarm does not know the address of node "+node.Name
		c.hint = "give the node one by docker swarm join --advertise-addr"
	}
	return c
}

// hostPorts are the TCP ports that a service publishes on the nodes of its tasks.
func hostPorts(s docker.Service) []docker.PublishedPort {
	return slices.DeleteFunc(slices.Clone(s.Ports), func(p docker.PublishedPort) bool { return !p.Host || p.Protocol != "tcp" })
}

// pick chooses among the networks that the edges share with a task.
func (r reach) pick(good []docker.Attachment, wanted string) choice {
	chosen, why := good[0], "the first by name of the networks that the edges share with it"
	if len(good) == 1 {
		why = "the only network that the edges share with it"
	}
	if i := slices.IndexFunc(good, func(a docker.Attachment) bool { return a.Name == wanted }); wanted != "" && i >= 0 {
		chosen, why = good[i], "the one that its label names"
	}
	return choice{address: addressOf(chosen), network: chosen.Name, reachable: true, reason: why}
}

// cutOff says why the edges do not reach a task, and what to do.
func (r reach) cutOff(t docker.Task, s docker.Service) choice {
	in := "it is in no network"
	if list := namesBut(t.Networks, "ingress"); len(list) > 0 {
		in = "it is in " + names(list)
	} else if len(t.Networks) > 0 {
		in = "it is in no network but that of the routing mesh"
	}
	c := choice{reason: fmt.Sprintf("%s, and the edges are in %s (%s)", in, r.names(), r.from)}
	switch {
	case len(r.networks) > 0:
		c.hint = fmt.Sprintf("docker service update --network-add %s %s", r.networks[0].Name, s.Name)
	case r.container != "":
		c.hint = fmt.Sprintf("docker network create --driver overlay --attachable web; docker network connect web %s; docker service update --network-add web %s", r.container, s.Name)
	default:
		c.hint = fmt.Sprintf("publish its port on its node: docker service update --publish-add mode=host,target=PORT %s; or run Ruche in a container on a network of the Swarm", s.Name)
	}
	return c
}

func namesBut(list []docker.Attachment, name string) []docker.Attachment {
	return slices.DeleteFunc(slices.Clone(list), func(a docker.Attachment) bool { return a.Name == name })
}

// notes tells when the network that a label names cannot be used, or when there are several to choose from.
func (r reach) notes(s docker.Service, t *docker.Task) []ruche.Diagnostic {
	if t == nil {
		return nil
	}
	shared := slices.DeleteFunc(slices.Clone(t.Networks), func(a docker.Attachment) bool { return !r.find(a) })
	wanted, place := networkLabelOf(s)
	named := slices.ContainsFunc(shared, func(a docker.Attachment) bool { return a.Name == wanted })
	switch {
	case wanted != "" && !named && len(shared) > 0:
		return []ruche.Diagnostic{{
			Code: ruche.CodeNetworkUnreachable, Severity: ruche.SeverityWarning, Workload: s.Name, Source: place,
			Message: fmt.Sprintf("the edges and the service do not share network %q; %q is used", wanted, shared[0].Name),
			Hint:    fmt.Sprintf("docker service update --network-add %s %s, or correct the label; the name is that of docker network ls, with the stack's name in front", wanted, s.Name),
		}}
	case wanted == "" && len(shared) > 1:
		return []ruche.Diagnostic{{
			Code: ruche.CodeNetworkAmbiguous, Severity: ruche.SeverityInfo, Workload: s.Name, Source: "networks",
			Message: fmt.Sprintf("the edges share several networks with it (%s); %q is used, the first by name", names(shared), shared[0].Name),
			Hint:    "label traefik.swarm.network chooses another one",
		}}
	}
	return nil
}

// chooseVIP finds the virtual address of a service in a network of the edges.
func (r reach) chooseVIP(s docker.Service) (choice, *ruche.Diagnostic) {
	wanted, _ := networkLabelOf(s)
	var found choice
	for _, n := range r.networks {
		if address := s.VirtualIPs[n.ID]; address.IsValid() && (!found.reachable || n.Name == wanted) {
			found = choice{address: address, network: n.Name, reachable: true, reason: "the service's virtual address, because a label asks for it (lbswarm)"}
		}
	}
	if found.reachable {
		return found, nil
	}
	_, place := lbLabelOf(s)
	d := &ruche.Diagnostic{
		Code: ruche.CodeKeyUnsupported, Severity: ruche.SeverityWarning, Workload: s.Name, Source: place,
		Message: "the service has no virtual address in a network of the edges; its tasks are used",
		Hint:    "add it to one of " + r.names(),
	}
	if s.RoundRobin {
		d.Message, d.Hint = "a service with endpoint mode dnsrr has no virtual address; its tasks are used", "remove the label"
	}
	return choice{}, d
}
