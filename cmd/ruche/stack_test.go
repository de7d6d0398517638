package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ruche-project/ruche/internal/docker/fakeengine"
)

// run runs a command line.
func run(t *testing.T, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	root := newRoot()
	root.SetArgs(args)
	var out, errs bytes.Buffer
	root.SetOut(&out)
	root.SetErr(&errs)
	err = root.ExecuteContext(t.Context())
	return out.String(), errs.String(), err
}

func stackManager(t *testing.T) *fakeengine.Engine {
	t.Helper()
	engine := fakeengine.New(t)
	engine.SetManager(true)
	engine.AddNode("n1", "10.9.0.1")
	return engine
}

func TestStackInitPrintsTheFileAlone(t *testing.T) {
	engine := stackManager(t)
	out, errs, err := run(t, "stack", "init", "--docker-host", engine.Host(), "--image", "ruche:1", "--data-dir", t.TempDir())
	if err != nil || !strings.HasPrefix(out, "# Ruche on a Swarm") || !strings.Contains(out, `image: "ruche:1"`) || !strings.Contains(errs, "secret ruche-seal is made\n") {
		t.Errorf("printed %q and %q, %v", out, errs, err)
	}
}

func TestStackInitTakesAnEmailAddress(t *testing.T) {
	out, _, err := run(t, "stack", "init", "--docker-host", stackManager(t).Host(), "--data-dir", t.TempDir(), "--acme-email", "ops@shop.example")
	if err != nil || !strings.Contains(out, `RUCHE_ACME_EMAIL: "ops@shop.example"`) {
		t.Errorf("printed %q, %v", out, err)
	}
}

func TestStackDeployGivesTheFileToDocker(t *testing.T) {
	engine := stackManager(t)
	dir := t.TempDir()
	t.Setenv("PATH", dir)
	_, _, err := run(t, "stack", "deploy", "--docker-host", engine.Host(), "--data-dir", dir)
	var printed bytes.Buffer
	printError(&printed, newRoot(), err)
	if !strings.Contains(printed.String(), "there is no docker command here\nhint: ruche stack init > stack.yml") {
		t.Errorf("without docker: %s", printed.String())
	}
	if _, _, ok := engine.Config("ruche-state"); ok {
		t.Error("it made a config although it cannot deploy")
	}
	script := "#!/bin/sh\necho \"$@\" on $DOCKER_HOST\nwhile read -r line; do echo \"$line\"; done\n"
	if err := os.WriteFile(filepath.Join(dir, "docker"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	out, _, err := run(t, "stack", "deploy", "--docker-host", engine.Host(), "--data-dir", dir)
	if err != nil || !strings.HasPrefix(out, "stack deploy --with-registry-auth --compose-file - ruche on "+engine.Host()+"\n# Ruche on a Swarm") {
		t.Errorf("docker got %.200q, %v", out, err)
	}
}
