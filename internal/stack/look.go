package stack

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/ruche-project/ruche/internal/docker"
)

const (
	// envControl is the setting of edges and agents that says where control nodes are.
	envControl = "RUCHE_CONTROL"
	// envEmail is the setting of control nodes by which names get certificates.
	envEmail = "RUCHE_ACME_EMAIL"
)

// look learns what the Swarm is like and what of the stack runs, and warns of what is doubtful in it.
func (i *initiation) look(ctx context.Context) error {
	swarm, err := i.engine.Swarm(ctx)
	switch {
	case err != nil:
		return err
	case swarm.NodeID == "":
		return hinted{errors.New("cannot begin a stack: the Docker Engine is in no Swarm"), "docker swarm init --advertise-addr ADDRESS"}
	case !swarm.Manager:
		return hinted{errors.New("cannot begin a stack: the Docker Engine here is a worker of its Swarm"),
			"run this on a manager" + prefixed(": ", strings.Join(swarm.Managers, ", "))}
	}
	i.node = swarm.NodeID
	nodes, err := i.engine.Nodes(ctx)
	if err != nil {
		return err
	}
	var names []string
	for _, part := range parts() {
		names = append(names, Name+"_"+part)
	}
	running, err := i.engine.ServicesNamed(ctx, names...)
	if err != nil {
		return err
	}
	i.image, i.email = i.o.Image, i.o.ACMEEmail
	var edge docker.Service
	for _, s := range running { // the image of the control nodes, which an upgrade changes first; where they were taken away, that of the others
		i.image = cmp.Or(i.image, s.Image)
		switch s.Name {
		case Name + "_edge":
			edge = s
		case Name + "_control":
			i.email = cmp.Or(i.email, s.Env[envEmail])
		}
	}
	i.image = cmp.Or(i.image, "ruche")
	if err := i.lookForControl(managersOf(nodes), edge); err != nil {
		return err
	}
	return i.lookForNetwork(ctx, edge)
}

// lookForControl gathers where control nodes are: what edges were told so far, and today's managers.
func (i *initiation) lookForControl(managers []docker.Node, edge docker.Service) error {
	if n := len(managers); n%2 == 0 && n > 0 {
		i.say(fmt.Sprintf("warning: the Swarm has %d managers, which lose their majority with %d of them: have %d or %d", n, n/2, n-1, n+1))
	}
	if i.control = i.o.Control; len(i.control) > 0 {
		return nil
	}
	for item := range strings.SplitSeq(edge.Env[envControl], ",") {
		if item = strings.TrimSpace(item); item != "" {
			i.control = append(i.control, item)
		}
	}
	named := len(i.control) > 0
	for _, m := range managers {
		switch {
		case m.Address.IsValid() && !m.Address.IsLoopback():
			i.control = append(i.control, m.Address.String())
		case !named:
			i.say(fmt.Sprintf("warning: other nodes cannot reach manager %s, whose address is %q: name control nodes with --control", m.Name, addressText(m.Address)))
		}
	}
	slices.Sort(i.control)
	i.control = slices.Compact(i.control)
	if len(i.control) == 0 {
		return hinted{errors.New("cannot tell edges where control nodes are: no manager has an address that others reach"),
			"name them with --control, or begin the Swarm anew with an address: docker swarm init --advertise-addr ADDRESS"}
	}
	return nil
}

// lookForNetwork chooses the network that published services join: the one that edges are in.
func (i *initiation) lookForNetwork(ctx context.Context, edge docker.Service) error {
	if i.network = i.o.Network; i.network != "" {
		return nil
	}
	list, err := i.engine.Networks(ctx)
	if err != nil {
		return err
	}
	var names []string
	for _, n := range list {
		if slices.Contains(edge.Networks, n.ID) || slices.Contains(edge.Networks, n.Name) {
			names = append(names, n.Name)
		}
	}
	switch {
	case len(names) == 0 || slices.Contains(names, defaultNetwork):
		i.network = defaultNetwork
	default:
		i.network = names[0]
	}
	if len(names) > 1 {
		i.say(fmt.Sprintf("warning: service %s is in the networks %s, and the stack file has %s alone: add the others to it, or choose with --network",
			edge.Name, strings.Join(names, ", "), i.network))
	}
	return nil
}

func managersOf(nodes []docker.Node) []docker.Node {
	return slices.DeleteFunc(slices.Clone(nodes), func(n docker.Node) bool { return n.Manager == nil })
}

func addressText(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

func prefixed(prefix, s string) string {
	if s == "" {
		return ""
	}
	return prefix + s
}
