package acmeserver

import (
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/ruche-project/ruche"
)

// run runs a client to its end, and gives what it said.
func (r *rig) run(env []string, name string, args ...string) string {
	r.t.Helper()
	out, err := r.tryRun(env, name, args...)
	if err != nil {
		r.t.Fatalf("%s %s: %v\n%s\n%s", name, strings.Join(args, " "), err, out, r.log.text.String())
	}
	return out
}

func (r *rig) tryRun(env []string, name string, args ...string) (string, error) {
	c := exec.CommandContext(r.t.Context(), name, args...)
	c.Dir = r.t.TempDir()
	c.Env = append(os.Environ(), env...)
	out, err := c.CombinedOutput()
	return string(out), err
}

func (r *rig) file(path ...string) []byte {
	r.t.Helper()
	data, err := os.ReadFile(filepath.Join(path...))
	if err != nil {
		r.t.Fatal(err)
	}
	return data
}

func TestCertbot(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	dir := t.TempDir()
	env := []string{"REQUESTS_CA_BUNDLE=" + r.caFile}
	common := []string{"--config-dir", dir, "--work-dir", dir, "--logs-dir", dir, "--server", r.url + "/directory", "-n"}
	certbot := func(verb string, args ...string) {
		r.t.Helper()
		r.run(env, "certbot", append(append([]string{verb}, common...), args...)...)
	}
	certbot("certonly", "--standalone", "--http-01-port", strconv.Itoa(r.httpPort), "--http-01-address", "127.0.0.1", "--agree-tos", "-m", "ops@dept.example",
		"-d", "www.dept.example", "-d", "shop.dept.example")
	live := filepath.Join(dir, "live", "www.dept.example")
	first := r.verify(r.file(live, "fullchain.pem"), "www.dept.example", "shop.dept.example")
	certbot("renew", "--force-renewal", "--no-random-sleep-on-renew")
	second := r.verify(r.file(live, "fullchain.pem"), "www.dept.example", "shop.dept.example")
	if first.SerialNumber.Cmp(second.SerialNumber) == 0 {
		t.Error("the certificate was not renewed")
	}
	certbot("revoke", "--cert-path", filepath.Join(live, "cert.pem"), "--reason", "superseded", "--no-delete-after-revoke")
	if e := r.entry(second); e.Revoked == nil || e.Revoked.Reason != 4 {
		t.Errorf("after the revocation: %+v", e)
	}
	certbot("update_account", "-m", "others@dept.example")
	certbot("unregister")
	if !r.log.has(`"audit":true`, "account deactivated") {
		t.Error("the end of the account is not in the log")
	}
}

func TestCertbotWithKey(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *Config) { c.RequireKey = true })
	key, err := r.keys.MakeKey(t.Context(), ruche.ACMEKeySpec{Names: []string{"*.dept.example"}})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	env := []string{"REQUESTS_CA_BUNDLE=" + r.caFile}
	args := []string{"certonly", "--config-dir", dir, "--work-dir", dir, "--logs-dir", dir, "--server", r.url + "/directory", "-n", "--standalone",
		"--http-01-port", strconv.Itoa(r.httpPort), "--http-01-address", "127.0.0.1", "--agree-tos", "-m", "ops@dept.example"}
	if out, err := r.tryRun(env, "certbot", append(args, "-d", "www.dept.example")...); err == nil {
		t.Errorf("without a key: %s", out)
	}
	args = append(args, "--eab-kid", key.ID, "--eab-hmac-key", key.Secret)
	r.run(env, "certbot", append(args, "-d", "www.dept.example")...)
	r.verify(r.file(dir, "live", "www.dept.example", "fullchain.pem"), "www.dept.example")
	// Debian's certbot fails at showing what a server refuses ("AttributeError: can't set attribute"), so what it was told is looked for in its log, as docs/acme-server.md says.
	if out, err := r.tryRun(env, "certbot", append(args, "-d", "www.other.example")...); err == nil || !strings.Contains(string(r.file(dir, "letsencrypt.log")), "does not allow www.other.example") {
		t.Errorf("a name that the key does not allow: %v\n%s", err, out)
	}
}

