package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/ruche-project/ruche/internal/api"
	"github.com/ruche-project/ruche/internal/config"
)

// What people see when they mistype: one line a mistake, and what to do next.
func TestMistakesSayWhatToDoNext(t *testing.T) {
	t.Setenv("RUCHE_ADMIN_ADDR", "127.0.0.1:1") // where nobody listens
	cases := []struct {
		args string
		want []string
	}{
		{"up --htp-addr x", []string{"error: unknown flag: --htp-addr", `hint: "ruche up --help" lists the flags`}},
		{"up --http-addr x --max-body-size lots", []string{`error: flag --http-addr: "x" is not an address`, "error: flag --max-body-size: "}},
		{"up --config no.yml", []string{"error: cannot read the configuration file"}},
		{"up more", []string{`error: unknown command "more" for "ruche up"`}},
		{"explain", []string{"error: explain takes one URL, 0 were given", "hint: ruche explain https://"}},
		{"routes", []string{"error: cannot ask 127.0.0.1:1: no Ruche answers there\nhint: where Ruche runs as a stack: docker exec $(docker ps -qf name=ruche_edge) /ruche routes\n"}},
		{"explain shop.example", []string{"(docker ps -qf name=ruche_edge) /ruche explain URL\n"}},
		{"nodes", []string{"(docker ps -qf name=ruche_control) /ruche nodes\n", "docker exec CONTAINER /ruche nodes\n", "--admin-addr"}},
		{"state backup -", []string{"(docker ps -qf name=ruche_control) /ruche state backup FILE\n"}},
		{"state backup", []string{"error: ruche state backup takes one file, 0 were given", "hint: ruche state backup /"}},
		{"state backup /dev/null", []string{"error: cannot write /dev/null: it is there already", "hint: choose another name"}},
		{"state check", []string{"error: ruche state check takes one file, 0 were given", "hint: ruche state check /"}},
		{"state check /nowhere", []string{"error: cannot read the backup"}},
		{"state check /dev/null", []string{"error: cannot use /dev/null: this is no whole backup of the state", "hint: keep the backups before it"}},
		{"state restore /nowhere --data-dir /nowhere/else", []string{"error: cannot read the backup"}},
		{"state force-new --data-dir /nowhere", []string{"error: cannot find the state of a node", "--data-dir"}},
		{"certs check", []string{"error: ruche certs check takes one host, 0 were given", "hint: ruche certs check shop.example"}},
		{"certs check shop.example:x", []string{`error: "x" is not a port`, "hint: give HOST or HOST:PORT"}},
		{"certs check shop.example --starttls ftp", []string{`error: --starttls "ftp": give smtp or imap`}},
		{"certs foo", []string{`error: unknown command "foo" for "ruche certs"`}},
		{"certs import", []string{"error: ruche certs import takes a file or directory, none was given", "hint: ruche certs import /etc/nginx/certs"}},
		{"certs import /nowhere", []string{"error: cannot read certificates", "hint: name a file"}},
		{"healthcheck", []string{"error: cannot ask 127.0.0.1:1: no Ruche answers there"}},
		{"state status", []string{"error: cannot ask 127.0.0.1:1: no Ruche answers there"}},
		{"stack init --docker-host unix:///nowhere", []string{"error: cannot ask the Engine about itself", "hint: start the Docker Engine"}},
		{"stack upgrade", []string{"error: ruche stack upgrade takes one image, 0 were given", "hint: ruche stack upgrade registry"}},
		{"doctor", []string{"error: cannot ask 127.0.0.1:1: no Ruche answers there", "(docker ps -qf name=ruche_control) /ruche doctor\n"}},
		{"state foo", []string{`error: unknown command "foo" for "ruche state"`, `hint: "ruche state --help" lists the commands`}},
		{"stack foo", []string{`error: unknown command "foo" for "ruche stack"`, `hint: "ruche stack --help" lists the commands`}},
		{"ca foo", []string{`error: unknown command "foo" for "ruche ca"`}},
		{"ca init", []string{"error: cannot make an authority without --permit", "hint: give domains and networks"}},
		{"ca init nosuch", []string{`error: there can be no authority "nosuch": there are services, clients, docker`, "hint: ruche ca init without names makes services and clients"}},
		{"ca init client --permit any", []string{`error: there can be no authority "client"`, `hint: did you mean "clients"?`}},
		{"ca init sevrices --import /nowhere", []string{`hint: did you mean "services"?`}},
		{"ca init --import x", []string{"error: ruche ca init --import takes one authority, 0 were given"}},
		{"ca init services --import /nowhere", []string{"error: cannot read the chain"}},
		{"ca issue", []string{"error: ruche ca issue takes at least one name", "hint: ruche ca issue www"}},
		{"ca issue a.example --key /nowhere", []string{"error: cannot read /nowhere"}},
		{"ca issue a.example --key /dev/null", []string{"error: cannot use /dev/null: it has no private key in PEM"}},
		{"ca issue a.example --key a --csr b", []string{"error: --key and --csr do not go together"}},
		{"ca revoke", []string{"error: ruche ca revoke takes one serial or name, 0 were given", `hint: "ruche ca list" lists them`}},
		{"ca export --format p12", []string{`error: --format "p12": give pem or der`}},
		{"ca status", []string{"(docker ps -qf name=ruche_control) /ruche ca status\n"}},
		{"nodes rotate", []string{`error: unknown command "rotate" for "ruche nodes"`, `hint: "ruche nodes --help" lists the commands`}},
		{"nodes token rotate", []string{`error: unknown command "rotate" for "ruche nodes token"`}},
		{"nodes token --ttl -1h", []string{"error: --ttl must be positive; leave it away for a token without end"}},
		{"nodes token --ttl 0", []string{"error: --ttl must be positive"}},
		{"nodes token remove", []string{"error: ruche nodes token remove takes one ID, 0 were given", `hint: "ruche nodes token list" lists them`}},
		{"nodes remove", []string{"error: ruche nodes remove takes one name, 0 were given", `hint: "ruche nodes" lists them`}},
		{"routes --output xml", []string{`error: --output "xml": give text or json`}},
	}
	for _, c := range cases {
		t.Run(c.args, func(t *testing.T) {
			root := newRoot()
			root.SetArgs(strings.Fields(c.args))
			var out, got bytes.Buffer
			root.SetOut(&out)
			root.SetErr(&out)
			cmd, err := root.ExecuteContextC(t.Context())
			if err == nil {
				t.Fatal("no error")
			}
			printError(&got, cmd, err)
			for _, want := range c.want {
				if !strings.Contains(got.String(), want) {
					t.Errorf("printed\n%swant %q in it", got.String(), want)
				}
			}
			if c.args == "healthcheck" && strings.Contains(got.String(), "hint") {
				t.Errorf("the Engine, which repeats it, was told\n%s", got.String())
			}
		})
	}
}

