package proxy

import (
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/health"
)

// mesh is the content of the bucket.
func mesh(mend string, subnets ...string) ruche.Update[ruche.Ingress] {
	i := ruche.Ingress{Mend: mend}
	for _, s := range subnets {
		i.Subnets = append(i.Subnets, netip.MustParsePrefix(s))
	}
	return ruche.Update[ruche.Ingress]{Puts: map[string]ruche.Ingress{"mesh": i}}
}

func TestClientsBehindTheRoutingMeshAreNoticed(t *testing.T) {
	const line = "PROXY TCP4 127.9.9.9 127.0.0.1 1 80\r\n"
	for _, tt := range []struct {
		name, begin string
		config      Config
		subnet      string
		want        bool
	}{
		{"a gateway", "", Config{}, "127.0.0.0/8", true},
		{"another network", "", Config{}, "10.0.0.0/24", false},
		{"a trusted proxy", "", Config{TrustedProxies: loopback()}, "127.0.0.0/8", false},
		{"a balancer that tells who the client is", line, Config{ProxyProtocol: loopback()}, "127.0.0.0/8", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.config.Health = &health.Registry{}
			r := start(t, tt.config, site("a.test", says(t, "ok")))
			r.ingress.apply(mesh("", tt.subnet))
			c := r.raw(tt.begin + "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
			if _, err := c.Read(make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
			list := tt.config.Health.List()
			if warned := len(list) == 1 && list[0].Code == ruche.CodeIngressMesh && strings.Contains(list[0].Message, "127.0.0.1"); warned != tt.want {
				t.Errorf("warnings are %+v, want one: %t", list, tt.want)
			}
		})
	}
}

func TestTheWarningOfTheMeshGoesAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &ingress{logger: slog.New(slog.DiscardHandler), health: &health.Registry{}}
		gateway, client := netip.MustParseAddr("10.0.0.3"), netip.MustParseAddr("203.0.113.1")
		warning := func() string {
			synctest.Wait()
			for _, w := range g.health.List() {
				return w.Hint
			}
			return ""
		}
		if g.met(gateway) {
			t.Error("a gateway was met where no mesh is known")
		}
		g.apply(mesh("docker service update edge", "fd00::/64", "10.0.0.0/24"))
		if g.met(client) || !g.met(gateway) || !strings.Contains(warning(), "docker service update edge") {
			t.Errorf("the warning is %q", warning())
		}
		for range 3 { // as long as they come
			<-time.After(meshedFor - time.Second)
			g.met(gateway)
		}
		if warning() == "" {
			t.Error("the warning is gone although gateways connect")
		}
		<-time.After(meshedFor + time.Second)
		if w := warning(); w != "" {
			t.Errorf("when none has connected for a while there is %q", w)
		}

		g.met(gateway)
		g.apply(mesh("docker service update edge", "fd00::/64", "10.0.0.0/24"))
		if warning() == "" {
			t.Error("the warning went although nothing has changed")
		}
		g.apply(mesh("", "10.0.0.0/24"))
		if w := warning(); w != "" {
			t.Errorf("after a change there is %q", w)
		}
		g.met(gateway)
		if !strings.Contains(warning(), "--publish-add mode=host") {
			t.Errorf("without a known service the warning is %q", warning())
		}
		g.apply(ruche.Update[ruche.Ingress]{Deletes: []string{"mesh"}})
		if g.met(gateway) || warning() != "" {
			t.Error("a mesh that is no more is still known")
		}
	})
}

func TestAskingForTheMeshCostsNothing(t *testing.T) {
	g := &ingress{logger: slog.New(slog.DiscardHandler), health: &health.Registry{}}
	g.apply(mesh("", "10.0.0.0/24"))
	g.met(netip.MustParseAddr("10.0.0.3"))
	for _, a := range []string{"10.0.0.3", "203.0.113.1"} {
		peer := netip.MustParseAddr(a)
		if n := testing.AllocsPerRun(100, func() { g.met(peer) }); n != 0 {
			t.Errorf("%s costs %v allocations", a, n)
		}
	}
}
