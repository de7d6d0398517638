package stack_test

import (
	"context"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ruche-project/ruche/internal/docker"
	"github.com/ruche-project/ruche/internal/docker/fakeengine"
	"github.com/ruche-project/ruche/internal/stack"
)

var update = flag.Bool("update", false, "write golden files anew")

const newImage = "ruche:2@sha256:0002"

// rig is a Swarm of two nodes with the stack, whose updates the test makes.
type rig struct {
	t        *testing.T
	engine   *fakeengine.Engine
	client   *docker.Client
	nodes    []string          // IDs
	services map[string]string // IDs by name
	tasks    map[string]string // IDs of the tasks that run, by service and node
	said     []string
	// on does what the Swarm does when a line is said; the line is the key.
	on map[string]func()
}

func newRig(t *testing.T) *rig {
	t.Helper()
	engine, c := swarm(t)
	r := &rig{t: t, engine: engine, client: c, services: map[string]string{}, tasks: map[string]string{}, on: map[string]func(){}}
	engine.SetDigest("ruche:2", "sha256:0002")
	r.nodes = []string{engine.AddManager("n2", "10.9.0.2"), engine.AddManager("n3", "10.9.0.3")}
	for _, name := range []string{"ruche_control", "ruche_agent", "ruche_edge"} {
		r.services[name] = engine.CreateService(fakeengine.Service{Name: name, Image: "ruche:1@sha256:0001"})
		for _, n := range r.nodes {
			r.tasks[name+n] = engine.AddTask(r.services[name], n, "running", "running")
		}
	}
	return r
}

// replace ends a service's task on a node, and makes another.
func (r *rig) replace(service, node, state string) {
	r.engine.SetTask(r.tasks[service+node], "shutdown", "shutdown")
	r.tasks[service+node] = r.engine.AddTask(r.services[service], node, "running", state)
}

// rolls lets the Swarm update a service as it should.
func (r *rig) rolls(service string) {
	first, second := r.nodes[0], r.nodes[1]
	id := r.services[service]
	r.on[service+" gets ruche:2 (it had ruche:1)"] = func() {
		r.engine.SetUpdate(id, docker.UpdateRunning, "update in progress")
		r.replace(service, first, "preparing")
	}
	r.on[service+": n2 is preparing"] = func() { r.engine.SetTask(r.tasks[service+first], "", "starting") }
	r.on[service+": n2 is starting"] = func() { r.engine.SetTask(r.tasks[service+first], "", "running") }
	r.on[service+": n2 runs it (1 of 2)"] = func() { r.replace(service, second, "running") }
	r.on[service+": n3 runs it (2 of 2)"] = func() { r.engine.SetUpdate(id, docker.UpdateCompleted, "update completed") }
}

func (r *rig) upgrade(ctx context.Context) error {
	return stack.UpgradeQuickly(ctx, r.client, "ruche", "ruche:2", func(line string) {
		r.said = append(r.said, line)
		if do := r.on[line]; do != nil {
			do()
		}
	})
}

func (r *rig) golden(name string, err error) {
	r.t.Helper()
	golden(r.t, name, r.said, err)
}

