package doctor

import (
	"errors"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/docker"
)

func now() time.Time { return time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC) }

func swarmNode(name, address string, manager bool) docker.Node {
	n := docker.Node{
		ID: "id-" + name, Name: name, Address: netip.MustParseAddr(address), State: "ready", Availability: "active", Engine: "20.10.24",
		Labels: map[string]string{},
	}
	if manager {
		n.Manager = &docker.Manager{Reachability: "reachable", Address: address + ":2377"}
	}
	return n
}

func installed(name, role string) ruche.NodeInfo {
	n := ruche.NodeInfo{Name: name, Roles: []string{role}, Enrolled: now().Add(-time.Hour), Status: &ruche.NodeStatus{
		Node: name, Version: "v1", Seen: now().Add(-5 * time.Second), Follows: "10.0.0.1:8901",
	}}
	if role == "control" {
		n.Status.Follows = ""
	}
	return n
}

// sound is three managers in three data centres with all parts of Ruche, and a worker with an edge and an agent: nothing is wrong or weak.
func sound() Facts {
	f := Facts{
		Now: now(), Node: "n1-control",
		State: ruche.StateStatus{Node: "n1-control", Quorum: true},
		Engine: docker.Info{Version: "20.10.24", Swarm: docker.SwarmStatus{
			NodeID: "id-n1", Manager: true, Address: "10.0.0.1", Managers: []string{"10.0.0.1", "10.0.0.2", "10.0.0.3"},
		}},
		Networks: []docker.Network{{ID: "id-public", Name: "public", Driver: "overlay", Attachable: true}, {ID: "id-host", Name: "host", Driver: "host"}},
		Services: []docker.Service{
			{ID: "e", Name: "ruche_edge", Labels: map[string]string{"ruche.role": "edge"}, Networks: []string{"id-public"}, Replicas: -1, Ports: []docker.PublishedPort{{Target: 80, Published: 80, Protocol: "tcp", Host: true}}},
			{ID: "a", Name: "ruche_agent", Labels: map[string]string{"ruche.role": "agent"}, Networks: []string{"id-public"}, Replicas: -1, Mounts: []docker.Mount{socket()}},
			{ID: "s", Name: "shop", Networks: []string{"id-public"}, Replicas: 2},
		},
		Declarations: []ruche.Declaration{service("s", "shop")},
	}
	for i, name := range []string{"n1", "n2", "n3", "n4"} {
		address := "10.0.0." + string(rune('1'+i))
		manager := i < 3
		n := swarmNode(name, address, manager)
		n.Labels["ruche.datacenter"] = "dc-" + name
		f.SwarmNodes = append(f.SwarmNodes, n)
		f.Nodes = append(f.Nodes, installed(name, "agent"), installed(name+"-edge", "edge"))
		if manager {
			control := installed(name+"-control", "control")
			control.Address = address + ":8901"
			f.Nodes = append(f.Nodes, control)
			f.State.Members = append(f.State.Members, ruche.Member{ID: name, Name: control.Name, Peer: "https://" + address + ":8902", Healthy: true})
		}
	}
	f.Dials = Dials(f)
	return f
}

func socket() docker.Mount {
	return docker.Mount{Type: "bind", Source: "/var/run/docker.sock", Target: "/var/run/docker.sock"}
}

func service(id, name string) ruche.Declaration {
	return ruche.Declaration{Workload: ruche.Workload{ID: "service/" + id, Kind: ruche.KindService, Name: name}, Routes: []ruche.Route{{}}}
}

// alone is "ruche up" on a host without a Swarm.
func alone() Facts {
	return Facts{
		Now: now(), Node: "n1", Alone: true, Engine: docker.Info{Version: "20.10.24"},
		State: ruche.StateStatus{Node: "n1", Quorum: true, Members: []ruche.Member{{ID: "1", Name: "n1", Healthy: true}}},
	}
}

// lines gives findings as "check level subject: message -> hint", without those that are ok unless all is set.
func lines(c ruche.Checkup, all bool) []string {
	var list []string
	for _, f := range c.Findings {
		if f.Level != ruche.LevelOK || all {
			list = append(list, f.Check+" "+string(f.Level)+" "+f.Subject+": "+f.Message+" -> "+f.Hint)
		}
	}
	return list
}

