package stack_test

import (
	"encoding/json"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/ruche-project/ruche/internal/docker"
	"github.com/ruche-project/ruche/internal/docker/fakeengine"
	"github.com/ruche-project/ruche/internal/mesh"
	"github.com/ruche-project/ruche/internal/stack"
)

// TestTheFileInDeployIsTheOneInTheBinary holds the file that people read against the one that "ruche stack init" prints.
func TestTheFileInDeployIsTheOneInTheBinary(t *testing.T) {
	read, err := os.ReadFile("../../deploy/stack.yml")
	if err != nil {
		t.Fatal(err)
	}
	if string(read) != stack.StackFile() {
		t.Error("deploy/stack.yml and internal/stack/stack.yml differ: change one and copy it to the other")
	}
}

// TestEachServiceHasTheTokenOfItsRoleAlone guards that who breaks into an edge finds nothing by which a node becomes more than an edge.
func TestEachServiceHasTheTokenOfItsRoleAlone(t *testing.T) {
	want := map[string]string{"control": "ruche-seal, ruche-join-control", "edge": "ruche-join-edge", "agent": "ruche-join-agent"}
	heading := regexp.MustCompile(`^  ([a-z]+):$`)
	secrets := regexp.MustCompile(`^    secrets: \[(.*)\]`)
	service, got := "", make(map[string]string)
	for line := range strings.Lines(stack.StackFile()) {
		line = strings.TrimSuffix(line, "\n")
		if m := heading.FindStringSubmatch(line); m != nil {
			service = m[1]
		}
		if m := secrets.FindStringSubmatch(line); m != nil {
			got[service] += m[1]
		}
		if file, ok := strings.CutPrefix(line, "      RUCHE_JOIN_TOKEN_FILE: "); ok && file != "/run/secrets/ruche-join-"+service {
			t.Errorf("%s reads its token from %s", service, file)
		}
	}
	if !maps.Equal(got, want) {
		t.Errorf("secrets are %q, want %q", got, want)
	}
}

// swarm is a fake Engine that is the only manager of a Swarm, in which nothing was made yet.
func swarm(t *testing.T) (*fakeengine.Engine, *docker.Client) {
	t.Helper()
	engine := fakeengine.New(t)
	engine.SetManager(true)
	engine.AddNode("n1", "10.9.0.1")
	c, err := docker.Open(engine.Host())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return engine, c
}

// begin runs Init, and gives the file and what it said.
func begin(t *testing.T, c *docker.Client, o stack.Options) (file string, said []string, err error) {
	t.Helper()
	file, err = stack.Init(t.Context(), c, o, func(line string) { said = append(said, line) })
	return file, said, err
}

func hintOf(err error) string {
	var h interface{ Hint() string }
	if errors.As(err, &h) {
		return h.Hint()
	}
	return ""
}

func TestInitMakesWhatAnInstallationBeginsWith(t *testing.T) {
	engine, c := swarm(t)
	file, said, err := begin(t, c, stack.Options{Image: "registry.example/ruche:1", DataDir: "testdata/nothing"})
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "begun", said, nil)
	want := strings.NewReplacer("${RUCHE_IMAGE:-ruche}", "registry.example/ruche:1", "${RUCHE_CONTROL:?name the addresses of the managers, with commas between}", "10.9.0.1",
		"${DOCKER_SOCKET:-/var/run/docker.sock}", "/var/run/docker.sock", "${RUCHE_NETWORK:-public}", "public", "${RUCHE_ACME_EMAIL:-}", "").Replace(stack.StackFile())
	if file != want || strings.Contains(file, "$") {
		t.Errorf("the file is\n%s", file)
	}
	data, labels, ok := engine.Config(mesh.SeedConfig)
	var seed mesh.Seed
	if err := json.Unmarshal(data, &seed); err != nil || !ok || labels[mesh.SeedFounder] != "" || len(seed.Tokens) != 3 {
		t.Errorf("config %s holds %+v with labels %v (%v)", mesh.SeedConfig, seed, labels, err)
	}
	if _, err := seed.Root(); err != nil {
		t.Error(err)
	}
	key, _ := engine.Secret("ruche-seal")
	sealFile := filepath.Join(t.TempDir(), "seal")
	if err := os.WriteFile(sealFile, key, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := mesh.ReadSeal(sealFile); err != nil {
		t.Error(err)
	}
	for _, name := range []string{"ruche-join-edge", "ruche-join-agent", "ruche-join-control"} {
		if token, _ := engine.Secret(name); !strings.HasPrefix(string(token), "RUCHE-1-") {
			t.Errorf("secret %s holds %q", name, token)
		}
	}
	again, said, err := begin(t, c, stack.Options{Image: "registry.example/ruche:1", DataDir: "testdata/nothing"})
	golden(t, "begun-again", said, err)
	if again != file {
		t.Errorf("again the file is\n%s", again)
	}
	founded(t, c)
	_, said, err = begin(t, c, stack.Options{DataDir: "testdata/nothing"})
	golden(t, "begun-and-running", said, err)
	if same, _, _ := engine.Config(mesh.SeedConfig); string(same) != string(data) {
		t.Error("the second init changed what the first one made")
	}
}

