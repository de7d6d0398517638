package acmeserver

import (
	"crypto/tls"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/ruche-project/ruche"
)

// apacheConf is the recipe of docs/acme-server.md, with what a server needs that is no system's.
const apacheConf = `ServerRoot DIR
ServerName www.dept.example
DefaultRuntimeDir DIR
PidFile DIR/pid
Mutex file:DIR default
ErrorLog DIR/error.log
LogLevel warn md:debug
User www-data
Group www-data
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LoadModule ssl_module /usr/lib/apache2/modules/mod_ssl.so
LoadModule md_module /usr/lib/apache2/modules/mod_md.so
Listen 127.0.0.1:HTTP
Listen 127.0.0.1:TLS https
MDPortMap http:HTTP https:TLS
MDStoreDir DIR/md

MDCertificateAuthority URL
MDCACertificateFile DIR/root.pem
MDExternalAccountBinding ID SECRET
MDContactEmail ops@dept.example
MDCertificateAgreement accepted
MDomain www.dept.example shop.dept.example

<VirtualHost *:HTTP>
	ServerName www.dept.example
	ServerAlias shop.dept.example
</VirtualHost>
<VirtualHost *:TLS>
	ServerName www.dept.example
	ServerAlias shop.dept.example
	SSLEngine on
</VirtualHost>
`

// TestApache has Apache's mod_md order by itself, and serve the certificate after a reload.
func TestApache(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *Config) { c.RequireKey = true })
	key := r.makeKey(ruche.ACMEKeySpec{Names: []string{"*.dept.example"}})
	dir := filepath.Join(t.TempDir(), "apache")
	// Its children run as somebody else.
	for _, d := range []string{filepath.Dir(filepath.Dir(dir)), filepath.Dir(dir), dir} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	text := strings.NewReplacer("DIR", dir, "HTTP", fmt.Sprint(r.httpPort), "TLS", fmt.Sprint(r.tlsPort), "URL", r.url+"/directory", "ID", key.ID, "SECRET", key.Secret).Replace(apacheConf)
	for name, data := range map[string][]byte{"conf": []byte(text), "root.pem": r.file(r.caFile)} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	apache := start(t, dir, "apache2", "-DFOREGROUND", "-f", filepath.Join(dir, "conf"))
	t.Cleanup(func() { // with its children
		_ = apache.Process.Signal(syscall.SIGTERM)
		_ = apache.Wait()
		if t.Failed() {
			data, _ := os.ReadFile(filepath.Join(dir, "error.log"))
			t.Logf("Apache's log:\n%s", data)
		}
	})
	wait(t, "Apache has a certificate", func() bool {
		_, err := os.Stat(filepath.Join(dir, "md", "staging", "www.dept.example", "pubcert.pem"))
		return err == nil
	})
	reloaded := false
	wait(t, "Apache serves it after a reload", func() bool {
		c, err := tls.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", r.tlsPort), &tls.Config{ServerName: "shop.dept.example", RootCAs: r.roots()})
		if err == nil {
			_ = c.Close()
			return true
		}
		if !reloaded && r.log.has("certificate issued") {
			reloaded = apache.Process.Signal(syscall.SIGUSR1) == nil
		}
		return false
	})
}
