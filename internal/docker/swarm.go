package docker

import (
	"cmp"
	"context"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/moby/client"
)

// SwarmStatus is what an Engine is in a Swarm (GET /info, Swarm).
type SwarmStatus struct {
	// NodeID is empty outside of a Swarm.
	NodeID string
	// Manager tells that the Engine answers questions about services and tasks.
	Manager bool
	// Address is the IP address by which the Swarm knows the Engine's node; empty outside of a Swarm.
	Address string
	// Managers are the IP addresses of the managers that the Engine knows, sorted. A worker knows them too.
	Managers []string
}

// Service is a service of a Swarm (GET /services).
type Service struct {
	ID   string
	Name string
	// Version grows with each change of the service.
	Version uint64
	Created time.Time
	Image   string
	Env     map[string]string // of its containers, as declared
	// Labels are the service's own (deploy.labels), ContainerLabels those that its containers get.
	Labels          map[string]string
	ContainerLabels map[string]string
	// Networks are those that it asks for, by ID, as it was declared.
	Networks []string
	// VirtualIPs has the service's address in each of its networks, by network ID; none with endpoint mode dnsrr.
	VirtualIPs map[string]netip.Addr
	// RoundRobin tells that its endpoint mode is dnsrr.
	RoundRobin bool
	// Ports are the ports that it publishes, ordered by target.
	Ports []PublishedPort
	// Replicas is how many tasks it is to have; -1 where that depends on the nodes (global services) or ends (jobs).
	Replicas int
	// Job tells that its tasks run to an end.
	Job bool
	// Updating tells that an update or rollback is in progress, Update how the last one is.
	Updating bool
	Update   ServiceUpdate
	// PinnedImage is Image with its digest, where it has one.
	PinnedImage string
	// Mounts are what its containers get of their nodes, and volumes, as declared.
	Mounts []Mount
	// Constraints say on which nodes its tasks may run: "node.role==manager".
	Constraints []string
}

// Mount is one mount of a service.
type Mount struct {
	Type   string // bind, volume, tmpfs, ...
	Source string // of a bind the path on the node, else a name
	Target string
}

// PublishedPort is a port of a service or task that is published.
type PublishedPort struct {
	Target    uint16 // inside of the container
	Published uint16 // on the nodes; 0 when the Engine chooses and has not yet
	Protocol  string
	// Host tells that it is published on the task's own node only (mode host), not by the routing mesh.
	Host bool
}

// Task is a task of a service (GET /tasks).
type Task struct {
	ID      string
	Service string // ID
	Node    string // ID; empty while it has none
	Slot    int    // 0 in global services
	Image   string // as its service named it at the time, with a digest where it has one
	// Version grows with each change of the task.
	Version uint64
	// Desired and State are the task's desired and actual state; see TaskOrder.
	Desired, State string
	// Message and Err say what led to State, Since when.
	Message, Err string
	Since        time.Time
	// Networks are its attachments, ordered by name. Attachment.Gateway is not set.
	Networks []Attachment
	// Ports are those that are published on its node, ordered by target.
	Ports []PublishedPort
}

// TaskRunning is the state of a task whose container runs and, when it has a health check, passes it.
const TaskRunning = "running"

// TaskOrder gives the place of a state in a task's life, which only ever goes forward; what comes after running has ended. A state that is
// not known comes before all others.
func TaskOrder(state string) int {
	return slices.Index([]string{
		"new", "pending", "assigned", "accepted", "preparing", "ready", "starting", TaskRunning,
		"complete", "shutdown", "failed", "rejected", "remove", "orphaned",
	}, state)
}

// Wanted reports whether the Swarm wants the task to run, now or soon.
func (t Task) Wanted() bool { return TaskOrder(t.Desired) <= TaskOrder(TaskRunning) }

// Ended reports whether the task has ended, and will never run again.
func (t Task) Ended() bool { return TaskOrder(t.State) > TaskOrder(TaskRunning) }

// Node is a node of a Swarm (GET /nodes).
type Node struct {
	ID string
	// Name is its host name.
	Name string
	// Address is where the other nodes reach it; invalid while that is not known.
	Address netip.Addr
	// State is ready, down, unknown or disconnected.
	State string
	// Availability is active, pause or drain.
	Availability string
	// Labels are those of "docker node update --label-add".
	Labels map[string]string
	// Engine is the version of its Engine.
	Engine string
	// Manager is what it is as a manager; nil on a worker.
	Manager *Manager
}

