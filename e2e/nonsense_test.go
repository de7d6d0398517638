//go:build e2e

package e2e

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/ruche-project/ruche/e2e/lab"
)

// One container with nonsense in every variable harms nobody else, and is told what is wrong with it.
func TestNonsenseHarmsNobodyElse(t *testing.T) {
	t.Parallel()
	l := lab.New(t, 1, lab.Options{})
	node := l.Nodes[0]
	r := node.StartRuche()
	client := node.Client()
	node.Run("nonsense",
		"--env", "VIRTUAL_HOST=exa mple..com/,~^([,good.test:99x,http://",
		"--env", "VIRTUAL_PORT=many", "--env", "VIRTUAL_PROTO=carrier-pigeon",
		"--env", "VIRTUAL_PATH=~ ([", "--env", "VIRTUAL_DEST=\\\\", "--env", "HTTPS_METHOD=perhaps",
		"--env", "CERT_NAME=../../etc/passwd",
		"--label", "traefik.http.routers.bad.rule=Host(`bad.test` && (",
		"--label", "traefik.http.routers.worse.rule=Headers(",
		"--label", "traefik.http.services.bad.loadbalancer.server.port=-1")
	node.Run("maybe", "--label", "traefik.enable=maybe", "--label", "traefik.http.routers.maybe.rule=Host(`maybe.test`)")
	node.Run("good", "--env", "VIRTUAL_HOST=good.test")
	r.WriteRoutes("bad.yaml", "routes:\n  - hots: bad.test\n    endpoints: nowhere\n")
	r.WriteRoutes("good.yaml", fmt.Sprintf("routes:\n  - host: goodfile.test\n    endpoints: [http://%s:8080]\n",
		node.ContainerAddress("good", "bridge")))

	lab.Eventually(t, soon, func() error { return client.IsServedBy("http://good.test/", "good") })
	lab.Eventually(t, soon, func() error { return client.IsServedBy("http://goodfile.test/", "good") })
	for _, want := range []struct{ workload, source string }{
		{"nonsense", "VIRTUAL_HOST"}, {"nonsense", "VIRTUAL_PORT"}, {"nonsense", "VIRTUAL_PROTO"}, {"nonsense", "VIRTUAL_PATH"},
		{"nonsense", "HTTPS_METHOD"}, {"nonsense", "CERT_NAME"},
		{"nonsense", "traefik.http.routers.bad.rule"}, {"nonsense", "traefik.http.services.bad.loadbalancer.server.port"},
		{"maybe", "traefik.enable"}, {"bad.yaml", "bad.yaml:2"},
	} {
		lab.Eventually(t, soon, func() error { return isDiagnosed(r, want.workload, want.source) })
	}
	if answer, err := client.Get("http://bad.test/"); err != nil || answer.Status == http.StatusOK {
		t.Errorf("http://bad.test/: got %d, %v; want an answer that is not 200", answer.Status, err)
	}
}

// isDiagnosed returns an error until ruche says what is wrong at that place.
func isDiagnosed(r *lab.Ruche, workload, source string) error {
	list, err := r.Routes()
	if err != nil {
		return err
	}
	var all []string
	for _, d := range list.Diagnostics {
		if d.Workload == workload && strings.Contains(d.Source, source) && d.Message != "" {
			return nil
		}
		all = append(all, d.String())
	}
	slices.Sort(all)
	return fmt.Errorf("nothing is said of %s in %s; what is said:\n%s", source, workload, strings.Join(all, "\n"))
}
