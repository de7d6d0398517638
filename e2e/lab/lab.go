package lab

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// Lab is a set of nodes on one bridge. Its methods fail the test; they belong on the test's goroutine.
type Lab struct {
	t      testing.TB
	run    string
	dir    string
	net    namespace
	ledger *ledger
	Nodes  []*Node
	images *images
}

// Options say what the nodes are like.
type Options struct {
	// LiveRestore keeps containers running while their Engine is down. Swarm does not go with it.
	LiveRestore bool
}

// New starts a lab of n nodes, each with an Engine that answers and has the site's images, and takes it away when the test
// ends. If the test fails, what is worth reading is first copied to Artifacts.
func New(t testing.TB, n int, options Options) *Lab {
	t.Helper()
	if err := Check(); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	l := &Lab{t: t, run: runName()}
	l.dir = filepath.Join(Root, l.run)
	err := os.MkdirAll(l.dir, 0o700)
	if errors.Is(err, os.ErrNotExist) { // another run has just removed Root
		err = os.MkdirAll(l.dir, 0o700)
	}
	l.must(err)
	l.ledger, err = openLedger(l.dir)
	l.must(err)
	t.Cleanup(l.close)
	l.images = &images{dir: filepath.Join(l.dir, "images")}
	l.must(l.makeBridge())
	for i := range n {
		l.Nodes = append(l.Nodes, l.newNode(i+1, options))
	}
	l.startNodes()
	t.Logf("lab %s: %d engine(s) up in %v", l.run, n, time.Since(begin).Round(time.Millisecond))
	return l
}

// startNodes starts all Engines at once and gives each the site's images.
func (l *Lab) startNodes() {
	l.t.Helper()
	failed := make([]error, len(l.Nodes))
	var wg sync.WaitGroup
	for i, n := range l.Nodes {
		wg.Go(func() {
			if failed[i] = n.boot(); failed[i] == nil {
				failed[i] = errors.Join(n.load(SiteImage), n.load(CheckedImage))
			}
		})
	}
	wg.Wait()
	for _, err := range failed {
		l.must(err)
	}
}

// runName is unique among the labs of this machine.
func runName() string {
	var b [4]byte
	_, _ = rand.Read(b[:]) // never fails, see crypto/rand.Read
	return "rl" + hex.EncodeToString(b[:])
}

// close keeps the artifacts of a failed test and removes the lab.
func (l *Lab) close() {
	if l.t.Failed() {
		l.keepArtifacts()
	}
	for _, n := range l.Nodes {
		n.stopAll()
	}
	if err := cleanRun(l.dir); err != nil {
		l.t.Errorf("cannot remove lab %s: %v", l.run, err)
	}
}

// must fails the test on an error.
func (l *Lab) must(err error) {
	l.t.Helper()
	if err != nil {
		l.t.Fatal(err)
	}
}

// Dir makes a directory of the lab that is removed with it.
func (l *Lab) Dir(name string) string {
	l.t.Helper()
	dir := filepath.Join(l.dir, name)
	l.must(os.MkdirAll(dir, 0o755))
	return dir
}

// File writes a file in a directory of the lab and returns its path.
func (l *Lab) File(dir, name, content string) string {
	l.t.Helper()
	path := filepath.Join(dir, name)
	l.must(os.WriteFile(path, []byte(content), 0o644))
	return path
}

// environ is the environment of what the lab starts: the caller's without Docker's and Ruche's variables.
func (l *Lab) environ(extra ...string) []string {
	var env []string
	for _, v := range os.Environ() {
		name, _, _ := strings.Cut(v, "=")
		if !strings.HasPrefix(name, "DOCKER_") && !strings.HasPrefix(name, "COMPOSE_") && !strings.HasPrefix(name, "RUCHE_") {
			env = append(env, v)
		}
	}
	return append(append(env, runMark+l.run), extra...)
}

// String names the lab in messages.
func (l *Lab) String() string { return fmt.Sprintf("lab %s (%d nodes)", l.run, len(l.Nodes)) }
