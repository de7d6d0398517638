//go:build e2e

package e2e

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/e2e/lab"
)

// The control node of the stacks: its service, and where it is asked.
const (
	controlService = "ruche_control"
	controlAdmin   = "127.0.0.1:8910"
	meshPort       = "8901" // for all nodes
	statePort      = "8902" // for control nodes alone
)

// Whoever does not belong to the installation is refused at its door, counted, and named in the log; and the edge has nothing that would help who breaks into it.
func TestStrangersAreRefused(t *testing.T) {
	t.Parallel()
	l := lab.New(t, 1, lab.Options{})
	l.JoinSwarm()
	n := l.Nodes[0]
	n.LoadRuche()
	n.StackDeploy(n.StackInit())
	lab.Eventually(t, aMinute, func() error { return nodesAre(n, "n1", "n1-control", "n1-edge") })
	edgeIsShutIn(t, n)

	once, err := askControl(n, "nodes", "token", "--role", "edge", "--uses", "1")
	if err != nil {
		t.Fatal(err)
	}
	joinBy(l, n, "friend", once)
	lab.Eventually(t, aMinute, func() error { return nodesAre(n, "friend", "n1", "n1-control", "n1-edge") })
	joinBy(l, n, "late", once)
	joinBy(l, n, "guesser", otherSecret(once))
	for reason, knock := range map[string]func(net.Conn) error{
		"forged": func(c net.Conn) error { return tls.Client(c, forgedNode(t, "n1-edge")).HandshakeContext(t.Context()) },
		"plain-text": func(c net.Conn) error {
			_, err := io.WriteString(c, "GET /v1/follow?buckets=endpoints HTTP/1.1\r\nHost: ruche\r\n\r\n")
			return err
		},
	} {
		refusedAtTheDoor(t, n, meshPort, reason, knock)
		refusedAtTheDoor(t, n, statePort, reason, knock)
		lab.Eventually(t, aMinute, func() error { return isCounted(n, "ruche_state_peers_refused_total", reason) })
		lab.Eventually(t, aMinute, func() error { return isLogged(n, "refused a connection to the members' port", reason) })
	}
	for _, reason := range []string{"token", "token-used-up", "forged", "plain-text"} {
		lab.Eventually(t, aMinute, func() error { return refusalIsTold(n, reason) })
	}
	if err := nodesAre(n, "friend", "n1", "n1-control", "n1-edge"); err != nil {
		t.Errorf("after all strangers: %v", err)
	}
}

// askControl runs a verb of ruche beside the control node.
func askControl(n *lab.Node, args ...string) (string, error) {
	command := append([]string{"exec", n.WaitTask(controlService), "/ruche"}, args...)
	return n.TryDocker(append(command, "--admin-addr", controlAdmin)...)
}

func nodeList(n *lab.Node) (list ruche.NodeList, err error) {
	out, err := askControl(n, "nodes", "--output", "json")
	if err == nil {
		err = json.Unmarshal([]byte(out), &list)
	}
	return list, err
}

// nodesAre returns an error until these nodes have joined, by name.
func nodesAre(n *lab.Node, want ...string) error {
	list, err := nodeList(n)
	if err != nil {
		return err
	}
	var names []string
	for _, node := range list.Nodes {
		names = append(names, node.Name)
	}
	if got := strings.Join(names, " "); got != strings.Join(want, " ") {
		return fmt.Errorf("the nodes are %q, want %q", got, want)
	}
	return nil
}

// joinBy starts an edge of its own that has this token.
func joinBy(l *lab.Lab, n *lab.Node, name, token string) {
	n.Docker("run", "--detach", "--name", name, "--volume", l.File(l.Dir("tokens"), name, token)+":/token:ro",
		"--env", "RUCHE_NODE_NAME="+name, "--env", "RUCHE_CONTROL="+n.Address, "--env", "RUCHE_JOIN_TOKEN_FILE=/token", lab.RucheImage, "edge")
}

// otherSecret gives a token that is for the same installation, but was never made.
func otherSecret(token string) string {
	i := strings.LastIndexByte(token, '-') + 1
	other := byte('A')
	if token[i] == other {
		other = 'B'
	}
	return token[:i] + string(other) + token[i+1:]
}

