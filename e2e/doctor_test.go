//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/e2e/lab"
)

// Three managers with the stack: the doctor names what is weak and nothing that is sound, notices that a manager has gone, and that it is back.
func TestDoctorOfASwarm(t *testing.T) {
	t.Parallel()
	l := lab.New(t, 3, lab.Options{})
	l.JoinSwarm()
	first, third := l.Nodes[0], l.Nodes[2]
	for _, n := range l.Nodes {
		n.LoadRuche()
	}
	first.StackDeploy(first.StackInit())
	first.CreateService(lab.SiteImage, "shop", "--network", "public", "--env", "VIRTUAL_HOST=shop.test", "--env", "VIRTUAL_PORT=8080")
	first.CreateService(lab.SiteImage, "panel", "--publish", "mode=host,target=8080", "--mount", "type=bind,source=/var/run/docker.sock,target=/var/run/docker.sock")
	weak := []string{"single-points note ", "sockets warning panel"}
	sees := func(want []string) func() error {
		return func() error {
			if got, _ := doctorFinds(t, first); !slices.Equal(got, want) {
				return fmt.Errorf("the doctor finds %q, want %q:\n%s", got, want, doctorSays(first))
			}
			return nil
		}
	}
	lab.Eventually(t, 2*aMinute, sees(weak)) // the members of the state are let in one after the other

	third.KillEngine() // the containers there run on, and with them its control node
	lab.Eventually(t, aMinute, func() error {
		got, text := doctorFinds(t, first)
		for _, want := range append([]string{"nodes error n3", "ports error n3", "swarm-quorum error n3", "swarm-quorum warning "}, weak...) {
			if !slices.Contains(got, want) {
				return fmt.Errorf("the doctor finds %q, want %q too", got, want)
			}
		}
		if hint := "docker node demote n3"; !strings.Contains(text, hint) {
			return fmt.Errorf("no hint says %q:\n%s", hint, text)
		}
		return nil
	})
	t.Logf("with the Engine of %s killed:\n%s", third.Name, doctorSays(first))
	third.StartEngine()
	lab.Eventually(t, 2*aMinute, sees(weak))
	t.Log("with all Engines:\n" + doctorSays(first))
}

// doctorFinds gives what the doctor finds that is not ok, sorted, each as "check level subject", and all of its answer. The exit status has to say whether there is an error.
func doctorFinds(t *testing.T, n *lab.Node) (found []string, out string) {
	t.Helper()
	out, failed := n.TryDocker("exec", n.WaitTask("ruche_control"), "/ruche", "doctor", "--admin-addr", "127.0.0.1:8910", "--output", "json")
	return notOK(t, out, failed), out
}

// notOK reads what the doctor finds. While it does not answer there is nothing.
func notOK(t *testing.T, out string, failed error) []string {
	t.Helper()
	var c ruche.Checkup
	if json.Unmarshal([]byte(out), &c) != nil {
		return nil
	}
	if (failed != nil) != (c.Count(ruche.LevelError) > 0) {
		t.Fatalf("%d errors were found, and the command ended with %v", c.Count(ruche.LevelError), failed)
	}
	var found []string
	for _, f := range c.Findings {
		if f.Level != ruche.LevelOK {
			found = append(found, fmt.Sprintf("%s %s %s", f.Check, f.Level, f.Subject))
		}
	}
	slices.Sort(found)
	return found
}

// doctorSays gives what people read.
func doctorSays(n *lab.Node) string {
	out, _ := n.TryDocker("exec", n.WaitTask("ruche_control"), "/ruche", "doctor", "--admin-addr", "127.0.0.1:8910") // it fails where there is an error
	return out
}
