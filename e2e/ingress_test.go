//go:build e2e

package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/e2e/lab"
)

// Edges that are published over the routing mesh are noticed before a client comes, and the command in the warning, as it stands there, mends it. There is no task, since
// the kernel that runs the lab may have no IPVS.
func TestEdgesThatArePublishedOverTheMesh(t *testing.T) {
	t.Parallel()
	l := lab.New(t, 1, lab.Options{})
	l.JoinSwarm()
	n := l.Nodes[0]
	n.LoadRuche()
	n.StackDeploy(n.StackInit())
	n.CreateService(lab.SiteImage, "edges", "--replicas", "0", "--label", "ruche.role=edge",
		"--publish", "8080:80", "--publish", "8443:443", "--publish", "8443:443/udp", "--publish", "mode=host,target=81,published=8081")
	var command string
	lab.Eventually(t, aMinute, func() error {
		w, err := meshWarning(n)
		if err != nil {
			return err
		}
		var found bool
		if _, command, found = strings.Cut(w.Hint, "docker service update "); !found {
			return fmt.Errorf("there is no warning with a command, but %+v", w)
		}
		return nil
	})
	t.Logf("the mend is: docker service update %s", command)
	n.Docker(append([]string{"service", "update", "--detach"}, strings.Fields(command)...)...)
	ports := n.Docker("service", "inspect", "--format", "{{range .Spec.EndpointSpec.Ports}}{{.PublishMode}} {{.PublishedPort}}:{{.TargetPort}}/{{.Protocol}} {{end}}", "edges")
	for _, want := range []string{"host 8080:80/tcp", "host 8443:443/tcp", "host 8443:443/udp", "host 8081:81/tcp"} {
		if !strings.Contains(ports, want) || strings.Contains(ports, "ingress") {
			t.Errorf("the ports are %q, want %q among them and none over the mesh", ports, want)
		}
	}
	lab.Eventually(t, aMinute, func() error {
		w, err := meshWarning(n)
		if err == nil && w.Code != "" {
			err = errors.New("the warning stands: " + w.Message)
		}
		return err
	})
}

// meshWarning gives the control node's warning about the service; an empty one if it has none.
func meshWarning(n *lab.Node) (ruche.Warning, error) {
	out, failed := askControl(n, "routes", "--output", "json") // it fails always: who has routes is an edge
	var list ruche.RouteList
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		return ruche.Warning{}, errors.Join(failed, err)
	}
	for _, w := range list.Warnings {
		if w.Code == ruche.CodeIngressMesh && w.Subject == "service edges" {
			return w, nil
		}
	}
	return ruche.Warning{}, nil
}