// At three in the morning "no routes" on a node that never has any reads as if all were gone.
func TestANodeWithoutVisitorsSaysWhomToAsk(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"elsewhere": {"error": "not here", "hint": "ask there"}, "warnings": [{"message": "the clock is late"}]}`)
	}))
	defer server.Close()
	for _, args := range []string{"routes", "routes --output json", "explain shop.example", "explain shop.example --output json"} {
		root := newRoot()
		root.SetArgs(append(strings.Fields(args), "--admin-addr", server.Listener.Addr().String()))
		var out, got bytes.Buffer
		root.SetOut(&out)
		cmd, err := root.ExecuteContextC(t.Context())
		if err == nil {
			t.Fatalf("%s: no error", args)
		}
		printError(&got, cmd, err)
		if got.String() != "error: not here\nhint: ask there\n" || !strings.Contains(out.String(), "the clock is late") || strings.Contains(out.String(), "No routes") {
			t.Errorf("%s: wrote\n%s\nand %s", args, out.String(), got.String())
		}
	}
}

func TestPrintErrorFindsHintsInsideOtherErrors(t *testing.T) {
	var got bytes.Buffer
	printError(&got, newRoot(), fmt.Errorf("cannot do: %w", hintError{api.ErrRejected, "do this"}))
	if got.String() != "error: cannot do: rejected\nhint: do this\n" {
		t.Errorf("printed %q", got.String())
	}
}

func TestHelpNamesEveryVerb(t *testing.T) {
	root := newRoot()
	var out bytes.Buffer
	root.SetOut(&out)
	root.SetArgs([]string{"--help"})
	if err := root.ExecuteContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, verb := range []string{"up", "routes", "explain", "doctor", "state", "ca", "stack", "version"} {
		if !strings.Contains(out.String(), "\n  "+verb+" ") {
			t.Errorf("the help does not list %q:\n%s", verb, out.String())
		}
	}
}

// A terminal that is stopped with Ctrl-S, or a log driver that hangs, must not stop the sites.
func TestALogThatNobodyReadsMakesNobodyWait(t *testing.T) {
	in, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	logger, end := newLogger(&config.Config{}, out)
	const many = 5000 // of 100 bytes, which no pipe takes
	for range many {
		logger.Info("a line", "with", strings.Repeat("x", 100))
	}
	read := make(chan int)
	go func() {
		all, _ := io.ReadAll(in)
		read <- bytes.Count(all, []byte("\n"))
	}()
	end()
	_ = out.Close()
	if n := <-read; n != many {
		t.Errorf("%d lines were written at the end, want %d", n, many)
	}
}
