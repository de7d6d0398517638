package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// drillEnv makes the test binary the ruche command.
const drillEnv = "RUCHE_TEST_IS_COMMAND"

func TestMain(m *testing.M) {
	if os.Getenv(drillEnv) != "" {
		_ = os.Unsetenv(drillEnv) // which is no setting
		main()
		return
	}
	os.Exit(m.Run())
}

// systemctl stands for the service manager: it starts ruche and waits until it serves, or stops it.
const systemctl = `#!/bin/sh
set -eu
case $1 in
start)
    ruche up --no-docker --http-addr 127.0.0.1:0 --https-addr off --certs-dir "$DRILL/certs" --routes-dir "$DRILL/routes" --access-log off >>"$DRILL/log" 2>&1 &
    echo $! >"$DRILL/pid"
    until ruche routes >/dev/null 2>&1; do
        test -e "/proc/$(cat "$DRILL/pid")/exe"
        sleep 0.1
    done ;;
stop)
    kill "$(cat "$DRILL/pid")"
    # What has ended stays in the process table, without a program, until somebody asks for its status.
    while test -e "/proc/$(cat "$DRILL/pid")/exe"; do sleep 0.1; done ;;
esac
`

// The commands of docs/state.md are run as they stand there, with other directories.
func TestTheDrillsOfTheManual(t *testing.T) {
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{
		"bin/ruche":         "#!/bin/sh\n" + drillEnv + "=1 exec " + self + ` "$@"` + "\n",
		"bin/systemctl":     systemctl,
		"routes/site.yaml":  "routes:\n  - host: site.example\n    endpoints: [\"http://127.0.0.1:1\"]\n",
		"var/backups/.keep": "", "certs/.keep": "",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	pid := os.Getpid()
	run := func(script string) string {
		t.Helper()
		cmd := exec.Command("sh", "-eu", "-c", strings.ReplaceAll(script, "/var/", dir+"/var/"))
		cmd.Env = append(os.Environ(), "PATH="+dir+"/bin:"+os.Getenv("PATH"), "DRILL="+dir, "RUCHE_DATA_DIR="+dir+"/var/lib/ruche",
			fmt.Sprintf("RUCHE_ADMIN_ADDR=127.%d.%d.9:8900", 1+pid/250%250, 1+pid%250))
		out, err := cmd.CombinedOutput()
		if err != nil {
			log, _ := os.ReadFile(filepath.Join(dir, "log"))
			t.Fatalf("%s\n%v: %s\nlog:\n%s", script, err, out, log)
		}
		return string(out)
	}
	t.Cleanup(func() { run("systemctl stop ruche") })

	drills := drillsOf(t)
	run("systemctl start ruche")
	if out := run(drills["backup"]); !strings.Contains(out, "ruche.state holds the state of") {
		t.Errorf("backup: %s", out)
	}
	if out := run("ruche state check /var/backups/ruche.state"); !strings.Contains(out, "ruche.state is whole. It holds the state of") || !strings.Contains(out, "taken by node ") {
		t.Errorf("check: %s", out)
	}
	if out := run("head -c 2000 /var/backups/ruche.state >/var/cut; ! ruche state check - </var/cut"); !strings.Contains(out, "no whole backup") {
		t.Errorf("check of half a backup: %s", out)
	}
	revision := regexp.MustCompile(`Revision (\d+)`)
	if before := revision.FindStringSubmatch(run("ruche state status")); before == nil || len(before[1]) > 6 {
		t.Errorf("the revision of a new state is %q", before)
	}
	// Restored states begin with revisions that the old one never had.
	out := run(drills["restore"])
	if after := revision.FindStringSubmatch(out); after == nil || len(after[1]) != 10 || !strings.Contains(out, "leader") {
		t.Errorf("restore: %s", out)
	}
	if out := run(drills["force-new"]); !strings.Contains(out, "the only member now") || strings.Count(out, "leader") != 1 {
		t.Errorf("force-new: %s", out)
	}
	if out := run("ruche routes"); !strings.Contains(out, "site.example") {
		t.Errorf("after the drills there is no route: %s", out)
	}
	// Refusals say what to do.
	if out := run("! ruche state force-new"); !strings.Contains(out, "in use by process") || !strings.Contains(out, "hint: stop Ruche") {
		t.Errorf("force-new while it runs: %s", out)
	}
	if out := run("! ruche state backup /var/backups/ruche.state"); !strings.Contains(out, "it is there already") {
		t.Errorf("a second backup: %s", out)
	}
	if out := run("ruche state backup - | ruche state restore - --data-dir /var/other"); !strings.Contains(out, "is in "+dir+"/var/other now") {
		t.Errorf("backup and restore by a pipe: %s", out)
	}
}

// drillsOf gives the marked commands of docs/state.md by name.
func drillsOf(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile("../../docs/state.md")
	if err != nil {
		t.Fatal(err)
	}
	drills := make(map[string]string)
	for _, m := range regexp.MustCompile("(?s)<!-- drill: ([a-z-]+) -->\n```sh\n(.*?)```").FindAllStringSubmatch(string(text), -1) {
		drills[m[1]] = m[2]
	}
	if len(drills) != 3 {
		t.Fatalf("docs/state.md has the drills %v, want three", drills)
	}
	return drills
}