func TestInitOfManyManagers(t *testing.T) {
	engine, c := swarm(t)
	engine.AddManager("n2", "10.9.0.2")
	engine.AddNode("w1", "10.9.0.9")
	file, said, err := begin(t, c, stack.Options{})
	if err != nil || !strings.Contains(file, `RUCHE_CONTROL: "10.9.0.1,10.9.0.2"`) || !strings.Contains(file, `image: "ruche"`) {
		t.Errorf("file %s, %v", file, err)
	}
	if !strings.HasPrefix(said[0], "warning: the Swarm has 2 managers, which lose their majority with 1 of them: have 1 or 3") {
		t.Errorf("it said %q", said)
	}
	file, _, err = begin(t, c, stack.Options{Network: "web", Control: []string{"[fd00::1]:8901", "m2.example"}})
	for _, want := range []string{`RUCHE_CONTROL: "[fd00::1]:8901,m2.example"`, `name: "web"`} {
		if !strings.Contains(file, want) {
			t.Errorf("the file has no %s (%v):\n%s", want, err, file)
		}
	}
}

// TestInitLeavesWhatRuns has an installation whose defaults are not those of the flags.
func TestInitLeavesWhatRuns(t *testing.T) {
	for name, tc := range map[string]struct {
		running []fakeengine.Service
		o       stack.Options
		control string
		image   string
		network string
		warning string
	}{
		"nothing runs": {nil, stack.Options{}, "10.9.0.1", "ruche", "public", ""},
		"all of it": {[]fakeengine.Service{
			{Name: "ruche_agent", Image: "ruche:6"},
			{Name: "ruche_control", Image: "ruche:7@sha256:0007"},
			{Name: "ruche_edge", Image: "ruche:6", Networks: []string{"web"}, Env: []string{"RUCHE_CONTROL=m2.example, 10.9.0.1,10.9.0.7:8999"}},
			{Name: "ruche_edge2", Image: "ruche:9", Networks: []string{"other"}},
		}, stack.Options{}, "10.9.0.1,10.9.0.7:8999,m2.example", "ruche:7", "web", ""},
		"control nodes are taken away": {[]fakeengine.Service{{Name: "ruche_edge", Image: "ruche:6"}}, stack.Options{}, "10.9.0.1", "ruche:6", "public", ""},
		"an agent is left":             {[]fakeengine.Service{{Name: "ruche_agent", Image: "ruche:5"}}, stack.Options{}, "10.9.0.1", "ruche:5", "public", ""},
		"flags": {[]fakeengine.Service{{Name: "ruche_edge", Image: "ruche:6", Networks: []string{"web"}, Env: []string{"RUCHE_CONTROL=m2.example"}}},
			stack.Options{Image: "ruche:8", Network: "other", Control: []string{"m3.example"}}, "m3.example", "ruche:8", "other", ""},
		"several networks": {[]fakeengine.Service{{Name: "ruche_edge", Image: "ruche:6", Networks: []string{"web", "other"}}},
			stack.Options{}, "10.9.0.1", "ruche:6", "other", "warning: service ruche_edge is in the networks other, web, and the stack file has other alone"},
	} {
		t.Run(name, func(t *testing.T) {
			engine, c := swarm(t)
			for _, network := range []string{"web", "other"} {
				engine.AddNetwork(fakeengine.Network{Name: network, Driver: "overlay"})
			}
			for _, s := range tc.running {
				engine.CreateService(s)
			}
			file, said, err := begin(t, c, tc.o)
			if err != nil {
				t.Fatal(err)
			}
			for _, want := range []string{`RUCHE_CONTROL: "` + tc.control + `"`, `image: "` + tc.image + `"`, `name: "` + tc.network + `"`} {
				if !strings.Contains(file, want) {
					t.Errorf("the file has no %s:\n%s", want, file)
				}
			}
			if got := strings.HasPrefix(said[0], "warning: service"); got != (tc.warning != "") || !strings.HasPrefix(said[0], tc.warning) {
				t.Errorf("it said %q, want %q", said, tc.warning)
			}
		})
	}
}

