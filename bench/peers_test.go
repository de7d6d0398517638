package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestConfigurations(t *testing.T) {
	for _, p := range peers() {
		for _, secure := range []bool{false, true} {
			s := setup{
				Dir: t.TempDir(), HTTP: "127.0.0.1:1001", HTTPS: "127.0.0.1:1002", Admin: "127.0.0.1:1003", Endpoint: "127.0.0.1:1004",
				Hosts: hostNames(2001), TLS: secure, Cert: "/c/bench.pem", Key: "/c/bench.key", Log: "/c/access.log", Connections: 2048,
			}
			if err := p.configure(s); err != nil {
				t.Errorf("%s, TLS %v: %v", p.name, secure, err)
				continue
			}
			text := readAll(t, s.Dir)
			for _, want := range []string{s.Endpoint, "h0.bench.example", "h2000.bench.example", s.address()} {
				if !strings.Contains(text, want) {
					t.Errorf("%s, TLS %v: its files do not name %s", p.name, secure, want)
				}
			}
			if strings.Contains(text, "<no value>") {
				t.Errorf("%s, TLS %v: something is not filled in", p.name, secure)
			}
			if config, err := os.ReadFile(s.Dir + "/caddy.json"); err == nil && !json.Valid(config) {
				t.Errorf("%s, TLS %v: caddy.json is no JSON", p.name, secure)
			}
		}
	}
}

// readAll joins the files under a directory.
func readAll(t *testing.T, dir string) string {
	t.Helper()
	var text strings.Builder
	err := filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() {
			text.WriteString(readFile(t, path))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return text.String()
}

func TestAddedHost(t *testing.T) {
	path := t.TempDir() + "/hosts.map"
	s := setup{Hosts: []string{"a", "b"}, Added: "c"}
	if err := fill(s, "hosts.map", path); err != nil {
		t.Fatal(err)
	}
	if got := strings.Fields(readFile(t, path)); strings.Join(got, " ") != "a endpoint b endpoint c endpoint" {
		t.Errorf("the map is %v", got)
	}
}

func TestProcess(t *testing.T) {
	p, err := start("shell", t.TempDir()+"/log", []string{"/bin/sh", "-c", "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; sleep 60 & wait"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.stop)
	for deadline := time.Now().Add(20 * time.Second); len(p.tree()) < 2; {
		if time.Now().After(deadline) {
			t.Fatal("the child is not in the tree")
		}
	}
	if used := p.cpu(); used < time.Millisecond {
		t.Errorf("it has used %s of processor time", used)
	}
	if memory := p.memory(); memory < 10<<10 {
		t.Errorf("it has %d bytes of memory", memory)
	}
	if err := p.ended(); err != nil {
		t.Errorf("it counts as ended: %v", err)
	}
	tree := p.tree()
	p.stop()
	if err := p.ended(); err == nil {
		t.Error("it does not count as ended")
	}
	for _, pid := range tree {
		checkGone(t, pid)
	}
}

// checkGone waits for a killed process; one that nobody has reaped yet is gone as well.
func checkGone(t *testing.T, pid int) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
		stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
		if err != nil || strings.Contains(string(stat), ") Z ") {
			return
		}
	}
	t.Errorf("process %d is still there", pid)
}

func TestEndedTellsTheLastLines(t *testing.T) {
	p, err := start("shell", t.TempDir()+"/log", []string{"/bin/sh", "-c", "echo one; echo two >&2; exit 1"})
	if err != nil {
		t.Fatal(err)
	}
	<-p.done
	if err := p.ended(); err == nil || err.Error() != "shell has ended: one; two" {
		t.Errorf("%v", err)
	}
}
