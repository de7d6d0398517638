//go:build e2e

package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/e2e/lab"
)

// dockerUser is somebody with a certificate for the Docker API, who works on a node.
type dockerUser struct {
	node   *lab.Node
	dir    string
	serial string
}

// docker runs the docker command against the Engine at an address, with what is given to its standard input.
func (u dockerUser) docker(address, stdin string, args ...string) (string, error) {
	file := filepath.Join(u.dir, "stdin")
	if err := os.WriteFile(file, []byte(stdin), 0o600); err != nil {
		return "", err
	}
	return u.node.TryRun(lab.DockerTLS(address, u.dir), append([]string{"sh", "-c", `file=$1; shift; exec docker --tlsverify "$@" < "$file"`, "sh", file}, args...)...)
}

// issueDocker makes a user of the Docker API, as docs/ca.md tells.
func issueDocker(t *testing.T, l *lab.Lab, control *lab.Ruche, on *lab.Node, name, profile string) dockerUser {
	t.Helper()
	u := dockerUser{node: on, dir: l.Dir(name)}
	if _, err := control.Verb("ca", "issue", name, "--profile", profile, "--out", u.dir); err != nil {
		t.Fatal(err)
	}
	roots, err := control.Verb("ca", "export", "docker")
	if err != nil {
		t.Fatal(err)
	}
	l.File(u.dir, "ca.pem", roots+"\n")
	for from, to := range map[string]string{name + ".crt": "cert.pem", name + ".key": "key.pem"} {
		if err := os.Rename(filepath.Join(u.dir, from), filepath.Join(u.dir, to)); err != nil {
			t.Fatal(err)
		}
	}
	u.serial = issuedTo(t, control, name)[0].Serial
	return u
}

// issuedTo gives the certificates with a name, the newest first.
func issuedTo(t *testing.T, control *lab.Ruche, name string) []ruche.IssuedCertificate {
	t.Helper()
	out, err := control.Verb("ca", "list", name, "--output", "json")
	if err != nil {
		t.Fatal(err)
	}
	var list ruche.IssuedList
	if err := json.Unmarshal([]byte(out), &list); err != nil || len(list.Certificates) == 0 {
		t.Fatalf("nothing was issued to %s: %v", name, err)
	}
	return list.Certificates
}

// hostPrograms lets a container run what is installed on the machine.
func hostPrograms() []string {
	return []string{"--volume", "/usr:/usr:ro", "--volume", "/lib:/lib:ro", "--volume", "/lib64:/lib64:ro", "--network", "none", "--entrypoint"}
}