// Manager is what a node of a Swarm is as a manager.
type Manager struct {
	Leader bool
	// Reachability is reachable, unreachable or unknown.
	Reachability string
	// Address is where other managers reach it, as host:port.
	Address string
}

// Info is what an Engine tells of itself (GET /info).
type Info struct {
	Version string
	// Warnings are what it finds wrong with how it was set up: "WARNING: API is accessible on http://0.0.0.0:2375 without encryption...".
	Warnings []string
	Swarm    SwarmStatus
}

// Info asks what the Engine tells of itself.
func (c *Client) Info(ctx context.Context) (Info, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	result, err := c.api.Info(ctx, client.InfoOptions{})
	if err != nil {
		return Info{}, c.explain("ask the Engine about itself", err)
	}
	return Info{Version: result.Info.ServerVersion, Warnings: result.Info.Warnings, Swarm: swarmFrom(result.Info.Swarm)}, nil
}

// Swarm asks what the Engine is in a Swarm.
func (c *Client) Swarm(ctx context.Context) (SwarmStatus, error) {
	info, err := c.Info(ctx)
	return info.Swarm, err
}

func swarmFrom(s swarm.Info) SwarmStatus {
	status := SwarmStatus{NodeID: s.NodeID, Manager: s.ControlAvailable, Address: s.NodeAddr}
	for _, m := range s.RemoteManagers {
		if host, _, err := net.SplitHostPort(m.Addr); err == nil {
			status.Managers = append(status.Managers, host)
		}
	}
	slices.Sort(status.Managers)
	return status
}

// Services returns all services, ordered by ID.
func (c *Client) Services(ctx context.Context) ([]Service, error) {
	return c.services(ctx, nil)
}

// ServicesOf returns the services with these IDs, ordered by ID. What the Swarm does not have is left out.
func (c *Client) ServicesOf(ctx context.Context, ids []string) ([]Service, error) {
	// The list, because it finds by ID alone and answers as the list of all does.
	list, err := c.services(ctx, make(client.Filters).Add("id", ids...))
	return slices.DeleteFunc(list, func(s Service) bool { return !slices.Contains(ids, s.ID) }), err // the filter takes prefixes
}

func (c *Client) services(ctx context.Context, filters client.Filters) ([]Service, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	result, err := c.api.ServiceList(ctx, client.ServiceListOptions{Filters: filters})
	if err != nil {
		return nil, c.explain("list the services", err)
	}
	list := make([]Service, 0, len(result.Items))
	for _, item := range result.Items {
		list = append(list, serviceFrom(item))
	}
	slices.SortFunc(list, func(a, b Service) int { return cmp.Compare(a.ID, b.ID) })
	return list, nil
}

// WantedTasks returns the tasks of all services that the Swarm wants to run, ordered by ID; what has ended, or is to end, is not among them.
func (c *Client) WantedTasks(ctx context.Context) ([]Task, error) {
	return c.tasks(ctx, make(client.Filters).Add("desired-state", "ready", TaskRunning))
}

// TasksOf returns all tasks of these services, ordered by ID, with as many of the ended ones as the Swarm keeps. errors.Is(err, ErrNotFound) tells that the Swarm
// does not have all of the services.
func (c *Client) TasksOf(ctx context.Context, services []string) ([]Task, error) {
	return c.tasks(ctx, make(client.Filters).Add("service", services...))
}

func (c *Client) tasks(ctx context.Context, filters client.Filters) ([]Task, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	result, err := c.api.TaskList(ctx, client.TaskListOptions{Filters: filters})
	if err != nil {
		return nil, c.explain("list the tasks", err)
	}
	list := make([]Task, 0, len(result.Items))
	for _, item := range result.Items {
		list = append(list, taskFrom(item))
	}
	slices.SortFunc(list, func(a, b Task) int { return cmp.Compare(a.ID, b.ID) })
	return list, nil
}

// Nodes returns the nodes of the Swarm, ordered by ID.
func (c *Client) Nodes(ctx context.Context) ([]Node, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	result, err := c.api.NodeList(ctx, client.NodeListOptions{})
	if err != nil {
		return nil, c.explain("list the nodes", err)
	}
	list := make([]Node, 0, len(result.Items))
	for _, item := range result.Items {
		list = append(list, nodeFrom(item))
	}
	slices.SortFunc(list, func(a, b Node) int { return cmp.Compare(a.ID, b.ID) })
	return list, nil
}

