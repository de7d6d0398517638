package discovery

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/docker"
)

func attach(names ...string) []docker.Attachment {
	var list []docker.Attachment
	for i, name := range names {
		list = append(list, docker.Attachment{
			Name: name, NetworkID: "id-" + name,
			IPv4:    netip.AddrFrom4([4]byte{10, 0, byte(len(name)), byte(i + 2)}),
			Gateway: netip.AddrFrom4([4]byte{10, 0, byte(len(name)), 1}),
		})
	}
	return list
}

func world() networkList {
	return networkList{
		{ID: "id-back", Name: "back", Driver: "bridge", Internal: true},
		{ID: "id-bridge", Name: "bridge", Driver: "bridge"},
		{ID: "id-host", Name: "host", Driver: "host"},
		{ID: "id-ingress", Name: "ingress", Driver: "overlay", Ingress: true},
		{ID: "id-lan", Name: "lan", Driver: "macvlan"},
		{ID: "id-mesh", Name: "mesh", Driver: "overlay"},
		{ID: "id-none", Name: "none", Driver: "null"},
		{ID: "id-p_web", Name: "p_web", Driver: "bridge"},
		{ID: "id-web", Name: "web", Driver: "bridge"},
	}
}

func TestChooseNetwork(t *testing.T) {
	onHost := place{host: true}
	inHostMode := place{host: true, container: "ruche", networks: []docker.Attachment{{Name: "host", NetworkID: "id-host"}}}
	inside := func(names ...string) place { return place{container: "ruche", networks: attach(names...)} }
	running := docker.State{Running: true, Status: "running"}
	in := func(names ...string) docker.Container {
		return docker.Container{Name: "shop", State: running, NetworkMode: "x", Networks: attach(names...)}
	}
	mode := func(mode string, c docker.Container) docker.Container { c.NetworkMode = mode; return c }
	label := func(value string, c docker.Container) docker.Container {
		c.Labels = map[string]string{networkLabel: value}
		return c
	}
	otherCase := func(c docker.Container) docker.Container {
		c.Labels = map[string]string{"Traefik.Docker.Network": "web"}
		return c
	}
	six := in("web")
	six.Networks[0].IPv4, six.Networks[0].IPv6 = netip.Addr{}, netip.MustParseAddr("fd00::2")
	bare := in("web")
	bare.Networks[0].IPv4 = netip.Addr{}
	created := docker.Container{Name: "shop", NetworkMode: "web", Networks: []docker.Attachment{{Name: "web"}}, State: docker.State{Status: "created"}}

	for _, tc := range []struct {
		name    string
		own     place
		c       docker.Container
		network string // empty: unreachable
		address string
		reason  string
		hint    string
		code    ruche.Code // of a note
	}{
		{name: "the only shared one", own: inside("web"), c: in("back", "web"), network: "web", address: "10.0.3.3", reason: `the only one of its networks that Ruche reaches; passed over: "back" (not shared with Ruche)`},
		{name: "the first of several by name", own: inside("back", "web"), c: in("back", "web"), network: "back", address: "10.0.4.2", reason: `passed over: "web"`, code: ruche.CodeNetworkAmbiguous},
		{name: "ingress is skipped", own: inside("ingress", "web"), c: in("ingress", "web"), network: "web", address: "10.0.3.3", reason: "routing mesh"},
		{name: "none is shared", own: inside("web"), c: in("back"), reason: `"back" (not shared with Ruche); Ruche's container is in "web"`, hint: "docker network connect web shop"},
		{name: "Ruche has only ingress", own: inside("ingress"), c: in("back"), reason: "none of its networks", hint: "docker network connect back ruche"},
		{name: "nothing anywhere", own: inside(), c: in(), reason: "it is in no network; Ruche's container is in no network", hint: "docker network create web"},
		{name: "an overlay is shared", own: inside("mesh"), c: in("mesh"), network: "mesh", address: "10.0.4.2", reason: "only one"},
		{name: "label", own: inside("back", "web"), c: label("web", in("back", "web")), network: "web", address: "10.0.3.3", reason: "label traefik.docker.network"},
		{name: "label in another case", own: inside("back", "web"), c: otherCase(in("back", "web")), network: "web", address: "10.0.3.3", reason: "label traefik.docker.network"},
		{name: "label names what is not there", own: inside("web"), c: label("wob", in("web")), network: "web", address: "10.0.3.2", code: ruche.CodeNetworkUnreachable},
		{name: "label without the project", own: inside("p_web"), c: label("web", in("p_web")), network: "p_web", address: "10.0.5.2", code: ruche.CodeNetworkUnreachable},
		{name: "label names what is not shared", own: inside("web"), c: label("back", in("back", "web")), network: "web", address: "10.0.3.3", code: ruche.CodeNetworkUnreachable},
		{name: "IPv6 when there is no IPv4", own: inside("web"), c: six, network: "web", address: "fd00::2", reason: "only one"},
		{name: "no address", own: inside("web"), c: bare, reason: "it has no address there", hint: "docker network connect"},
		{name: "not started yet", own: onHost, c: created, network: "web", reason: "only one"},

		{name: "host: every bridge counts", own: onHost, c: in("back", "web"), network: "back", address: "10.0.4.2", code: ruche.CodeNetworkAmbiguous},
		{name: "host: overlay does not count", own: onHost, c: in("mesh", "web"), network: "web", address: "10.0.3.3", reason: `"mesh" (driver overlay, which the host cannot reach)`},
		{name: "host: only macvlan", own: onHost, c: in("lan"), reason: `"lan" (driver macvlan`, hint: "docker network connect bridge shop"},
		{name: "host: none", own: onHost, c: mode("none", in("none")), reason: "network mode none", hint: "docker network connect bridge shop"},
		{name: "host: a network nobody knows", own: onHost, c: in("new"), reason: "driver unknown", hint: "docker network connect"},
		{name: "host to host", own: onHost, c: mode("host", in("host")), network: "host", address: "127.0.0.1", reason: "as Ruche does"},
		{name: "host mode to host", own: inHostMode, c: mode("host", in("host")), network: "host", address: "127.0.0.1", reason: "as Ruche does"},
		{name: "host mode to bridge", own: inHostMode, c: in("bridge"), network: "bridge", address: "10.0.6.2", reason: "only one"},
		{name: "container to host", own: inside("back", "web"), c: mode("host", in("host")), network: "host", address: "10.0.3.1", reason: `gateway of "web"`},
		{name: "container with internal networks to host", own: inside("back"), c: mode("host", in("host")), reason: "no network that leads to the host", hint: "docker network connect bridge ruche"},

		{name: "follows", own: inside("web"), c: mode("container:pod", in()), network: "web", address: "10.0.3.2", reason: `shares the network of container "pod": `},
		{name: "follows nobody", own: inside("web"), c: mode("container:nobody", in()), reason: "does not exist", hint: "re-create"},
		{name: "follows one that is stopped", own: inside("web"), c: mode("container:stopped", in()), reason: "does not run", hint: "docker start"},
		{name: "follows itself", own: inside("web"), c: mode("container:loop", in()), reason: "does not exist", hint: "re-create"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			others := map[string]docker.Container{
				"pod":     {Name: "pod", State: running, NetworkMode: "web", Networks: attach("web")},
				"stopped": {Name: "stopped", State: docker.State{Status: "exited"}},
				"loop":    {Name: "loop", State: running, NetworkMode: "container:loop"},
			}
			s := surroundings{own: tc.own, networks: world(), lookup: func(id string) (docker.Container, bool) { c, ok := others[id]; return c, ok }}
			got := s.choose(tc.c)
			address := ""
			if got.address.IsValid() {
				address = got.address.String()
			}
			if got.reachable != (tc.network != "") || got.network != tc.network || address != tc.address {
				t.Errorf("%+v, want network %q, address %q", got, tc.network, tc.address)
			}
			if !strings.Contains(got.reason, tc.reason) || got.reason == "" {
				t.Errorf("reason %q, want %q", got.reason, tc.reason)
			}
			if !strings.Contains(got.hint, tc.hint) || (got.hint == "") != got.reachable {
				t.Errorf("hint %q, want %q", got.hint, tc.hint)
			}
			if (len(got.notes) > 0) != (tc.code != "") || len(got.notes) > 0 && (got.notes[0].Code != tc.code || got.notes[0].Hint == "") {
				t.Errorf("notes %+v, want %q", got.notes, tc.code)
			}
		})
	}
}

func TestSignalsThatEnd(t *testing.T) {
	for _, tc := range []struct {
		signal, stop string
		want         bool
	}{
		{"15", "", true}, {"9", "", true}, {"3", "", false}, {"3", "SIGQUIT", true}, {"2", "", true}, {"SIGTERM", "", true}, {"TERM", "", true},
		{"1", "", false}, {"10", "", false}, {"28", "", false}, {"", "", false}, {"x", "x", false}, {"0", "", false}, {"99", "99", false},
		{"28", "SIGWINCH", true}, {"28", "winch", true}, {"1", "HUP", true}, {"1", "1", true}, {"37", "SIGRTMIN+3", true}, {"37", "RTMIN+3", true},
		{"64", "RTMAX", true}, {"62", "RTMAX-2", true}, {"37", "RTMIN+4", false}, {"40", "RTMIN+x", false}, {"15", "SIGQUIT", true},
	} {
		if got := ends(tc.signal, tc.stop); got != tc.want {
			t.Errorf("signal %q with stop signal %q: %v, want %v", tc.signal, tc.stop, got, tc.want)
		}
	}
}