func TestInitTellsControlNodesTheEmailAddress(t *testing.T) {
	running := fakeengine.Service{Name: "ruche_control", Image: "ruche:7", Env: []string{"RUCHE_ACME_EMAIL=ops@shop.example"}}
	for name, tc := range map[string]struct {
		running []fakeengine.Service
		email   string
		want    string
	}{
		"none":              {nil, "", ""},
		"a flag":            {nil, "ops+ca@shop.example", "ops+ca@shop.example"},
		"what runs":         {[]fakeengine.Service{running}, "", "ops@shop.example"},
		"a flag, and other": {[]fakeengine.Service{running}, "admin@shop.example", "admin@shop.example"},
	} {
		t.Run(name, func(t *testing.T) {
			engine, c := swarm(t)
			for _, s := range tc.running {
				engine.CreateService(s)
			}
			file, _, err := begin(t, c, stack.Options{ACMEEmail: tc.email})
			if line := `      RUCHE_ACME_EMAIL: "` + tc.want + `" #`; err != nil || strings.Count(file, line) != 1 {
				t.Errorf("the file has no %s, %v:\n%s", line, err, file)
			}
		})
	}
}

func TestInitGoesOnWhereAnotherWasCutOff(t *testing.T) {
	engine, c := swarm(t)
	if err := c.CreateSecret(t.Context(), "ruche-seal", []byte("old")); err != nil {
		t.Fatal(err)
	}
	if _, _, err := begin(t, c, stack.Options{}); err != nil {
		t.Fatal(err)
	}
	if key, _ := engine.Secret("ruche-seal"); string(key) == "old" {
		t.Error("the secret of the init that was cut off is still there")
	}
	if _, _, ok := engine.Config(mesh.SeedConfig); !ok {
		t.Error("there is no config")
	}
}

func TestInitTakesTheSealingKeyThatItIsGiven(t *testing.T) {
	engine, c := swarm(t)
	file := filepath.Join(t.TempDir(), "seal")
	if _, _, err := begin(t, c, stack.Options{SealKeyFile: file}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("with a file that is not there: %v", err)
	}
	text, _, err := mesh.NewSeal()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, said, err := begin(t, c, stack.Options{SealKeyFile: file}); err != nil || strings.Contains(strings.Join(said, "\n"), "sealing key") {
		t.Errorf("it said %q, %v", said, err)
	}
	if key, _ := engine.Secret("ruche-seal"); string(key) != text {
		t.Error("the secret holds another key")
	}
}

