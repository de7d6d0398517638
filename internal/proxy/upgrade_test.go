package proxy

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/ruche-project/ruche"
)

func TestWebSocketsDoNotReachHTTP2Endpoints(t *testing.T) {
	for _, scheme := range []string{ruche.SchemeH2C, ruche.SchemeGRPC, ruche.SchemeGRPCS} {
		up := backend2(t, scheme, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") })
		for upgrade, want := range map[string]int{"websocket": 501, "WebSocket": 501, "other": 200} { // an upgrade may be ignored (RFC 9110 section 7.8)
			t.Run(upgrade+" to "+scheme, func(t *testing.T) {
				r := start(t, Config{}, site("a.test", up))
				req := r.request("GET", "http://a.test/chat", nil)
				req.Header.Set("Connection", "Upgrade")
				req.Header.Set("Upgrade", upgrade)
				resp, body := r.do(req)
				if resp.StatusCode != want || strings.Contains(body, "WebSocket") != (want == 501) {
					t.Errorf("got %d %q, want %d with the reason", resp.StatusCode, body, want)
				}
				until(t, "the access log tells why, or nothing", func() bool { return strings.Contains(r.log.String(), errNoWebSocket.Error()) == (want == 501) })
				if e := r.Routes().Routes[0].Endpoints[0]; e.LastError != "" {
					t.Errorf("the endpoint is blamed: %+v", e)
				}
			})
		}
	}
}
