package discovery

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/docker"
)

// place is where Ruche itself stands among the networks.
type place struct {
	// ids are Ruche's own container and, if it shares the network of another one, that.
	ids []string
	// container is the name of Ruche's own container; empty on the host.
	container string
	// host tells that Ruche uses the host's network: it runs on the host, or in a container in host mode.
	host     bool
	networks []docker.Attachment
}

// surroundings is all that the choice of a network depends on, the container aside.
type surroundings struct {
	own      place
	networks networkList
	// lookup finds another container by ID or name, for network mode container:X.
	lookup func(id string) (docker.Container, bool)
}

// choice is the network through which Ruche reaches a container.
type choice struct {
	address   netip.Addr
	network   string
	reason    string
	hint      string
	reachable bool
	// ports has those that are found under another number at address.
	ports map[uint16]uint16
	notes []ruche.Diagnostic
}

const networkLabel = "traefik.docker.network"

// label returns a label of Traefik, whose case does not matter. Of several that differ in case only, the one that sorts first counts.
func label(c docker.Container, key string) string {
	for _, k := range slices.Sorted(maps.Keys(c.Labels)) {
		if strings.EqualFold(k, key) {
			return c.Labels[k]
		}
	}
	return ""
}

// choose picks the network of a container and says why: the one that its label names, else the first by name that Ruche
// reaches.
func (s surroundings) choose(c docker.Container) choice {
	return s.chooseDeep(c, 0)
}

func (s surroundings) chooseDeep(c docker.Container, depth int) choice {
	mode := c.NetworkMode
	switch {
	case mode == "host":
		return s.chooseHost()
	case strings.HasPrefix(mode, "container:"):
		return s.follow(c, strings.TrimPrefix(mode, "container:"), depth)
	case mode == "none" && onlyNone(c.Networks):
		return choice{reason: "it has no network (network mode none)", hint: s.connectHint(c)}
	}
	return s.chooseNamed(c)
}

func onlyNone(list []docker.Attachment) bool {
	return !slices.ContainsFunc(list, func(a docker.Attachment) bool { return a.Name != "none" })
}

// chooseHost reaches a container that uses the host's network.
func (s surroundings) chooseHost() choice {
	if s.own.host {
		return choice{
			address: netip.AddrFrom4([4]byte{127, 0, 0, 1}), network: "host", reachable: true,
			reason: "it uses the host's network, as Ruche does",
		}
	}
	for _, a := range s.own.networks {
		if n := s.networks.find(a); a.Gateway.IsValid() && !n.Internal && !n.Ingress {
			return choice{
				address: a.Gateway, network: "host", reachable: true,
				reason: fmt.Sprintf("it uses the host's network; the host is the gateway of %q, Ruche's own first network that is not internal", a.Name),
			}
		}
	}
	return choice{
		reason: "it uses the host's network, and Ruche's container has no network that leads to the host",
		hint:   "connect Ruche's container to a network that is not internal: docker network connect bridge " + s.own.container,
	}
}

// follow reaches a container through the one whose network it shares.
func (s surroundings) follow(c docker.Container, id string, depth int) choice {
	target, found := s.lookup(id)
	if !found || depth > 4 {
		return choice{
			reason: fmt.Sprintf("it shares the network of container %s, which does not exist", shortID(id)),
			hint:   "re-create it after the container whose network it shares",
		}
	}
	if !target.State.Running {
		return choice{
			reason: fmt.Sprintf("it shares the network of container %q, which does not run", target.Name),
			hint:   "docker start " + target.Name,
		}
	}
	if c.State.Running && target.State.StartedAt.After(c.State.StartedAt) {
		return choice{
			reason: fmt.Sprintf("it shares the network of container %q, which was started again after it; the network it uses is that of the other's former life", target.Name),
			hint:   "docker restart " + c.Name,
		}
	}
	chosen := s.chooseDeep(target, depth+1)
	chosen.reason = fmt.Sprintf("it shares the network of container %q: %s", target.Name, chosen.reason)
	return chosen
}

// chooseNamed picks among the networks of a container.
func (s surroundings) chooseNamed(c docker.Container) choice {
	var good []docker.Attachment
	var passed []string
	for _, a := range c.Networks {
		if why := s.obstacle(c, a); why != "" {
			passed = append(passed, fmt.Sprintf("%q (%s)", a.Name, why))
		} else {
			good = append(good, a)
		}
	}
	if len(good) == 0 {
		return s.unreachable(c, passed)
	}
	chosen, why, notes := good[0], "the first by name of the networks that Ruche reaches", []ruche.Diagnostic(nil)
	if len(good) == 1 {
		why = "the only one of its networks that Ruche reaches"
	}
	if name := strings.TrimSpace(label(c, networkLabel)); name != "" {
		if i := slices.IndexFunc(good, func(a docker.Attachment) bool { return a.Name == name }); i >= 0 {
			chosen, why = good[i], "the one that label "+networkLabel+" names"
		} else {
			notes = append(notes, s.wrongLabel(c, name, chosen.Name))
		}
	} else if len(good) > 1 {
		notes = append(notes, ruche.Diagnostic{
			Code: ruche.CodeNetworkAmbiguous, Severity: ruche.SeverityInfo, Workload: c.Name, Source: "networks",
			Message: fmt.Sprintf("Ruche reaches it in several networks (%s); %q is used, the first by name", names(good), chosen.Name),
			Hint:    "label " + networkLabel + " chooses another one",
		})
	}
	for _, a := range good {
		if a.Name != chosen.Name {
			passed = append(passed, strconv.Quote(a.Name))
		}
	}
	result := choice{address: addressOf(chosen), network: chosen.Name, reachable: true, notes: notes, reason: why}
	if len(passed) > 0 {
		result.reason += "; passed over: " + strings.Join(passed, ", ")
	}
	return result
}

