package main

import (
	"bytes"
	"crypto/x509"
	"os"
	"os/exec"
	"testing"
)

// The image has no authorities of a system. Without some, no CA could be asked for certificates there.
func TestPublicServersAreTrustedInTheImage(t *testing.T) {
	const inside = "TEST_WITHOUT_SYSTEM_ROOTS"
	if os.Getenv(inside) == "" {
		cmd := exec.Command(os.Args[0], "-test.run", "^TestPublicServersAreTrustedInTheImage$")
		cmd.Env = append(os.Environ(), inside+"=1", "SSL_CERT_FILE=/nonexistent", "SSL_CERT_DIR=/nonexistent")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		t.Fatal(err)
	}
	for _, subject := range pool.Subjects() { //nolint:staticcheck // the pool is not the system's
		if bytes.Contains(subject, []byte("ISRG Root X1")) {
			return
		}
	}
	t.Error("the root of Let's Encrypt is not trusted")
}
