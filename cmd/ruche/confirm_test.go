package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ruche-project/ruche"
)

// answered runs a command that may ask, and gives what it wrote. typed is what a person types at a terminal; when it is empty there is none, but an answer in what is piped in.
func answered(t *testing.T, typed string, args ...string) (out, said string) {
	t.Helper()
	root := newRoot()
	root.SetArgs(args)
	var written, told bytes.Buffer
	root.SetOut(&written)
	root.SetErr(&told)
	root.SetIn(strings.NewReader("yes\n"))
	if typed != "" {
		person, command := terminal(t)
		root.SetIn(command)
		if _, err := person.WriteString(typed); err != nil {
			t.Fatal(err)
		}
	}
	if cmd, err := root.ExecuteContextC(t.Context()); err != nil {
		printError(&told, cmd, err)
	}
	return written.String(), told.String()
}

// terminal gives both ends of a terminal: where a person types, and what a command reads from.
func terminal(t *testing.T) (person, command *os.File) {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("there are no terminals here: %v", err)
	}
	t.Cleanup(func() { _ = person.Close() })
	if err := unix.IoctlSetPointerInt(int(person.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(person.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	command, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = command.Close() })
	return person, command
}

// Whoever revokes a whole issuer by mistake has an outage, or a week's limit of the CA used up.
func TestManyAreRevokedByWhoMeansIt(t *testing.T) {
	var list ruche.CertificateList
	for i := range 7 {
		list.Certificates = append(list.Certificates, ruche.CertificateInfo{ID: fmt.Sprintf("id-%d", i), Kind: ruche.CertificateACME, Names: []string{fmt.Sprintf("h%d.example", i), "more"}, Issuer: "letsencrypt", CA: "R11", Fingerprint: fmt.Sprint(i + 1), Serial: fmt.Sprint(i + 1)})
	}
	list.Certificates = append(list.Certificates, ruche.CertificateInfo{ID: "id-9", Kind: ruche.CertificateNone, State: ruche.CertificatePending, Names: []string{"pending.example"}, Issuer: "letsencrypt"})
	var revoked atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			_ = json.NewEncoder(w).Encode(list)
			return
		}
		revoked.Add(1)
		var asked ruche.RevokeRequest
		_ = json.NewDecoder(r.Body).Decode(&asked)
		tasks := []ruche.CertificateTask{{ID: "id-0"}}
		if asked.Issuer == "letsencript" {
			tasks = nil
		}
		_ = json.NewEncoder(w).Encode(tasks)
	}))
	defer server.Close()
	for _, tc := range []struct {
		args, typed string // typed: nothing where there is no terminal
		done        bool
		says        []string // by the error, its hint and what is asked
	}{
		{"--all", "", false, []string{"error: nothing was done: this would replace and revoke 7 certificates at once: h0.example, h1.example, h2.example, h3.example, h4.example and 2 more; nobody can be asked", "hint: give --yes if it is; with --spread 2h"}},
		{"--issuer letsencrypt --spread 1h", "", false, []string{"7 certificates over 1h0m0s: h0.example", "hint: give --yes if it is; new ones are served first"}},
		{"--issuer r11", "no\n", false, []string{"This would replace and revoke 7 certificates at once: h0.example", "with --spread 2h", "Type yes to go on: ", "error: nothing was done\n"}},
		{"--all", "\n", false, []string{"error: nothing was done\n"}},
		{"--all", "yes\n", true, []string{"Type yes to go on: "}},
		{"--all --output json", "YES\n", true, []string{"Type yes to go on: "}},
		{"--all --yes", "", true, nil},
		{"h0.example h1.example", "", true, nil},
		{"--serial 3", "", true, nil},
		{"--issuer letsencript", "", true, []string{"error: nothing was done: no certificate fits", `hint: did you mean "letsencrypt"?`}},
		{"", "", false, []string{"error: nothing is selected"}},
	} {
		revoked.Store(0)
		out, said := answered(t, tc.typed, append([]string{"certs", "revoke", "--admin-addr", server.Listener.Addr().String()}, strings.Fields(tc.args)...)...)
		if done := revoked.Load() == 1; done != tc.done {
			t.Errorf("%q, %q: revoked %v, want %v\n%s", tc.args, tc.typed, done, tc.done, said)
		}
		for _, want := range tc.says {
			if !strings.Contains(said, want) {
				t.Errorf("%q, %q: it said\n%swant %q in it", tc.args, tc.typed, said, want)
			}
		}
		if strings.Contains(out, "Type yes") {
			t.Errorf("%q: the question is in the output:\n%s", tc.args, out)
		}
	}
}