func TestNothingIsFoundWhereNothingIsWeak(t *testing.T) {
	c := Check(sound())
	if bad := lines(c, false); len(bad) > 0 {
		t.Errorf("found:\n%s", strings.Join(bad, "\n"))
	}
	var checks []string
	for _, f := range c.Findings {
		checks = append(checks, f.Check)
	}
	want := []string{"swarm-quorum", "state-quorum", "data-centres", "clock", "versions", "ports", "nodes", "networks", "sockets", "single-points", "ingress", "sealing-keys"}
	if !slices.Equal(checks, want) {
		t.Errorf("checks %v, want one finding of each of %v", checks, want)
	}
}

func TestDocumentationExplainsEveryCheck(t *testing.T) {
	text, err := os.ReadFile("../../docs/doctor.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range Check(sound()).Findings {
		if !strings.Contains(string(text), "\n### "+f.Check+"\n") {
			t.Errorf("docs/doctor.md has no heading %q", "### "+f.Check)
		}
	}
}

type tests map[string]struct {
	change func(*Facts)
	want   []string // "check level subject|part of the message|part of the hint"
}

// found runs tests: each changes good facts, and names all findings that are not ok then, each by a part of every one of its fields.
func found(t *testing.T, good func() Facts, all tests) {
	t.Helper()
	for name, tc := range all {
		t.Run(name, func(t *testing.T) {
			f := good()
			tc.change(&f)
			got := lines(Check(f), false)
			matches := len(got) == len(tc.want)
			for i := 0; matches && i < len(got); i++ {
				head, rest, _ := strings.Cut(tc.want[i], "|")
				message, hint, _ := strings.Cut(rest, "|")
				gotMessage, gotHint, _ := strings.Cut(strings.TrimPrefix(got[i], head+": "), " -> ")
				matches = strings.HasPrefix(got[i], head+": ") && strings.Contains(gotMessage, message) && strings.Contains(gotHint, hint) && gotHint != ""
			}
			if !matches {
				t.Errorf("found:\n  %s\nwant:\n  %s", strings.Join(got, "\n  "), strings.Join(tc.want, "\n  "))
			}
		})
	}
}

func TestOneHost(t *testing.T) {
	const single = "single-points note n1|all of Ruche is on this node|docs/swarm.md"
	found(t, alone, tests{
		"nothing":        {func(*Facts) {}, []string{single}},
		"no Docker":      {func(f *Facts) { f.NoDocker, f.Engine = true, docker.Info{} }, []string{single}},
		"a worker":       {func(f *Facts) { f.Engine.Swarm.NodeID = "w" }, []string{single}},
		"an old Engine":  {func(f *Facts) { f.Engine.Version = "19.03.15" }, []string{"versions warning |Engine 19.03.15 is old (n1)|upgrade", single}},
		"an odd version": {func(f *Facts) { f.Engine.Version = "dev" }, []string{single}},
		"no state":       {func(f *Facts) { f.Unknown.State = errors.New("closed") }, []string{"state-quorum error n1|closed|log", single}},
		"a key that is missing": {func(f *Facts) {
			f.Seals.Values = []ruche.SealCount{{Bucket: "accounts", Count: 2}, {Bucket: "certificates", Opens: true, Count: 3}}
		}, []string{single, "sealing-keys error n1|2 of 5 sealed values|--seal-key-file"}},
		"half a new key": {func(f *Facts) {
			f.Seals.Lacking, f.Seals.Values = []string{"c2"}, []ruche.SealCount{{Bucket: "certificates", Opens: true, Stale: true, Count: 3}}
		}, []string{single, "sealing-keys warning |without the key n1 seals with: c2|the same file", "sealing-keys note |3 of 3 sealed values of the state are to be sealed anew|ruche state reseal"}},
		"a plain Engine": {func(f *Facts) { f.PlainEngine, f.EngineHost = true, "tcp://10.0.0.1:2375" }, []string{"sockets warning tcp://10.0.0.1:2375|without TLS|DOCKER_CERT_PATH", single}},
		"health warnings": {func(f *Facts) {
			f.Warnings = []ruche.Warning{{Code: "a", Severity: "warning"}, {Code: "a", Severity: "warning"}}
		}, []string{"nodes warning n1|2 health warnings: a|ruche routes", single}},
		"an open Engine": {func(f *Facts) {
			f.Engine.Warnings = []string{"WARNING: No swap limit support", "WARNING: API is accessible on http://0.0.0.0:2375 without encryption.\n  Access to the remote API is root"}
		}, []string{"sockets error n1|the Engine says: API is accessible on http://0.0.0.0:2375 without encryption.|--tlsverify", single}},
		"no Engine": {func(f *Facts) { f.Unknown.Engine, f.Engine = errors.New("it is away"), docker.Info{} }, []string{
			"swarm-quorum error n1|it is away|start the Engine", "data-centres note |the Engine does not answer|swarm-quorum",
			"sockets note |not looked at|swarm-quorum", single, "single-points note |not looked at|swarm-quorum", "ingress note |not looked at|swarm-quorum",
		}},
		"the only manager": {func(f *Facts) {
			f.Engine.Swarm, f.SwarmNodes = docker.SwarmStatus{NodeID: "id-n1", Manager: true}, []docker.Node{swarmNode("n1", "10.0.0.1", true)}
		}, []string{"single-points note n1|the only manager|docker node promote", single}},
		"a manager with a worker": {func(f *Facts) {
			f.Engine.Swarm = docker.SwarmStatus{NodeID: "id-n1", Manager: true}
			f.SwarmNodes = []docker.Node{swarmNode("n1", "10.0.0.1", true), swarmNode("n2", "10.0.0.2", false)}
		}, []string{"single-points warning n1|the only manager|docker node promote", "single-points warning n1|all of Ruche is on this node|docs/swarm.md"}},
	})
}

