//go:build e2e

package e2e

import (
	"testing"

	"github.com/ruche-project/ruche/e2e/lab"
)

const composeFile = `
version: "2.4"
services:
  blog:
    image: ` + lab.SiteImage + `
    environment:
      SITE_NAME: blog
      VIRTUAL_HOST: blog.test
    healthcheck:
      test: ["CMD", "/site", "health"]
      interval: 1s
      timeout: 2s
  shop:
    image: ` + lab.SiteImage + `
    environment:
      SITE_NAME: shop
    labels:
      traefik.enable: "true"
      traefik.http.routers.shop.rule: "Host(` + "`shop.test`" + `) || Host(` + "`www.shop.test`" + `)"
      traefik.http.services.shop.loadbalancer.server.port: "8080"
`

// Two services of a Compose file, each in the vocabulary it was written for.
func TestComposeServicesAreServedByName(t *testing.T) {
	t.Parallel()
	l := lab.New(t, 1, lab.Options{})
	node := l.Nodes[0]
	node.StartRuche()
	client := node.Client()

	dir := l.Dir("shopping")
	l.File(dir, "compose.yml", composeFile)
	node.Compose(dir, "up", "--detach")
	for _, scheme := range []string{"http://", "https://"} {
		lab.Eventually(t, soon, func() error { return client.IsServedBy(scheme+"blog.test/", "blog") })
		lab.Eventually(t, soon, func() error { return client.IsServedBy(scheme+"shop.test/", "shop") })
		lab.Eventually(t, soon, func() error { return client.IsServedBy(scheme+"www.shop.test/", "shop") })
	}

	// One more container of a service joins; when it goes again, the other one serves on.
	node.Compose(dir, "up", "--detach", "--scale", "shop=2")
	hosts := map[string]bool{}
	lab.Eventually(t, soon, func() error {
		s, err := client.Site("http://shop.test/")
		hosts[s.Hostname] = true
		return enough(err, len(hosts), 2)
	})
	node.Compose(dir, "up", "--detach", "--scale", "shop=1")
	lab.Eventually(t, soon, func() error { return client.IsServedBy("http://shop.test/", "shop") })
	node.Compose(dir, "down", "--timeout", "2")
}
