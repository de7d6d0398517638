//go:build e2e

package e2e

import (
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ruche-project/ruche/e2e/lab"
)

// aMinute bounds what a Swarm takes its time for: every start of a task first looks for a registry.
const aMinute = time.Minute

// The tasks of a service are replaced under load, wherever they run and in whichever order. Only the first node has Ruche, so what happens on the
// second is known from the Swarm alone; a single task there is the worst case.
// What lacks here, stop-first without a health check, is what TestUpdatesInARowLoseNothing begins with.
func TestUpdateOfAServiceUnderLoadLosesNothing(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, image, order string
		replicas           int
		more               []string
	}{
		{"start-first", lab.SiteImage, "start-first", 2, nil},
		{"start-first, checked", lab.CheckedImage, "start-first", 2, nil},
		{"stop-first, checked", lab.CheckedImage, "stop-first", 2, nil},
		{"one elsewhere, start-first", lab.SiteImage, "start-first", 1, []string{"--constraint", "node.hostname==n2"}},
		{"one elsewhere, stop-first", lab.SiteImage, "stop-first", 1, []string{"--constraint", "node.hostname==n2"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			l := lab.New(t, 2, lab.Options{})
			l.JoinSwarm()
			node := l.Nodes[0]
			var flags []string
			if tc.replicas == 1 {
				flags = []string{"--hold", "30s"} // requests wait while the only task is replaced; how long that takes is for the Swarm and the machine to say
			}
			node.StartRuche(flags...)
			node.CreateService(tc.image, "shop", append(tc.more, "--replicas", strconv.Itoa(tc.replicas), "--publish", "mode=host,target=8080",
				"--env", "VIRTUAL_HOST=shop.test", "--env", "VIRTUAL_PORT=8080", "--label", "traefik.http.routers.shop.rule=Host(`label.test`)",
				"--label", "traefik.http.services.shop.loadbalancer.server.port=8080",
				"--update-order", tc.order, "--update-monitor", "500ms", "--health-interval", "500ms", "--stop-grace-period", "5s")...)
			client := node.Client()
			for _, url := range []string{"http://shop.test/", "http://label.test/"} {
				lab.Eventually(t, aMinute, func() error { return servedByTasks(client, url, tc.replicas) })
			}

			load := client.StartLoad("http://shop.test/", loadRate)
			<-load.UnderWay()
			node.Docker("service", "update", "--detach", "--force", "shop")
			lab.Eventually(t, aMinute, func() error { return node.UpdateIsOver("shop") })
			lab.Eventually(t, aMinute, func() error { return haveTasks(l.Nodes, "shop", tc.replicas) })
			err := load.End()
			t.Log(load)
			if err != nil {
				t.Error(err)
			}
			lab.Eventually(t, soon, func() error { return servedByTasks(client, "http://shop.test/", tc.replicas) })
		})
	}
}

// A service is updated again and again under load, its tasks alone and its image in turn. All cases and as many updates as RUCHE_TEST_UPDATES says take minutes, so
// the usual run has three updates of one case.
func TestUpdatesInARowLoseNothing(t *testing.T) {
	t.Parallel()
	updates, err := strconv.Atoi(os.Getenv("RUCHE_TEST_UPDATES"))
	all := err == nil
	if !all {
		updates = 3
	}
	const next = "ruche-lab/site:next"
	for _, tc := range []struct {
		order    string
		replicas int
		usual    bool
	}{{"stop-first", 2, true}, {"start-first", 2, false}, {"start-first", 1, false}, {"stop-first", 1, false}} {
		if !all && !tc.usual {
			continue
		}
		t.Run(fmt.Sprintf("%s, %d replicas", tc.order, tc.replicas), func(t *testing.T) {
			t.Parallel()
			l := lab.New(t, 2, lab.Options{})
			l.JoinSwarm()
			node := l.Nodes[0]
			for _, n := range l.Nodes {
				n.Docker("tag", lab.SiteImage, next)
			}
			node.StartRuche()
			node.CreateService(lab.SiteImage, "shop", "--replicas", strconv.Itoa(tc.replicas), "--publish", "mode=host,target=8080",
				"--env", "VIRTUAL_HOST=shop.test", "--env", "VIRTUAL_PORT=8080", "--update-order", tc.order, "--update-monitor", "500ms", "--stop-grace-period", "5s")
			client := node.Client()
			lab.Eventually(t, aMinute, func() error { return servedByTasks(client, "http://shop.test/", tc.replicas) })

			load := client.StartLoad("http://shop.test/", loadRate)
			<-load.UnderWay()
			for i := range updates {
				change := []string{"--force"}
				if i%2 == 1 {
					change = []string{"--image", []string{next, lab.SiteImage}[i/2%2]}
				}
				node.Docker(append(append([]string{"service", "update", "--detach", "--no-resolve-image"}, change...), "shop")...)
				lab.Eventually(t, aMinute, func() error { return node.UpdateIsOver("shop") })
			}
			lab.Eventually(t, aMinute, func() error { return haveTasks(l.Nodes, "shop", tc.replicas) })
			err := load.End()
			t.Logf("%d updates: %v", updates, load)
			if err != nil {
				t.Error(err)
			}
		})
	}
}

