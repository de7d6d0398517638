package discovery

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/docker"
)

func TestRouteFileSecurity(t *testing.T) {
	cases := []struct {
		name, keys string // of one route, separated by |; the endpoints are https unless they say otherwise
		want       string // the settings as JSON, or part of the complaint
	}{
		{"client certificates", "client_auth: {ca: partners.ca.crt}", `{"client":{"mode":"require","ca":"partners"}}`},
		{"client certificates by host, optional", "client_auth: {mode: optional}", `{"client":{"mode":"optional"}}`},
		{"with a list", "client_auth: {mode: request, ca: partners, crl: other.crl.pem}", `{"client":{"mode":"request","ca":"partners","crl":"other"}}`},
		{"internal", "client_auth: {ca: internal}", `{"client":{"mode":"require","ca":"internal"}}`},
		{"endpoints", "endpoint_tls: {ca: corp, server_name: a.internal, client_cert: edge, min_tls: \"1.3\"}", `{"endpoint":{"ca":"corp","server_name":"a.internal","client_cert":"edge","min_tls":"1.3"}}`},
		{"endpoints by the system's authorities", "endpoint_tls: {ca: system}", `{"endpoint":{"ca":"system"}}`},
		{"versions and HSTS", "min_tls: \"1.3\" | hsts: max-age=60", `{"min":"1.3","hsts":"max-age=60"}`},
		{"a TCP route whose TLS ends here", "entry_point: db | tls: auto | endpoints: [\"tcp://10.0.0.1:1\"] | client_auth: {ca: partners}", `{"client":{"mode":"require","ca":"partners"}}`},
		{"an unknown mode", "client_auth: {mode: on}", "client_auth: mode"},
		{"a path", "client_auth: {ca: ../partners}", "client_auth: ca"},
		{"a misspelt key", "client_auth: {cas: partners}", "cas"},
		{"the system's authorities for clients", "client_auth: {ca: system}", "not for clients"},
		{"a list of the internal authority", "client_auth: {ca: internal, crl: x}", "a list of its own"},
		{"clients without TLS", "tls: off | client_auth: {ca: partners}", "does not end here"},
		{"clients of a TLS that is passed through", "entry_point: db | host: a.example | endpoints: [\"tcp://10.0.0.1:1\"] | client_auth: {ca: partners}", "does not end here"},
		{"endpoints without TLS", "endpoints: [\"http://10.0.0.1:1\"] | endpoint_tls: {ca: corp}", "endpoint_tls"},
		{"an old version", "min_tls: \"1.0\"", "min_tls"},
		{"HSTS without an age", "hsts: includeSubDomains", "hsts"},
		{"HSTS of a TCP route", "entry_point: db | endpoints: [\"tcp://10.0.0.1:1\"] | hsts: max-age=1", "hsts"},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			keys := strings.Split(tc.keys, " | ")
			if !strings.Contains(tc.keys, "entry_point") {
				keys = append(keys, "host: a.example")
			}
			if !strings.Contains(tc.keys, "endpoints:") {
				keys = append(keys, `endpoints: ["https://10.0.0.1:8443"]`)
			}
			found := parseRouteFile("site.yaml", []byte("routes:\n  - "+strings.Join(keys, "\n    ")+"\n"), declared{})
			routes, diagnostics := found.routes, found.diagnostics
			if len(routes) == 0 {
				if len(diagnostics) == 0 || !strings.Contains(diagnostics[0].Message, tc.want) || diagnostics[0].Hint == "" {
					t.Errorf("complained of %+v, want %q with a hint", diagnostics, tc.want)
				}
				return
			}
			if got := security(routes[0]); got != tc.want || len(diagnostics) > 0 {
				t.Errorf("read %s, %+v; want %s", got, diagnostics, tc.want)
			}
		})
	}
}

// security shows what a route asks of TLS.
func security(r ruche.Route) string {
	data, _ := json.Marshal(struct {
		Client   *ruche.ClientAuth  `json:"client,omitempty"`
		Endpoint *ruche.EndpointTLS `json:"endpoint,omitempty"`
		Min      string             `json:"min,omitempty"`
		HSTS     string             `json:"hsts,omitempty"`
		Blocked  string             `json:"blocked,omitempty"`
	}{r.ClientAuth, r.EndpointTLS, r.MinTLS, r.HSTS, r.Blocked})
	return string(data)
}

func TestSecurityLabels(t *testing.T) {
	cases := []struct{ name, labels, want, code string }{
		{"none", "", `{}`, ""},
		{"client certificates", "ruche.tls.client-ca=partners", `{"client":{"mode":"require","ca":"partners"}}`, ""},
		{"in capitals", "Ruche.TLS.Client-CA=Partners.ca.crt ruche.tls.client-crl=x", `{"client":{"mode":"require","ca":"Partners","crl":"x"}}`, ""},
		{"by host", "ruche.tls.client-auth=optional", `{"client":{"mode":"optional"}}`, ""},
		{"over nginx-proxy's", "com.github.nginx-proxy.nginx-proxy.ssl_verify_client=optional ruche.tls.client-auth=require", `{"client":{"mode":"require"}}`, ""},
		{"nginx-proxy's alone", "com.github.nginx-proxy.nginx-proxy.ssl_verify_client=optional", `{"client":{"mode":"optional"}}`, ""},
		{"endpoints", "ruche.endpoint-tls.ca=corp ruche.endpoint-tls.server-name=a.internal ruche.endpoint-tls.client-cert=edge",
			`{"endpoint":{"ca":"corp","server_name":"a.internal","client_cert":"edge"}}`, ""},
		{"misspelt", "ruche.tls.client-auht=require", `{"blocked":"label ruche.tls.client-auht cannot be used"}`, "key-unknown"},
		{"without its dash", "ruche.tls.clientauth=require", `{"blocked":"label ruche.tls.clientauth cannot be used"}`, "key-unknown"},
		{"an unknown mode", "ruche.tls.client-auth=on", `{"client":{"mode":"require"},"blocked":"label ruche.tls.client-auth cannot be used"}`, "value-invalid"},
		{"a path", "ruche.endpoint-tls.ca=../x", `{"blocked":"label ruche.endpoint-tls.ca cannot be used"}`, "value-invalid"},
		{"nothing", "ruche.tls.client-ca=", `{"client":{"mode":"require"},"blocked":"label ruche.tls.client-ca cannot be used"}`, "value-invalid"},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			c := docker.Container{Name: "shop", Env: map[string]string{"VIRTUAL_HOST": "a.example", "VIRTUAL_PORT": "80"}, Labels: map[string]string{}}
			for label := range strings.FieldsSeq(tc.labels) {
				key, value, _ := strings.Cut(label, "=")
				c.Labels[key] = value
			}
			read := declaredBy(c)
			routes, diagnostics := read.routes, read.diagnostics
			if len(routes) != 1 {
				t.Fatalf("%d routes, %+v", len(routes), diagnostics)
			}
			code := ""
			if len(diagnostics) > 0 {
				code = string(diagnostics[0].Code)
			}
			if got := security(routes[0]); got != tc.want || code != tc.code || len(diagnostics) > 0 && diagnostics[0].Hint == "" {
				t.Errorf("read %s, %+v; want %s, %q", got, diagnostics, tc.want, tc.code)
			}
		})
	}
}
