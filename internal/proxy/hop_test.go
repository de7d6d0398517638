package proxy

import (
	"crypto/tls"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/ruche-project/ruche"
)

// A load balancer in front asks for the name of the hop, which no route has, and then for sites.
func TestNamesOfTheHop(t *testing.T) {
	dark := site("dark.internal", says(t, "x"))
	dark.TLS = ruche.TLSOff
	r := start(t, Config{}, site("a.test", says(t, "it is a")), site("b.test", says(t, "it is b")), dark)
	ask := func(transport *http.Transport, host string) string {
		t.Helper()
		req, err := http.NewRequest(http.MethodGet, "https://"+r.HTTPSAddr().String()+"/", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = host
		resp, err := transport.RoundTrip(req)
		if err != nil {
			return err.Error()
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.Status + " " + string(body)
	}
	for _, http2 := range []bool{false, true} {
		for _, tc := range []struct{ name, host, want string }{
			{"cluster.internal", "a.test", "200 OK it is a"}, {"cluster.internal", "b.test", "200 OK it is b"}, {"cluster.internal", "cluster.internal", "503"},
			{"cluster.internal", "dark.internal", "503"}, {"dark.internal", "a.test", "unrecognized name"}, {"stranger.test", "a.test", "unrecognized name"},
		} {
			transport := &http.Transport{ForceAttemptHTTP2: http2, TLSClientConfig: &tls.Config{ServerName: tc.name, InsecureSkipVerify: true}}
			for range 2 {
				if got := ask(transport, tc.host); !strings.Contains(got, tc.want) {
					t.Errorf("with the name %s, %s is answered by %q, want %q", tc.name, tc.host, got, tc.want)
				}
			}
			transport.CloseIdleConnections()
		}
	}
	served, _ := r.Serving([]string{"cluster.internal", "*.wild.internal", "dark.internal", "a.test"})
	for name, want := range map[string]ruche.CertificateKind{"cluster.internal": ruche.CertificateInternal, "*.wild.internal": ruche.CertificateInternal, "dark.internal": "", "a.test": ruche.CertificateSelfSigned} {
		if got := served[name].Kind; got != want {
			t.Errorf("%s is served with %q, want %q", name, got, want)
		}
	}
	if ex, err := r.Explain("https://cluster.internal/"); err != nil || ex.Certificate.Kind != ruche.CertificateInternal || !strings.Contains(ex.Answer, "503") {
		t.Errorf("explained by %+v, %v", ex, err)
	}
}