// forgedNode is the certificate of a node, as somebody may make it who knows how they look, and has an authority of his own.
func forgedNode(t *testing.T, name string) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	root := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ruche"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name, OrganizationalUnit: []string{"edge", "control"}}, NotBefore: root.NotBefore, NotAfter: root.NotAfter,
		URIs: []*url.URL{{Scheme: "ruche", Host: "node", Path: "/" + name}}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, leaf, root, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{
		InsecureSkipVerify: true, //nolint:gosec // whom it speaks to is not the question
		NextProtos:         []string{"h2"},
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { // also to whom has told that it believes other authorities
			return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
		},
	}
}

// refusedAtTheDoor checks that a control node closes the connection of whoever knocks so, and tells it nothing but that.
func refusedAtTheDoor(t *testing.T, n *lab.Node, port, name string, knock func(net.Conn) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), aMinute)
	defer cancel()
	conn, err := n.Dial(ctx, port)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(aMinute)); err != nil {
		t.Fatal(err)
	}
	if err := knock(conn); err != nil {
		t.Logf("%s: %v", name, err)
	}
	rest, err := io.ReadAll(conn)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%s: the connection stays open", name)
	}
	if strings.Contains(string(rest), "HTTP") || strings.Contains(string(rest), "bucket") {
		t.Errorf("%s: it was told %.100q", name, rest)
	}
}

// refusalIsTold returns an error until the command, the metrics and the log of the control node tell of refusals for a reason.
func refusalIsTold(n *lab.Node, reason string) error {
	list, err := nodeList(n)
	if err != nil {
		return err
	}
	if list.Refused[reason] == 0 {
		return fmt.Errorf("ruche nodes tells of the refusals %v, not of %s", list.Refused, reason)
	}
	if err := isCounted(n, "ruche_mesh_peers_refused_total", reason); err != nil {
		return err
	}
	return isLogged(n, "refused a peer", reason)
}

// isCounted returns an error until the control node's metrics have a refusal for the reason.
func isCounted(n *lab.Node, metric, reason string) error {
	answer, err := n.LocalClient().Get("http://" + controlAdmin + "/metrics")
	if err != nil {
		return err
	}
	if _, value, found := strings.Cut(answer.Body, fmt.Sprintf("%s{reason=%q} ", metric, reason)); !found || strings.HasPrefix(value, "0") {
		return fmt.Errorf("%s tells of no refusal %s", metric, reason)
	}
	return nil
}

// isLogged returns an error until the control node's log names a refusal for the reason.
func isLogged(n *lab.Node, message, reason string) error {
	for line := range strings.Lines(n.Logs(n.WaitTask(controlService))) {
		if strings.Contains(line, message) && strings.Contains(line, "reason="+reason+" ") {
			return nil
		}
	}
	return fmt.Errorf("the log does not tell of a refusal %s", reason)
}

// processIsShutIn looks from inside at what the process of an edge has: no capability, nothing of the Engine, no secret but the one by which it joined and its own key,
// and a root that it cannot change.
func processIsShutIn(t *testing.T, pid string) {
	t.Helper()
	read := func(name string) string {
		data, err := os.ReadFile(filepath.Join("/proc", pid, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	status := read("status")
	for _, set := range []string{"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"} {
		if !strings.Contains(status, set+":\t0000000000000000\n") {
			t.Errorf("the edge has capabilities (%s):\n%s", set, status)
		}
	}
	root := ""
	for line := range strings.Lines(read("mountinfo")) {
		if strings.Contains(line, "docker.sock") {
			t.Errorf("the edge has the Engine's socket: %s", line)
		}
		if fields := strings.Fields(line); fields[4] == "/" { // proc(5): the mount point, and then its options
			root = fields[5]
		}
	}
	if root != "ro" && !strings.HasPrefix(root, "ro,") {
		t.Errorf("the edge's root is mounted %q, want ro", root)
	}
	if strings.Contains(read("environ"), "RUCHE-1-") {
		t.Error("the edge has a join token in its environment")
	}
	for dir, may := range map[string]string{"run/secrets": "ruche-join-edge", "var/lib/ruche/mesh": "certificates.json contact.json identity.pem recipient.key replica.json"} {
		entries, err := os.ReadDir(filepath.Join("/proc", pid, "root", dir))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if !slices.Contains(strings.Fields(may), e.Name()) {
				t.Errorf("the edge has %s in /%s, where only %s may be", e.Name(), dir, may)
			}
		}
	}
}