// addressOf prefers IPv4.
func addressOf(a docker.Attachment) netip.Addr {
	if a.IPv4.IsValid() {
		return a.IPv4
	}
	return a.IPv6
}

// obstacle says why Ruche cannot reach the container in this network; empty when it can.
func (s surroundings) obstacle(c docker.Container, a docker.Attachment) string {
	n := s.networks.find(a)
	switch {
	case a.Name == "none":
		return "no network"
	case n.Ingress || a.Name == "ingress":
		return "the routing mesh of Swarm"
	case s.own.host && n.Driver != "bridge":
		return fmt.Sprintf("driver %s, which the host cannot reach", orUnknown(n.Driver))
	case !s.own.host && !s.shares(a):
		return "not shared with Ruche"
	case c.State.Running && !c.State.Restarting && !addressOf(a).IsValid():
		return "it has no address there"
	}
	return ""
}

func orUnknown(driver string) string {
	if driver == "" {
		return "unknown"
	}
	return driver
}

func (s surroundings) shares(a docker.Attachment) bool {
	return slices.ContainsFunc(s.own.networks, func(own docker.Attachment) bool {
		if own.NetworkID != "" && a.NetworkID != "" {
			return own.NetworkID == a.NetworkID
		}
		return own.Name == a.Name
	})
}

func (s surroundings) unreachable(c docker.Container, passed []string) choice {
	reason := "it is in no network"
	if len(passed) > 0 {
		reason = "none of its networks can be reached: " + strings.Join(passed, ", ")
	}
	if !s.own.host {
		reason += "; Ruche's container is in " + names(s.own.networks)
	}
	return choice{reason: reason, hint: s.connectHint(c)}
}

// connectHint gives the command that brings the container and Ruche together.
func (s surroundings) connectHint(c docker.Container) string {
	if s.own.host {
		return "connect it to a local bridge network: docker network connect bridge " + c.Name
	}
	for _, a := range s.own.networks {
		if n := s.networks.find(a); !n.Ingress && a.Name != "ingress" && a.Name != "none" && a.Name != "host" {
			return fmt.Sprintf("connect it to a network of Ruche: docker network connect %s %s", a.Name, c.Name)
		}
	}
	if len(c.Networks) > 0 && c.Networks[0].Name != "none" {
		return fmt.Sprintf("connect Ruche to its network: docker network connect %s %s", c.Networks[0].Name, s.own.container)
	}
	return "connect it and Ruche to one network: docker network create web; docker network connect web " + c.Name +
		"; docker network connect web " + s.own.container
}

func (s surroundings) wrongLabel(c docker.Container, wanted, used string) ruche.Diagnostic {
	d := ruche.Diagnostic{
		Code: ruche.CodeNetworkUnreachable, Severity: ruche.SeverityWarning, Workload: c.Name, Source: "label " + networkLabel,
		Message: fmt.Sprintf("the container is not in network %q; %q is used", wanted, used),
		Hint:    fmt.Sprintf("docker network connect %s %s, or correct the label", wanted, c.Name),
	}
	for _, a := range c.Networks {
		switch {
		case a.Name == wanted:
			d.Message = fmt.Sprintf("Ruche cannot reach the container in network %q (%s); %q is used", wanted, s.obstacle(c, a), used)
			d.Hint = "remove the label, or name a network that Ruche is in"
		case strings.HasSuffix(a.Name, "_"+wanted):
			d.Hint = fmt.Sprintf("did you mean %q? Compose puts the project's name in front", a.Name)
		}
	}
	return d
}

func names(list []docker.Attachment) string {
	if len(list) == 0 {
		return "no network"
	}
	var quoted []string
	for _, a := range list {
		quoted = append(quoted, strconv.Quote(a.Name))
	}
	return strings.Join(quoted, ", ")
}

func shortID(id string) string {
	if len(id) == 64 {
		return id[:12]
	}
	return id
}

// networkList is what the Engine knows of networks.
type networkList []docker.Network

// find returns the network of an attachment, by ID, or by name while it has none; the zero Network when there is none.
func (l networkList) find(a docker.Attachment) docker.Network {
	i := slices.IndexFunc(l, func(n docker.Network) bool {
		if a.NetworkID != "" {
			return n.ID == a.NetworkID
		}
		return n.Name == a.Name
	})
	if i < 0 {
		return docker.Network{}
	}
	return l[i]
}

// covers reports whether all networks of a container are known.
func (l networkList) covers(c docker.Container) bool {
	return !slices.ContainsFunc(c.Networks, func(a docker.Attachment) bool { return l.find(a).ID == "" })
}
