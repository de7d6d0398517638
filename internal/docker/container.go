package docker

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
)

// Summary is what a list tells of a container. Two equal summaries of one container mean that nothing which Ruche
// looks at has changed in between.
type Summary struct {
	ID   string
	Name string // without the leading slash
	// Status is the State.Status of the container.
	Status string
	// Detail holds the rest of what may change: health, network mode, addresses; only good for comparing.
	Detail string
}

// Container is what an inspection tells of a container.
type Container struct {
	ID      string
	Name    string // without the leading slash
	Created time.Time
	Image   string // as it was given to docker run
	State   State
	Env     map[string]string
	Labels  map[string]string
	// ExposedPorts are the keys of NetworkSettings.Ports or, when there are none, of Config.ExposedPorts; all
	// protocols, ordered by number, then protocol.
	ExposedPorts []Port
	// NetworkMode is "host", "none", "container:<ID>", "bridge", or the name of a network.
	NetworkMode string
	// Networks are the networks it is attached to, ordered by name.
	Networks []Attachment
	// StopSignal is the signal of docker stop as it was declared: "SIGQUIT", "3", or empty for SIGTERM.
	StopSignal string
	// StopTimeout is how long docker stop waits; 0 when it was not declared (the Engine then waits 10 s).
	StopTimeout time.Duration
}

// State is whether a container runs.
type State struct {
	// Status is one of created, running, paused, restarting, removing, exited, dead.
	Status string
	// Running is true for paused and restarting containers too.
	Running    bool
	Paused     bool
	Restarting bool
	ExitCode   int
	// Health is starting, healthy or unhealthy; empty when there is no health check.
	Health    string
	StartedAt time.Time
}

// Port is one exposed port.
type Port struct {
	Number   uint16
	Protocol string // tcp, udp or sctp
}

// String gives "80/tcp".
func (p Port) String() string { return fmt.Sprintf("%d/%s", p.Number, p.Protocol) }

// Attachment is a container's place in one network. Its addresses are invalid (the zero Addr) while the container
// does not run.
type Attachment struct {
	Name      string
	NetworkID string
	IPv4      netip.Addr
	IPv6      netip.Addr
	Gateway   netip.Addr
}

// Network is one network that the Engine knows.
type Network struct {
	ID     string
	Name   string
	Driver string // bridge, overlay, macvlan, ipvlan, host, null, or a plugin's name
	// Internal networks have no way out of the host.
	Internal bool
	// Ingress is the network of Swarm's routing mesh. Of that one alone Subnets has the addresses.
	Ingress bool
	Subnets []netip.Prefix
	// Attachable tells of a network of the Swarm that containers may join which are no tasks.
	Attachable bool
}

// Equal reports whether nothing tells the two apart.
func (n Network) Equal(o Network) bool {
	return n.ID == o.ID && n.Name == o.Name && n.Driver == o.Driver && n.Internal == o.Internal && n.Ingress == o.Ingress && n.Attachable == o.Attachable && slices.Equal(n.Subnets, o.Subnets)
}

func summaryFrom(s container.Summary) Summary {
	var name string
	if len(s.Names) > 0 {
		name = trimName(s.Names)
	}
	var detail strings.Builder
	detail.WriteString(s.HostConfig.NetworkMode)
	detail.WriteString(healthOf(s.Status))
	if s.NetworkSettings != nil {
		for _, a := range attachments(s.NetworkSettings.Networks) {
			fmt.Fprintf(&detail, " %s=%s,%s,%s,%s", a.Name, a.NetworkID, a.IPv4, a.IPv6, a.Gateway)
		}
	}
	return Summary{ID: s.ID, Name: name, Status: string(s.State), Detail: detail.String()}
}

// trimName picks the container's own name: names given by --link contain a second slash.
func trimName(names []string) string {
	i := slices.IndexFunc(names, func(n string) bool { return strings.Count(n, "/") == 1 })
	return strings.TrimPrefix(names[max(i, 0)], "/")
}

// healthOf cuts the parenthesis out of "Up 5 minutes (healthy)"; the uptime before it changes all the time.
func healthOf(status string) string {
	if _, after, ok := strings.Cut(status, "("); ok && strings.HasPrefix(status, "Up ") {
		return " (" + after
	}
	return ""
}

func containerFrom(r container.InspectResponse) Container {
	c := Container{ID: r.ID, Name: strings.TrimPrefix(r.Name, "/"), Created: parseTime(r.Created)}
	if r.State != nil {
		c.State = stateFrom(*r.State)
	}
	if r.HostConfig != nil {
		c.NetworkMode = string(r.HostConfig.NetworkMode)
	}
	var ports network.PortMap
	if r.NetworkSettings != nil {
		c.Networks = attachments(r.NetworkSettings.Networks)
		ports = r.NetworkSettings.Ports
	}
	for port := range ports {
		c.ExposedPorts = append(c.ExposedPorts, portFrom(port))
	}
	if r.Config != nil {
		c.Image = r.Config.Image
		c.Env = envFrom(r.Config.Env)
		c.Labels = r.Config.Labels
		c.StopSignal = r.Config.StopSignal
		if r.Config.StopTimeout != nil && *r.Config.StopTimeout > 0 {
			c.StopTimeout = time.Duration(*r.Config.StopTimeout) * time.Second
		}
		if len(c.ExposedPorts) == 0 {
			for port := range r.Config.ExposedPorts {
				c.ExposedPorts = append(c.ExposedPorts, portFrom(port))
			}
		}
	}
	slices.SortFunc(c.ExposedPorts, func(a, b Port) int {
		return cmp.Or(cmp.Compare(a.Number, b.Number), cmp.Compare(a.Protocol, b.Protocol))
	})
	return c
}

func stateFrom(s container.State) State {
	state := State{
		Status: string(s.Status), Running: s.Running, Paused: s.Paused, Restarting: s.Restarting,
		ExitCode: s.ExitCode, StartedAt: parseTime(s.StartedAt),
	}
	if s.Health != nil && s.Health.Status != container.NoHealthcheck {
		state.Health = string(s.Health.Status)
	}
	return state
}

func portFrom(p network.Port) Port { return Port{Number: p.Num(), Protocol: string(p.Proto())} }

func attachments(networks map[string]*network.EndpointSettings) []Attachment {
	list := make([]Attachment, 0, len(networks))
	for name, e := range networks {
		a := Attachment{Name: name}
		if e != nil {
			a.NetworkID, a.Gateway = e.NetworkID, e.Gateway
			a.IPv4, a.IPv6 = e.IPAddress.Unmap(), e.GlobalIPv6Address
		}
		list = append(list, a)
	}
	slices.SortFunc(list, func(a, b Attachment) int { return cmp.Compare(a.Name, b.Name) })
	return list
}

func envFrom(list []string) map[string]string {
	env := make(map[string]string, len(list))
	for _, entry := range list {
		if key, value, ok := strings.Cut(entry, "="); ok {
			env[key] = value
		}
	}
	return env
}

// parseTime reads the Engine's time stamps. What it cannot read, and the Engine's own "never", is the zero time.
func parseTime(s string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil || t.Year() <= 1 {
		return time.Time{}
	}
	return t.UTC()
}