func TestQuorums(t *testing.T) {
	found(t, sound, tests{
		"a manager is down": {func(f *Facts) { f.SwarmNodes[1].State = "down" }, []string{
			"swarm-quorum warning |2 of 3 managers are up: none of these may be lost|bring", "swarm-quorum error n2|cannot be reached|docker node demote n2",
		}},
		"two managers are down": {func(f *Facts) { f.SwarmNodes[2].State, f.SwarmNodes[1].State = "down", "down" }, []string{
			"swarm-quorum error |1 of 3 managers are up, and a majority is 2|docs/doctor.md#swarm-quorum", "swarm-quorum error n2||start its Engine", "swarm-quorum error n3||start its Engine",
		}},
		"a manager is cut off": {func(f *Facts) { f.SwarmNodes[1].Manager.Reachability = "unreachable" }, []string{
			"swarm-quorum warning |2 of 3|", "swarm-quorum error n2|cannot be reached|",
		}},
		"a manager is drained": {func(f *Facts) { f.SwarmNodes[1].Availability = "drain" }, []string{"swarm-quorum warning n2|takes no tasks|--availability active n2"}},
		"four managers": {func(f *Facts) {
			f.SwarmNodes[3].Manager = f.SwarmNodes[0].Manager
		}, []string{"swarm-quorum warning |4 of 4 managers are up: no more may be lost than of 3|docker node promote"}},
		"no majority of the managers": {func(f *Facts) {
			f.Unknown.Swarm, f.SwarmNodes, f.Services, f.Networks = errors.New("the swarm does not have a leader"), nil, nil, nil
		}, []string{
			"swarm-quorum error |the swarm does not have a leader (its managers: 10.0.0.1, 10.0.0.2, 10.0.0.3)|docs/doctor.md#swarm-quorum", "data-centres note ||swarm-quorum",
			"sockets note ||swarm-quorum", "single-points note ||swarm-quorum", "ingress note ||swarm-quorum",
		}},
		"a Swarm that looks for a leader": {func(f *Facts) {
			f.Unknown.Swarm, f.Engine, f.SwarmNodes, f.Services, f.Networks = errors.New("no answer in time"), docker.Info{}, nil, nil, nil
		}, []string{
			"swarm-quorum error |the Swarm does not answer: no answer in time|ask again in a minute", "data-centres note ||swarm-quorum",
			"sockets note ||swarm-quorum", "single-points note ||swarm-quorum", "ingress note ||swarm-quorum",
		}},
		"a control node on a worker": {func(f *Facts) {
			f.Engine.Swarm.Manager, f.SwarmNodes, f.Services, f.Networks = false, nil, nil, nil
		}, []string{"swarm-quorum warning n1-control|is no manager|run control nodes on managers"}},
		"a member is down": {func(f *Facts) { f.State.Members[2].Healthy = false }, []string{
			"state-quorum warning |2 of 3 members are up: none|bring", "state-quorum error n3-control|does not answer|docs/state.md",
		}},
		"no majority of the members": {func(f *Facts) {
			for i := range f.State.Members {
				f.State.Members[i].Healthy = false // that of this node as well, which knows no leader
			}
			f.State.Quorum = false
			f.Unknown.Nodes, f.Nodes, f.Unknown.Declared, f.Declarations = errors.New("no"), nil, errors.New("no"), nil
		}, []string{
			"state-quorum error |1 of 3 members are up, and a majority is 2|bring", "state-quorum error n2-control||", "state-quorum error n3-control||",
			"clock note ||state-quorum", "nodes note ||state-quorum", "networks note ||state-quorum",
		}},
		"a split": {func(f *Facts) { f.State.Quorum, f.State.QuorumSince = false, now() }, []string{"state-quorum error n1-control|no majority since 2026-11-22T12:00:00Z|network"}},
		"members that come": {func(f *Facts) {
			f.State.Members = append(f.State.Members, ruche.Member{Name: "n4-control", Learner: true, Healthy: true}, ruche.Member{Peer: "https://10.0.0.5:8902", Learner: true})
		}, []string{"state-quorum warning n4-control|does not vote yet|wait", "state-quorum warning https://10.0.0.5:8902|has not come up|wait"}},
		"two control nodes": {func(f *Facts) {
			f.State.Members = f.State.Members[:2]
			f.Nodes = slices.DeleteFunc(f.Nodes, func(n ruche.NodeInfo) bool { return n.Name == "n3-control" })
		}, []string{"state-quorum warning |2 of 2 members are up: no more may be lost than of 1|", "state-quorum note |3 managers, and 2 control nodes|docker node promote NODE"}},
	})
}

