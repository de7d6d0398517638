package lab

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// JoinSwarm makes the nodes one Swarm in which each is a manager, and waits until all see one another.
func (l *Lab) JoinSwarm() {
	l.t.Helper()
	l.JoinSwarmOf(len(l.Nodes))
}

// JoinSwarmOf makes the nodes one Swarm in which the first ones are managers and the others workers.
func (l *Lab) JoinSwarmOf(managers int) {
	l.t.Helper()
	first := l.Nodes[0]
	first.Docker("swarm", "init", "--advertise-addr", first.Address)
	tokens := map[bool]string{true: first.Docker("swarm", "join-token", "--quiet", "manager"), false: first.Docker("swarm", "join-token", "--quiet", "worker")}
	for i, n := range l.Nodes[1:] {
		n.Docker("swarm", "join", "--advertise-addr", n.Address, "--token", tokens[i+1 < managers], first.Address+":2377")
	}
	for _, n := range l.Nodes[:managers] {
		Eventually(l.t, 30*time.Second, func() error { return n.seesManagers(managers) })
	}
}

// seesManagers returns an error until the node knows that many reachable managers, of which one leads.
func (n *Node) seesManagers(want int) error {
	out, err := n.TryDocker("node", "ls", "--format", "{{.Hostname}} {{.Status}} {{.ManagerStatus}}")
	if err != nil {
		return err
	}
	reachable, leaders := 0, 0
	for line := range strings.Lines(out) {
		switch {
		case !strings.Contains(line, "Ready"):
		case strings.Contains(line, "Leader"):
			leaders++
			reachable++
		case strings.Contains(line, "Reachable"):
			reachable++
		}
	}
	if leaders != 1 || reachable != want {
		return fmt.Errorf("%s sees %d reachable managers with %d leader, want %d with 1:\n%s", n.Name, reachable, leaders, want, out)
	}
	return nil
}

// WaitManagers waits until the node knows exactly that many reachable managers, of which one leads.
func (n *Node) WaitManagers(want int) {
	n.lab.t.Helper()
	Eventually(n.lab.t, 60*time.Second, func() error { return n.seesManagers(want) })
}

// SeesNodeAs returns an error until the Swarm calls another node that, as this one knows it: "ready", "down".
func (n *Node) SeesNodeAs(other *Node, want string) error {
	got, err := n.TryDocker("node", "inspect", "--format", "{{.Status.State}}", other.Name)
	if err == nil && got != want {
		err = fmt.Errorf("node %s is %s, want %s", other.Name, got, want)
	}
	return err
}

// WaitTask waits until a task of the service runs on the node and returns its container's ID.
func (n *Node) WaitTask(service string) string {
	n.lab.t.Helper()
	var id string
	Eventually(n.lab.t, 60*time.Second, func() error {
		out, err := n.TryDocker("ps", "--quiet", "--no-trunc", "--filter", "label=com.docker.swarm.service.name="+service)
		if err != nil {
			return err
		}
		if out == "" || strings.Contains(out, "\n") {
			return fmt.Errorf("%s runs %q of service %s, want one task", n.Name, out, service)
		}
		id = out
		return nil
	})
	return id
}

// CreateService creates a service of an image without waiting for its tasks. The arguments are those of "docker service create".
func (n *Node) CreateService(image, name string, args ...string) {
	n.lab.t.Helper()
	command := []string{"service", "create", "--detach", "--quiet", "--no-resolve-image", "--name", name, "--env", "SITE_NAME=" + name}
	n.Docker(append(append(command, args...), image)...)
}

// UpdateIsOver returns an error until the last update of a service is.
func (n *Node) UpdateIsOver(service string) error {
	out, err := n.TryDocker("service", "inspect", "--format", "{{if .UpdateStatus}}{{.UpdateStatus.State}}{{end}}", service)
	if err == nil && out != "completed" {
		err = fmt.Errorf("the update of service %s is %q", service, out)
	}
	return err
}

// TaskReaches returns an error until the service's task on this node gets an answer of the named site from the URL.
func (n *Node) TaskReaches(service, url, site string) error {
	out, err := n.TryDocker("exec", n.WaitTask(service), "/site", "get", url)
	if err != nil {
		return err
	}
	var answer Site
	if err := json.Unmarshal([]byte(out), &answer); err != nil {
		return fmt.Errorf("%s is not answered by a site: %w: %.200s", url, err, out)
	}
	if answer.Site != site {
		return fmt.Errorf("%s is answered by site %q, want %q", url, answer.Site, site)
	}
	return nil
}
