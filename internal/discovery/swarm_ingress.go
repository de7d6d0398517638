package discovery

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/docker"
)

// ingressKey is the only key of its bucket.
const ingressKey = "mesh"

// tellIngress has it written by what edges know the gateways of the Swarm's routing mesh, and warns of those edges that are published over it. An edge
// has no socket of an Engine, and could not ask.
func (l *lookout) tellIngress() {
	edges, meshed := false, []docker.Service(nil)
	for _, id := range slices.Sorted(maps.Keys(l.services)) {
		if s := l.services[id].service; s.Labels[roleLabel] == roleEdge {
			edges = true
			if len(meshPorts(s)) > 0 {
				meshed = append(meshed, s)
			}
		}
	}
	l.warnOfMesh(meshed)
	var told ruche.Ingress
	if !edges || len(meshed) > 0 { // else no client comes that way, and who seems to has an address of the same numbers
		for _, n := range l.networks {
			if n.Ingress {
				told.Subnets = append(told.Subnets, n.Subnets...)
			}
		}
	}
	if len(told.Subnets) == 0 {
		l.store.set(ingressKey, row{})
		return
	}
	var commands []string
	for _, s := range meshed {
		commands = append(commands, leaveMesh(s))
	}
	told.Mend = strings.Join(commands, "; ")
	l.store.set(ingressKey, row{ingress: &told})
}

// warnOfMesh warns of the services of edges that are published over the routing mesh, before a client comes, and of no others any more.
func (l *lookout) warnOfMesh(services []docker.Service) {
	before := l.meshed
	l.meshed = nil
	for _, s := range services {
		l.meshed = append(l.meshed, s.Name)
		ports := make([]string, 0, len(s.Ports))
		for _, p := range meshPorts(s) {
			ports = append(ports, fmt.Sprintf("%d/%s", p.Published, p.Protocol))
		}
		w := ruche.Warning{
			Code: ruche.CodeIngressMesh, Severity: ruche.SeverityWarning, Subject: "service " + s.Name,
			Message: fmt.Sprintf("its edges are published over the routing mesh (%s), which hides the addresses of clients: access rules, limits and logs by address see one client", strings.Join(ports, ", ")),
			Hint:    "publish the ports on the nodes: " + leaveMesh(s),
		}
		if l.cfg.Health.Set(w) {
			l.logger.Warn(w.Message, "code", w.Code, "service", s.Name, "hint", w.Hint)
		}
	}
	for _, name := range before {
		if !slices.Contains(l.meshed, name) {
			l.cfg.Health.Clear(ruche.CodeIngressMesh, "service "+name)
		}
	}
}

// meshPorts are the ports that a service publishes over the routing mesh.
func meshPorts(s docker.Service) []docker.PublishedPort {
	return slices.DeleteFunc(slices.Clone(s.Ports), func(p docker.PublishedPort) bool { return p.Host })
}

// leaveMesh is the command that publishes a service's ports on its nodes instead.
func leaveMesh(s docker.Service) string {
	var b strings.Builder
	b.WriteString("docker service update")
	for _, p := range meshPorts(s) {
		target, protocol := fmt.Sprint(p.Target), ""
		if p.Protocol != "tcp" {
			target, protocol = target+"/"+p.Protocol, ",protocol="+p.Protocol
		}
		fmt.Fprintf(&b, " --publish-rm %s --publish-add mode=host,target=%d,published=%d%s", target, p.Target, p.Published, protocol)
	}
	return b.String() + " " + s.Name
}