func TestInitThatCannotGoOnSaysWhatToDo(t *testing.T) {
	for name, tc := range map[string]struct {
		prepare func(*fakeengine.Engine)
		o       stack.Options
		want    string
		hint    string
	}{
		"no Swarm":              {func(e *fakeengine.Engine) { e.SetManager(false) }, stack.Options{}, "in no Swarm", "docker swarm init"},
		"a network of one host": {func(*fakeengine.Engine) {}, stack.Options{Network: "bridge"}, "its driver is bridge", "--network"},
		"a name with a space":   {func(*fakeengine.Engine) {}, stack.Options{Image: "a b"}, `"a b" has characters`, ""},
		"a variable":            {func(*fakeengine.Engine) {}, stack.Options{Image: "a:$TAG"}, `"a:$TAG" has characters`, ""},
		"a secret in use": {func(e *fakeengine.Engine) {
			e.RemoveConfig(mesh.SeedConfig)
			e.UseSecret("ruche-join-edge")
		}, stack.Options{}, "secret ruche-join-edge must be made anew, but", "docker stack rm"},
		"no seal":     {func(e *fakeengine.Engine) { e.RemoveSecret("ruche-seal") }, stack.Options{}, "secret ruche-seal is not", "docker secret create ruche-seal FILE"},
		"no token":    {func(e *fakeengine.Engine) { e.RemoveSecret("ruche-join-agent") }, stack.Options{}, "secret ruche-join-agent is not", "ruche nodes token --role agent | docker secret create ruche-join-agent -"},
		"no address":  {func(e *fakeengine.Engine) { e.SetAddress("n1", "127.0.0.1") }, stack.Options{}, "no manager has an address", "--advertise-addr"},
		"a bad value": {func(*fakeengine.Engine) {}, stack.Options{Control: []string{"10.0.0.1", `"`}}, "RUCHE_CONTROL", ""},
	} {
		t.Run(name, func(t *testing.T) {
			engine, c := swarm(t)
			if _, _, err := begin(t, c, stack.Options{}); err != nil {
				t.Fatal(err)
			}
			tc.prepare(engine)
			_, _, err := begin(t, c, tc.o)
			if err == nil || !strings.Contains(err.Error(), tc.want) || !strings.Contains(hintOf(err), tc.hint) {
				t.Errorf("error %v, hint %q; want %q, %q", err, hintOf(err), tc.want, tc.hint)
			}
		})
	}
}

// hostState is a data directory of a host that has run "ruche up".
func hostState(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	log := filepath.Join(dir, "cluster", "member", "wal", "0.wal")
	if err := errors.Join(os.MkdirAll(filepath.Dir(log), 0o700), os.WriteFile(log, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestInitGoesOnWithTheStateOfTheHost(t *testing.T) {
	engine, c := swarm(t)
	dir := hostState(t)
	engine.AddVolume("ruche-control", "")
	if _, _, err := begin(t, c, stack.Options{DataDir: dir}); err == nil || !strings.Contains(hintOf(err), "docker volume rm ruche-control") {
		t.Errorf("over a volume that is there: %v, hint %q", err, hintOf(err))
	}
	engine.RemoveVolume("ruche-control")
	_, said, err := begin(t, c, stack.Options{DataDir: dir})
	if err != nil || !strings.Contains(strings.Join(said, "\n"), "goes on with the state in "+dir) {
		t.Errorf("it said %q, %v", said, err)
	}
	_, labels, _ := engine.Config(mesh.SeedConfig)
	if device, _ := engine.VolumeDevice("ruche-control"); device != dir || labels[mesh.SeedFounder] != engine.NodeID() {
		t.Errorf("the volume is bound to %q, labels %v", device, labels)
	}
	if _, said, err := begin(t, c, stack.Options{DataDir: dir}); err != nil || strings.Contains(strings.Join(said, "\n"), "stop the Ruche") {
		t.Errorf("again it said %q, %v", said, err)
	}
}

// founded labels the config as a control node of another node does that has begun the state.
func founded(t *testing.T, c *docker.Client) {
	t.Helper()
	cfg, err := c.SwarmConfig(t.Context(), mesh.SeedConfig)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.LabelSwarmConfig(t.Context(), cfg, map[string]string{mesh.SeedFounder: "another"}); err != nil {
		t.Fatal(err)
	}
}

func TestInitLeavesTheFounderThatThereIs(t *testing.T) {
	engine, c := swarm(t)
	if _, _, err := begin(t, c, stack.Options{}); err != nil {
		t.Fatal(err)
	}
	founded(t, c)
	_, said, err := begin(t, c, stack.Options{DataDir: hostState(t)})
	if err != nil || !strings.HasPrefix(said[len(said)-1], "warning: another node has founded the state") {
		t.Errorf("it said %q, %v", said, err)
	}
	if _, ok := engine.VolumeDevice("ruche-control"); ok {
		t.Error("it made a volume")
	}
}