// golden holds what was said, and the error if there is one, against the file of that name.
func golden(t *testing.T, name string, said []string, err error) {
	t.Helper()
	got := strings.Join(said, "\n") + "\n"
	if err != nil {
		got += "error: " + err.Error() + "\nhint: " + hintOf(err) + "\n"
	}
	path := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestUpgradeGoesFromNodeToNodeAndFromServiceToService(t *testing.T) {
	r := newRig(t)
	r.rolls("ruche_control")
	r.rolls("ruche_agent")
	r.rolls("ruche_edge")
	err := r.upgrade(t.Context())
	r.golden("upgrade", err)
	for name, id := range r.services {
		if list, err := r.client.ServicesOf(t.Context(), []string{id}); err != nil || len(list) != 1 || list[0].PinnedImage != newImage {
			t.Errorf("%s is %+v, %v", name, list, err)
		}
	}
	r.said = nil
	r.golden("upgrade-again", r.upgrade(t.Context()))
}

func TestUpgradeThatTheSwarmStopsSaysWhereItStands(t *testing.T) {
	r := newRig(t)
	r.rolls("ruche_control")
	r.rolls("ruche_agent")
	edge := r.services["ruche_edge"]
	r.on["ruche_edge gets ruche:2 (it had ruche:1)"] = func() {
		r.engine.SetUpdate(edge, docker.UpdateRunning, "update in progress")
		r.replace("ruche_edge", r.nodes[0], "starting")
	}
	r.on["ruche_edge: n2 is starting"] = func() {
		r.engine.SetTask(r.tasks["ruche_edge"+r.nodes[0]], "shutdown", "failed")
		r.engine.SetUpdate(edge, docker.UpdatePaused, "update paused due to failure or early termination of task x")
	}
	r.golden("paused", r.upgrade(t.Context()))
	// The next time it goes on where it stood.
	r.said = nil
	r.rolls("ruche_edge")
	r.on["ruche_edge gets ruche:2 (it had ruche:2)"] = r.on["ruche_edge gets ruche:2 (it had ruche:1)"]
	r.golden("resumed", r.upgrade(t.Context()))
}

func TestUpgradePassesPausedNodesBy(t *testing.T) {
	r := newRig(t)
	r.engine.SetAvailability(r.nodes[1], "pause")
	for _, name := range []string{"ruche_control", "ruche_agent", "ruche_edge"} {
		r.rolls(name)
		r.on[name+": n2 runs it (1 of 1)"] = func() { r.engine.SetUpdate(r.services[name], docker.UpdateCompleted, "update completed") }
	}
	r.golden("node-paused", r.upgrade(t.Context()))
}

func TestUpgradeGoesOnWhenTheSwarmDoesNotAnswer(t *testing.T) {
	r := newRig(t)
	for _, name := range []string{"ruche_control", "ruche_agent", "ruche_edge"} {
		r.rolls(name)
	}
	begin := r.on["ruche_agent gets ruche:2 (it had ruche:1)"]
	r.on["ruche_agent gets ruche:2 (it had ruche:1)"] = func() {
		begin()
		r.engine.FailSwarm("/tasks", 2)
	}
	if err := r.upgrade(t.Context()); err != nil || !strings.Contains(strings.Join(r.said, "\n"), "ruche_agent: the Swarm does not answer, trying on") {
		t.Errorf("it said\n%s\n%v", strings.Join(r.said, "\n"), err)
	}
}

func TestUpgradeThatIsLeftGoesOnInTheSwarm(t *testing.T) {
	r := newRig(t)
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	r.on["ruche_control gets ruche:2 (it had ruche:1)"] = leave
	r.golden("left", r.upgrade(ctx))
}

func TestUpgradeRefusesWhatItShouldNotBegin(t *testing.T) {
	for name, tc := range map[string]struct {
		prepare    func(*rig)
		want, hint string
	}{
		"a manager away": {func(r *rig) { r.engine.SetUnreachable(r.nodes[1]) }, "manager n3 of the Swarm is not reachable", "docker node demote n3"},
		"a manager down": {func(r *rig) { r.engine.SetNode(r.nodes[0], "down") }, "manager n2 of the Swarm is not reachable", "docker node demote n2"},
		"no edge":        {func(r *rig) { r.engine.RemoveService(r.services["ruche_edge"]) }, "no service ruche_edge", "--stack"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			tc.prepare(r)
			err := r.upgrade(t.Context())
			if err == nil || !strings.Contains(err.Error(), tc.want) || !strings.Contains(hintOf(err), tc.hint) {
				t.Errorf("error %v, hint %q; want %q, %q", err, hintOf(err), tc.want, tc.hint)
			}
			if r.engine.Given(r.services["ruche_control"]) != nil {
				t.Error("it changed a service")
			}
		})
	}
}

func TestUpgradeWithoutARegistryUsesTheNameAlone(t *testing.T) {
	r := newRig(t)
	var said []string
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	_ = stack.UpgradeQuickly(ctx, r.client, "ruche", "local/ruche:3", func(line string) {
		if said = append(said, line); len(said) == 2 {
			leave()
		}
	})
	if !strings.HasPrefix(said[0], "warning: cannot learn the digest of image local/ruche:3") || said[1] != "ruche_control gets local/ruche:3 (it had ruche:1)" {
		t.Errorf("it said %q", said)
	}
}