// The Engine's API over TLS, on a control node and on a node that only has an agent: by the role of a certificate, until it is revoked; the server's certificate changes meanwhile, the
// control node goes, and no Engine is ever restarted.
func TestDockerOverTLS(t *testing.T) {
	t.Parallel()
	l := lab.New(t, 2, lab.Options{})
	l.JoinSwarmOf(1)
	first, second := l.Nodes[0], l.Nodes[1]
	control := first.Role("control", "--bootstrap", "--docker-tls-addr", ":2376")
	control.Start()
	token, err := control.Verb("nodes", "token", "--role", "agent")
	if err != nil {
		t.Fatal(err)
	}
	agent := second.Role("agent", "--join-token-file", l.File(l.Dir("secrets"), "agent", token), "--docker-tls-addr", ":2376", "--drain-timeout", "1m")
	agent.Start()
	engines := first.EngineProcess() + second.EngineProcess()
	ann := issueDocker(t, l, control, first, "ann", "docker-read")
	bob := issueDocker(t, l, control, first, "bob", "docker-full")
	at := second.Address + ":2376"
	for _, address := range []string{first.Address + ":2376", at} {
		lab.Eventually(t, aMinute, func() error {
			out, err := ann.docker(address, "", "version", "--format", "{{.Server.Version}}")
			if err == nil && out == "" {
				err = errors.New("no version")
			}
			return err
		})
	}

	box := append([]string{"run", "--detach", "--name", "box"}, append(hostPrograms(), "/usr/bin/sleep", lab.SiteImage, "infinity")...)
	if out, err := bob.docker(at, "", box...); err != nil {
		t.Fatalf("docker run: %s %v", out, err)
	}
	if out, err := ann.docker(at, "", "ps", "--format", "{{.Names}}"); err != nil || out != "box" {
		t.Errorf("docker ps: %q, %v", out, err)
	}
	text := strings.Repeat("what goes in comes out again\n", 50_000)
	cat := append([]string{"run", "--rm", "--interactive"}, append(hostPrograms(), "/usr/bin/cat", lab.SiteImage)...)
	for name, args := range map[string][]string{"run": cat, "exec": {"exec", "--interactive", "box", "/usr/bin/cat"}} {
		if out, err := bob.docker(at, text, args...); err != nil || out != strings.TrimRight(text, "\n") {
			t.Errorf("docker %s gives %d bytes of %d: %v", name, len(out), len(text), err)
		}
		if out, err := ann.docker(at, text, args...); err == nil || !strings.Contains(err.Error(), "good for looking alone") {
			t.Errorf("docker %s of who only looks: %q, %v", name, out, err)
		}
	}

	// The server's certificate changes under a stream.
	events := first.Background("events", lab.DockerTLS(at, ann.dir), "docker", "--tlsverify", "events", "--format", "{{.Action}} {{.Actor.Attributes.name}}")
	shows := func(what string) {
		t.Helper()
		lab.Eventually(t, aMinute, func() error {
			if !strings.Contains(events.Output(), what) {
				return fmt.Errorf("the events are %q, want %q", events.Output(), what)
			}
			return nil
		})
	}
	tick := func(name string) {
		t.Helper()
		if out, err := bob.docker(at, "", append([]string{"run", "--rm", "--name", name}, append(hostPrograms(), "/usr/bin/true", lab.SiteImage)...)...); err != nil {
			t.Fatalf("docker run: %s %v", out, err)
		}
	}
	lab.Eventually(t, aMinute, func() error { // it listens a moment after it was started
		tick("before")
		if !strings.Contains(events.Output(), "start before") {
			return errors.New("no event yet")
		}
		return nil
	})
	old := servedSerial(t, bob, at)
	if out, err := control.Verb("ca", "revoke", old); err != nil {
		t.Fatalf("%s %v", out, err)
	}
	lab.Eventually(t, aMinute, func() error {
		if now := servedSerial(t, bob, at); now == old || now == "" {
			return fmt.Errorf("the front serves %q", now)
		}
		return nil
	})
	tick("after")
	shows("start after")
	if err := events.Running(); err != nil {
		t.Error(err)
	}

	// Somebody is revoked while a shell of theirs runs.
	shell := first.Background("shell", lab.DockerTLS(at, bob.dir), "docker", "--tlsverify", "exec", "box", "/usr/bin/sleep", "infinity")
	lab.Eventually(t, aMinute, func() error {
		if !strings.Contains(agent.Log(), "/exec/") {
			return errors.New("no exec yet")
		}
		out, err := bob.docker(at, "", "inspect", "--format", "{{len .ExecIDs}}", "box")
		if err == nil && out != "1" {
			err = fmt.Errorf("box has %s shells", out)
		}
		return err
	})
	if out, err := control.Verb("ca", "revoke", bob.serial); err != nil {
		t.Fatalf("%s %v", out, err)
	}
	revoked := time.Now()
	lab.Eventually(t, aMinute, func() error {
		if shell.Running() == nil {
			return errors.New("the shell runs")
		}
		return nil
	})
	t.Logf("the shell was ended %v after its client was revoked", time.Since(revoked).Round(time.Millisecond))
	if out, err := bob.docker(at, "", "ps"); err == nil {
		t.Errorf("docker ps of who is revoked: %s", out)
	}

	// It goes on without control nodes.
	control.Kill()
	if out, err := ann.docker(at, "", "ps", "--format", "{{.Names}}"); err != nil || out != "box" {
		t.Errorf("docker ps without a control node: %q, %v", out, err)
	}
	if out, err := bob.docker(at, "", "ps"); err == nil {
		t.Errorf("docker ps of who is revoked, without a control node: %s", out)
	}
	if err := events.Running(); err != nil {
		t.Error(err)
	}
	if now := first.EngineProcess() + second.EngineProcess(); now != engines {
		t.Errorf("an Engine was restarted: %s, and before %s", now, engines)
	}
	for _, want := range []string{
		"client=ann serial=" + ann.serial + " role=docker-read from=" + first.Address + " method=POST path=/v1.",
		"client=bob serial=" + bob.serial + " role=docker-full from=" + first.Address + " method=POST path=/v1.",
		"/start status=101", "/containers/create status=403", "/containers/create status=201", "ended a stream of the Docker API", "refused a client of the Docker API",
	} {
		if !strings.Contains(agent.Log(), want) {
			t.Errorf("the agent's log has no %q", want)
		}
	}
}

// servedSerial is the serial of the certificate that is served at an address.
func servedSerial(t *testing.T, u dockerUser, address string) string {
	t.Helper()
	out, err := u.node.TryRun(nil, "sh", "-c", `openssl s_client -connect "$1" -cert "$2/cert.pem" -key "$2/key.pem" </dev/null 2>/dev/null | openssl x509 -noout -serial`, "sh", address, u.dir)
	if err != nil {
		t.Fatal(err)
	}
	return strings.ToLower(strings.TrimPrefix(out, "serial="))
}