// servedByTasks returns an error until a URL is answered by that many tasks.
func servedByTasks(client *lab.Client, url string, want int) error {
	seen := map[string]bool{}
	for range 4 * want {
		s, err := client.Site(url)
		if err != nil {
			return err
		}
		seen[s.Hostname] = true
	}
	return enough(nil, len(seen), want)
}

// haveTasks returns an error until the nodes together run that many tasks of a service: what an update has replaced is gone.
func haveTasks(nodes []*lab.Node, service string, want int) error {
	var all []string
	for _, n := range nodes {
		out, err := n.TryDocker("ps", "--quiet", "--filter", "label=com.docker.swarm.service.name="+service)
		if err != nil {
			return err
		}
		all = append(all, strings.Fields(out)...)
	}
	if len(all) != want {
		return fmt.Errorf("the nodes run the tasks %v of service %s, want %d", all, service, want)
	}
	return nil
}

// Ruche in a container reaches tasks in the networks that it shares with them, and says so where it shares none.
func TestServicesInANetworkOfTheSwarm(t *testing.T) {
	t.Parallel()
	l := lab.New(t, 2, lab.Options{})
	l.JoinSwarm()
	node := l.Nodes[0]
	for _, name := range []string{"public", "private"} {
		node.Docker("network", "create", "--driver", "overlay", "--attachable", name)
	}
	node.LoadRuche()
	node.Docker("run", "--detach", "--name", "ruche", "--network", "public", "--publish", "80:80", "--volume", node.Socket()+":/var/run/docker.sock:ro", lab.RucheImage)
	node.CreateService(lab.SiteImage, "shop", "--replicas", "2", "--network", "public", "--env", "VIRTUAL_HOST=shop.test", "--publish", "8080")
	node.CreateService(lab.SiteImage, "hidden", "--network", "private", "--env", "VIRTUAL_HOST=hidden.test", "--env", "VIRTUAL_PORT=8080")
	client := node.Client()
	const shop, hidden = "http://shop.test/", "http://hidden.test/"
	lab.Eventually(t, aMinute, func() error { return servedByTasks(client, shop, 2) }) // one on each node

	node.Docker("service", "scale", "--detach", "shop=0")
	lab.Eventually(t, aMinute, func() error { return client.Answers(shop, http.StatusServiceUnavailable) })
	answer, err := client.Get(shop)
	if err != nil || answer.Header.Get("Retry-After") == "" {
		t.Errorf("503 without Retry-After: %v, %v", answer.Header, err)
	}
	node.Docker("service", "scale", "--detach", "shop=1")
	lab.Eventually(t, aMinute, func() error { return servedByTasks(client, shop, 1) })

	lab.Eventually(t, aMinute, func() error {
		return explains(node, hidden, "503", "network-unreachable", `"private"`, "docker service update --network-add public hidden")
	})
	node.Docker("service", "update", "--detach", "--network-add", "public", "hidden")
	lab.Eventually(t, aMinute, func() error { return servedByTasks(client, hidden, 1) })

	node.CreateService(lab.SiteImage, "other", "--network", "private", "--env", "VIRTUAL_HOST=other.test", "--env", "VIRTUAL_PORT=8080")
	node.Docker("network", "connect", "private", "ruche")
	lab.Eventually(t, aMinute, func() error { return servedByTasks(client, "http://other.test/", 1) })
	node.Docker("network", "disconnect", "private", "ruche")
	begin := time.Now()
	lab.Eventually(t, aMinute, func() error { return explains(node, "http://other.test/", "network-unreachable") })
	t.Logf("that Ruche left a network was known after %v", time.Since(begin).Round(time.Millisecond))

	node.Docker("service", "rm", "hidden")
	lab.Eventually(t, aMinute, func() error { return client.Answers(hidden, http.StatusServiceUnavailable) })
}

// explains returns an error until the Ruche in a container explains a URL in these words.
func explains(node *lab.Node, url string, words ...string) error {
	out, err := node.TryDocker("exec", "ruche", "/ruche", "explain", url)
	for _, want := range words {
		if err == nil && !strings.Contains(out, want) {
			err = fmt.Errorf("explain does not say %q:\n%s", want, out)
		}
	}
	return err
}