func TestLego(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *Config) { c.RequireKey = true })
	key := r.makeKey(ruche.ACMEKeySpec{Names: []string{"*.dept.example"}})
	for _, tc := range []struct {
		name string
		args []string
		want string
	}{
		{name: "http", args: []string{"--http", "--http.port", fmt.Sprintf("127.0.0.1:%d", r.httpPort), "--domains", "http.dept.example"}, want: "http.dept.example"},
		{name: "tls", args: []string{"--tls", "--tls.port", fmt.Sprintf("127.0.0.1:%d", r.tlsPort), "--domains", "tls.dept.example"}, want: "tls.dept.example"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			args := append([]string{"--server", r.url + "/directory", "--email", "ops@dept.example", "--accept-tos", "--path", dir, "--eab", "--kid", key.ID, "--hmac", key.Secret}, tc.args...)
			env := []string{"LEGO_CA_CERTIFICATES=" + r.caFile}
			r.run(env, "lego", append(args, "run")...)
			first := r.verify(r.file(dir, "certificates", tc.want+".crt"), tc.want)
			r.run(env, "lego", append(args, "renew", "--days", "400", "--no-random-sleep")...)
			second := r.verify(r.file(dir, "certificates", tc.want+".crt"), tc.want)
			if first.SerialNumber.Cmp(second.SerialNumber) == 0 {
				t.Error("the certificate was not renewed")
			}
			r.run(env, "lego", append(args, "revoke")...)
			if r.entry(second).Revoked == nil {
				t.Error("the certificate is not revoked")
			}
		})
	}
}

func TestDehydrated(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *Config) { c.RequireKey = true })
	key := r.makeKey(ruche.ACMEKeySpec{Names: []string{"*.dept.example"}})
	dir := t.TempDir()
	// The hook writes the TXT record with nsupdate, as people do.
	hook := fmt.Sprintf(`#!/bin/sh
case $1 in
deploy_challenge) verb="add _acme-challenge.$2. 1 TXT $4" ;;
clean_challenge) verb="delete _acme-challenge.$2. TXT" ;;
*) exit 0 ;;
esac
printf 'server 127.0.0.1 %s\n%%s\nsend\n' "$verb" | nsupdate
`, r.dns.port())
	for name, text := range map[string]string{
		"hook": hook, "domains.txt": "*.apps.dept.example apps.dept.example > apps\n",
		"config": fmt.Sprintf("CA=%s/directory\nCHALLENGETYPE=dns-01\nHOOK=%s/hook\nCONTACT_EMAIL=ops@dept.example\nKEY_ALGO=prime256v1\nEAB_KID=%s\nEAB_HMAC_KEY=%s\nRENEW_DAYS=15\n", r.url, dir, key.ID, key.Secret),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	env := []string{"CURL_CA_BUNDLE=" + r.caFile}
	dehydrated := func(args ...string) {
		r.t.Helper()
		r.run(env, "dehydrated", append([]string{"--config", filepath.Join(dir, "config")}, args...)...)
	}
	dehydrated("--register", "--accept-terms")
	dehydrated("--cron")
	cert := r.verify(r.file(dir, "certs", "apps", "fullchain.pem"), "apps.dept.example", "x.apps.dept.example")
	dehydrated("--revoke", filepath.Join(dir, "certs", "apps", "cert.pem"))
	if r.entry(cert).Revoked == nil {
		t.Error("the certificate is not revoked")
	}
}

// Debian's uacme can be told of no root but those of the system, so it is tried without TLS.
func TestUacme(t *testing.T) {
	t.Parallel()
	r := newRigAt(t, httptest.NewServer, func(c *Config) { c.RequireKey = true })
	key := r.makeKey(ruche.ACMEKeySpec{Names: []string{"*.dept.example"}})
	dir := t.TempDir()
	r.serveHTTP01(func(token string) (string, bool) {
		data, err := os.ReadFile(filepath.Join(dir, token))
		return string(data), err == nil
	})
	uacme := func(args ...string) {
		r.t.Helper()
		r.run([]string{"UACME_CHALLENGE_PATH=" + dir}, "uacme", append([]string{"-v", "-c", dir, "-a", r.url + "/directory", "-y"}, args...)...)
	}
	issue := []string{"-h", "/usr/share/uacme/uacme.sh", "-t", "EC", "-d", "15", "issue", "u.dept.example", "v.dept.example"}
	uacme("-e", key.ID+":"+key.Secret, "new", "ops@dept.example")
	uacme(issue...)
	first := r.verify(r.file(dir, "u.dept.example", "cert.pem"), "u.dept.example", "v.dept.example")
	uacme(append([]string{"-f"}, issue...)...)
	cert := r.verify(r.file(dir, "u.dept.example", "cert.pem"), "u.dept.example", "v.dept.example")
	if first.SerialNumber.Cmp(cert.SerialNumber) == 0 {
		t.Error("the certificate was not renewed")
	}
	uacme("update", "others@dept.example")
	uacme("newkey")
	uacme("revoke", filepath.Join(dir, "u.dept.example", "cert.pem"))
	if r.entry(cert).Revoked == nil {
		t.Error("the certificate is not revoked")
	}
	uacme("deactivate")
}
