package metrics_test

import (
	"strings"
	"testing"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/metrics"
)

func TestAuthority(t *testing.T) {
	end := time.Unix(1_800_000_000, 0)
	body := scrape(metrics.Config{
		Authorities: func() []ruche.AuthorityStatus {
			return []ruche.AuthorityStatus{{
				Name: "services", Live: 7, Revoked: 2, Roots: []ruche.IssuerStatus{{ID: "services-r1", NotAfter: end.Add(time.Hour)}},
				Intermediates: []ruche.IssuerStatus{{ID: "services-i2", NotAfter: end, CRLUntil: end.Add(-time.Hour)}},
			}}
		},
		ACMEServer: func() ruche.ACMEServerCount {
			return ruche.ACMEServerCount{Orders: map[string]uint64{"issued": 3, "failed": 0}, Challenges: map[string]uint64{"met": 4}, Refused: map[string]uint64{"badNonce": 5}, Accounts: 6}
		},
	})
	for _, want := range []string{
		`ruche_ca_issuer_expiry_timestamp_seconds{authority="services",issuer="services-r1"} 1.8000036e+09`,
		`ruche_ca_issuer_expiry_timestamp_seconds{authority="services",issuer="services-i2"} 1.8e+09`,
		`ruche_ca_crl_expiry_timestamp_seconds{authority="services",issuer="services-i2"} 1.7999964e+09`,
		`ruche_ca_certificates{authority="services",state="good"} 7`, `ruche_ca_certificates{authority="services",state="revoked"} 2`,
		`ruche_acme_server_orders_total{result="issued"} 3`, `ruche_acme_server_orders_total{result="failed"} 0`, `ruche_acme_server_challenges_total{result="met"} 4`,
		`ruche_acme_server_requests_refused_total{reason="badNonce"} 5`, `ruche_acme_server_accounts 6`,
	} {
		if !strings.Contains(body, want) {
			t.Errorf("/metrics lacks %q", want)
		}
	}
	if body := scrape(metrics.Config{}); strings.Contains(body, "ruche_ca_") || strings.Contains(body, "ruche_acme_") {
		t.Error("/metrics has an authority where there is none")
	}
	if strings.Contains(body, `ruche_ca_crl_expiry_timestamp_seconds{authority="services",issuer="services-r1"}`) {
		t.Error("/metrics has a list that is not there")
	}
}