func TestDataCentres(t *testing.T) {
	place := func(f *Facts, places ...string) {
		for i, p := range places {
			f.SwarmNodes[i].Labels = map[string]string{"zone": p}
		}
	}
	found(t, sound, tests{
		"none is known":  {func(f *Facts) { place(f, "", "", "") }, nil},
		"some are known": {func(f *Facts) { place(f, "a", "b", "") }, []string{"data-centres warning |without a label of their data centre: n3|--label-add ruche.datacenter"}},
		"two of three in one": {func(f *Facts) { place(f, "a", "b", "a") }, []string{
			"data-centres warning a|2 of the 3 managers|three places", "data-centres warning a|2 of the 3 members of the state|three places",
		}},
		"all in one":     {func(f *Facts) { place(f, "a", "a", "a") }, []string{"data-centres note a|3 of the 3 managers|", "data-centres note a|3 of the 3 members|"}},
		"a lone manager": {func(f *Facts) { f.SwarmNodes[1].Manager, f.SwarmNodes[2].Manager = nil, nil }, []string{"single-points warning n1|the only manager|"}},
	})
}

func TestNodesAndTheirClocks(t *testing.T) {
	find := func(f *Facts, name string) *ruche.NodeInfo {
		return &f.Nodes[slices.IndexFunc(f.Nodes, func(n ruche.NodeInfo) bool { return n.Name == name })]
	}
	found(t, sound, tests{
		"a clock a bit off":    {func(f *Facts) { find(f, "n2").Status.ClockOffset = time.Second }, nil},
		"a clock ahead":        {func(f *Facts) { find(f, "n2").Status.ClockOffset = 1100 * time.Millisecond }, []string{"clock warning n2|1.1s ahead|NTP"}},
		"a clock far behind":   {func(f *Facts) { find(f, "n2").Status.ClockOffset = -time.Minute }, []string{"clock error n2|1m0s behind|NTP"}},
		"a control node ahead": {func(f *Facts) { find(f, "n2-control").Status.Seen = now().Add(40 * time.Second) }, []string{"clock error n2-control|at least 40s ahead|NTP"}},
		"a clock of one long gone": {func(f *Facts) {
			*find(f, "n2").Status = ruche.NodeStatus{Seen: now().Add(-2 * time.Minute), ClockOffset: time.Hour}
		}, []string{"nodes error n2|heard of 2m0s ago|ruche nodes remove n2"}},
		"half an upgrade": {func(f *Facts) { find(f, "n2").Status.Version = "v2" }, []string{"versions warning |v2 (n2)|docs/upgrade.md"}},
		"an old Engine on a worker": {func(f *Facts) { f.SwarmNodes[3].Engine = "20.9.1" }, []string{
			"versions warning |Docker Engine 20.9.1 is old (n4)|",
		}},
		"Engines that differ":    {func(f *Facts) { f.SwarmNodes[2].Engine = "28.0.0" }, []string{"versions warning |20.10.24 (n1, n2), 28.0.0 (n3)|one version"}},
		"a node never reported":  {func(f *Facts) { find(f, "n2").Status = nil }, []string{"nodes error n2|never reported|"}},
		"a node that just joins": {func(f *Facts) { find(f, "n2").Status, find(f, "n2").Enrolled = nil, now() }, nil},
		"an edge follows nobody": {func(f *Facts) { find(f, "n2-edge").Status.Follows = "" }, []string{"nodes warning n2-edge|follows no control node|control-unreachable"}},
		"health warnings": {func(f *Facts) {
			find(f, "n2").Status.Warnings = []ruche.Warning{{Code: "docker-unreachable", Severity: ruche.SeverityError}, {Code: "certificate-invalid", Severity: ruche.SeverityWarning}}
		}, []string{"nodes error n2|2 health warnings: certificate-invalid, docker-unreachable|ruche nodes"}},
		"a worker is down": {func(f *Facts) { f.SwarmNodes[3].State = "down" }, []string{"nodes error n4|down|docker node rm"}},
		"a node without parts": {func(f *Facts) { f.SwarmNodes = append(f.SwarmNodes, swarmNode("n5", "10.0.0.5", false)) }, []string{
			"nodes warning |known as late as the Swarm knows it: n5|", "nodes note |are not served: n5|",
		}},
		"a drained node without parts": {func(f *Facts) {
			n := swarmNode("n5", "10.0.0.5", false)
			n.Availability = "drain"
			f.SwarmNodes = append(f.SwarmNodes, n)
		}, nil},
		"names that tell nothing": {func(f *Facts) {
			for i := range f.SwarmNodes {
				f.SwarmNodes[i].Name = "host" + f.SwarmNodes[i].Name
			}
		}, []string{"nodes note |no agent has the name|--node-name"}},
	})
}