func nodeFrom(n swarm.Node) Node {
	node := Node{
		ID: n.ID, Name: n.Description.Hostname, State: string(n.Status.State), Availability: string(n.Spec.Availability),
		Labels: n.Spec.Labels, Engine: n.Description.Engine.EngineVersion,
	}
	if m := n.ManagerStatus; m != nil {
		node.Manager = &Manager{Leader: m.Leader, Reachability: string(m.Reachability), Address: m.Addr}
	}
	node.Address, _ = netip.ParseAddr(n.Status.Addr)
	// The manager that leads sees itself at 0.0.0.0 or 127.0.0.1, while others are told where to find it.
	if (!node.Address.IsValid() || node.Address.IsUnspecified() || node.Address.IsLoopback()) && n.ManagerStatus != nil {
		if host, _, err := net.SplitHostPort(n.ManagerStatus.Addr); err == nil {
			node.Address, _ = netip.ParseAddr(host)
		}
	}
	if node.Address.IsUnspecified() {
		node.Address = netip.Addr{}
	}
	return node
}

func serviceFrom(s swarm.Service) Service {
	template := s.Spec.TaskTemplate
	service := Service{
		ID: s.ID, Name: s.Spec.Name, Version: s.Version.Index, Created: s.CreatedAt.UTC(), Labels: s.Spec.Labels,
		Ports: portsFrom(s.Endpoint.Ports), VirtualIPs: make(map[string]netip.Addr, len(s.Endpoint.VirtualIPs)),
		RoundRobin: s.Endpoint.Spec.Mode == swarm.ResolutionModeDNSRR,
		Job:        s.Spec.Mode.ReplicatedJob != nil || s.Spec.Mode.GlobalJob != nil, Replicas: -1,
	}
	if m := s.Spec.Mode.Replicated; m != nil && m.Replicas != nil {
		service.Replicas = int(*m.Replicas) //nolint:gosec // no Swarm runs as many tasks
	}
	if c := template.ContainerSpec; c != nil {
		service.Image, _, _ = strings.Cut(c.Image, "@")
		service.PinnedImage = c.Image
		service.Env, service.ContainerLabels = envFrom(c.Env), c.Labels
		for _, m := range c.Mounts {
			service.Mounts = append(service.Mounts, Mount{Type: string(m.Type), Source: m.Source, Target: m.Target})
		}
	}
	if template.Placement != nil {
		service.Constraints = template.Placement.Constraints
	}
	for _, n := range template.Networks {
		service.Networks = append(service.Networks, n.Target)
	}
	for _, v := range s.Endpoint.VirtualIPs {
		service.VirtualIPs[v.NetworkID] = v.Addr.Addr()
	}
	service.Update = updateFrom(s.UpdateStatus)
	service.Updating = service.Update.State == UpdateRunning || service.Update.State == string(swarm.UpdateStateRollbackStarted)
	return service
}

func taskFrom(t swarm.Task) Task {
	task := Task{
		ID: t.ID, Service: t.ServiceID, Node: t.NodeID, Slot: t.Slot, Version: t.Version.Index,
		Desired: string(t.DesiredState), State: string(t.Status.State),
		Message: t.Status.Message, Err: t.Status.Err, Since: t.Status.Timestamp.UTC(), Ports: portsFrom(t.Status.PortStatus.Ports),
	}
	if c := t.Spec.ContainerSpec; c != nil {
		task.Image = c.Image
	}
	for _, n := range t.NetworksAttachments {
		a := Attachment{Name: n.Network.Spec.Name, NetworkID: n.Network.ID}
		for _, p := range n.Addresses {
			if p.Addr().Is4() {
				a.IPv4 = cmp.Or(a.IPv4, p.Addr())
			} else {
				a.IPv6 = cmp.Or(a.IPv6, p.Addr())
			}
		}
		task.Networks = append(task.Networks, a)
	}
	slices.SortFunc(task.Networks, func(a, b Attachment) int { return cmp.Compare(a.Name, b.Name) })
	return task
}

func portsFrom(ports []swarm.PortConfig) []PublishedPort {
	list := make([]PublishedPort, 0, len(ports))
	for _, p := range ports {
		list = append(list, PublishedPort{
			Target: uint16(p.TargetPort), Published: uint16(p.PublishedPort), Protocol: string(p.Protocol), //nolint:gosec // the Engine checks them
			Host: p.PublishMode == swarm.PortConfigPublishModeHost,
		})
	}
	slices.SortFunc(list, func(a, b PublishedPort) int {
		return cmp.Or(cmp.Compare(a.Target, b.Target), cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Published, b.Published))
	})
	return slices.Compact(list) // a port that is bound for IPv4 and IPv6 is told twice
}