func TestPorts(t *testing.T) {
	var got []string
	f := sound()
	f.State.Members[2].Healthy = false
	for _, d := range Dials(f) {
		got = append(got, d.Node+" "+d.Address)
	}
	want := []string{
		"n2-control 10.0.0.2:8901", "n3-control 10.0.0.3:8901", "n3-control 10.0.0.3:8902",
		"n2 10.0.0.2:2377", "n2 10.0.0.2:7946", "n3 10.0.0.3:2377", "n3 10.0.0.3:7946", "n4 10.0.0.4:7946",
	}
	if !slices.Equal(got, want) {
		t.Errorf("dials %v, want %v", got, want)
	}
	f.SwarmNodes, f.Nodes, f.State = nil, nil, ruche.StateStatus{}
	if d := Dials(f); len(d) != 2 || d[0].Address != "10.0.0.2:2377" || d[1].Address != "10.0.0.3:2377" {
		t.Errorf("while the Swarm does not answer, dials %v, want its other managers", d)
	}
	if d := Dials(alone()); len(d) > 0 {
		t.Errorf("one host dials %v", d)
	}
	found(t, sound, tests{"two ports of one node": {func(f *Facts) { f.Dials[1].Failure, f.Dials[4].Failure = "no answer", "connection refused" }, []string{
		"ports error n3|n1-control does not reach it at 10.0.0.3: 8901/tcp for mesh: no answer; 2377/tcp for managers: connection refused|8902/tcp",
	}}})
}

func TestServices(t *testing.T) {
	add := func(f *Facts, s docker.Service, declared bool) {
		s.ID = s.Name
		f.Services = append(f.Services, s)
		if declared {
			f.Declarations = append(f.Declarations, service(s.ID, s.Name))
		}
	}
	found(t, sound, tests{
		"cut off": {func(f *Facts) {
			d := &f.Declarations[0]
			d.Diagnostics = []ruche.Diagnostic{{Code: ruche.CodeNetworkUnreachable, Severity: ruche.SeverityError}, {Code: ruche.CodeNetworkUnreachable, Severity: ruche.SeverityError}}
		}, []string{"networks warning |reaches it: shop|ruche routes"}},
		"cut off and gone": {func(f *Facts) {
			d := service("x", "x")
			d.GoneSince, d.Diagnostics = now(), []ruche.Diagnostic{{Code: ruche.CodeNetworkUnreachable, Severity: ruche.SeverityError}}
			f.Declarations = append(f.Declarations, d)
		}, nil},
		"a container beside the Swarm": {func(f *Facts) {
			f.Networks[0].Attachable = false
			f.Declarations = append(f.Declarations, ruche.Declaration{Workload: ruche.Workload{ID: "container/x", Kind: ruche.KindContainer}, Routes: []ruche.Route{{}}})
		}, []string{"networks warning public|1 container is declared|--attachable"}},
		"edges with the socket": {func(f *Facts) { f.Services[0].Mounts = []docker.Mount{socket()} }, []string{"sockets error ruche_edge|face the internet|remove the mount"}},
		"a socket that publishes": {func(f *Facts) {
			add(f, docker.Service{Name: "portainer", Mounts: []docker.Mount{socket()}, Ports: []docker.PublishedPort{{Target: 9000}}}, false)
		}, []string{"sockets warning portainer|publishes ports|root"}},
		"a socket among strangers": {func(f *Facts) {
			add(f, docker.Service{Name: "ui", Mounts: []docker.Mount{{Type: "bind", Source: "/run/"}}, Networks: []string{"id-public"}}, false)
		}, []string{`sockets warning ui|network "public"|root`}},
		"a socket for itself": {func(f *Facts) { add(f, docker.Service{Name: "cron", Mounts: []docker.Mount{socket()}}, false) }, nil},
		"a volume of that name": {func(f *Facts) {
			add(f, docker.Service{Name: "v", Mounts: []docker.Mount{{Type: "volume", Source: "docker.sock"}}, Networks: []string{"id-public"}}, false)
		}, nil},
		"one task each": {func(f *Facts) {
			for _, name := range strings.Fields("l k j i h g f e d c b a") {
				add(f, docker.Service{Name: name, Replicas: 1}, true)
			}
			add(f, docker.Service{Name: "not-published", Replicas: 1}, false)
		}, []string{"single-points note |one task, that pause when it or its node does: a, b, c, d, e, f, g, h, i, j and 2 more|scale"}},
		"bound to a node": {func(f *Facts) {
			add(f, docker.Service{Name: "db", Replicas: 2, Constraints: []string{"node.hostname == n1"}}, true)
			add(f, docker.Service{Name: "free", Replicas: 2, Constraints: []string{"node.role==manager", "node.id!=x"}}, true)
		}, []string{"single-points note |one node only: db|--constraint-rm"}},
		"one control node": {func(f *Facts) {
			f.State.Members = f.State.Members[:1]
			f.Nodes = slices.DeleteFunc(f.Nodes, func(n ruche.NodeInfo) bool { return n.Name == "n2-control" || n.Name == "n3-control" })
		}, []string{"single-points warning n1-control|the only control node|docker node promote NODE"}},
		"one edge": {func(f *Facts) {
			f.Nodes = slices.DeleteFunc(f.Nodes, func(n ruche.NodeInfo) bool { return n.Roles[0] == "edge" && n.Name != "n1-edge" })
		}, []string{"nodes note |not served: n2, n3, n4|", "single-points warning n1-edge|the only edge|second node"}},
		"no edge": {func(f *Facts) {
			f.Nodes = slices.DeleteFunc(f.Nodes, func(n ruche.NodeInfo) bool { return n.Roles[0] == "edge" })
		}, []string{"single-points note |no edge has joined|docs/swarm.md"}},
		"edges behind the mesh": {func(f *Facts) {
			f.Services[0].Ports = append(f.Services[0].Ports, docker.PublishedPort{Target: 443, Published: 8443, Protocol: "tcp"})
		}, []string{"ingress warning ruche_edge|8443/tcp are published by the routing mesh|docker service update --publish-rm 443/tcp --publish-add mode=host,published=8443,target=443,protocol=tcp ruche_edge"}},
	})
}
