package metrics_test

import (
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/metrics"
)

func TestCertificatesAreShown(t *testing.T) {
	at := time.Unix(1800000000, 0)
	list := []ruche.CertificateInfo{
		{ID: "a-1", Kind: ruche.CertificateACME, State: ruche.CertificateFailing, Names: []string{"a.example", "www.a.example"}, NotAfter: at, Due: at.Add(-time.Hour), Failures: 3},
		{ID: "b-1", Kind: ruche.CertificateACME, State: ruche.CertificateRetired, Names: []string{"b.example"}, NotAfter: at},
		{ID: "file:x", Kind: ruche.CertificateFile, State: ruche.CertificateValid, NotAfter: at},
	}
	w := httptest.NewRecorder()
	metrics.Handler(metrics.Config{Edge: edge{}, Version: "test", Certificates: func() []ruche.CertificateInfo { return list }}).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	for _, want := range []string{
		`ruche_certificates{kind="acme",state="failing"} 1`, `ruche_certificates{kind="acme",state="retired"} 1`, `ruche_certificates{kind="file",state="valid"} 1`,
		`ruche_certificate_expiry_timestamp_seconds{certificate="a-1",name="a.example"} 1.8e+09`, `ruche_certificate_expiry_timestamp_seconds{certificate="file:x",name=""} 1.8e+09`,
		`ruche_certificate_renewal_timestamp_seconds{certificate="a-1",name="a.example"} 1.7999964e+09`, `ruche_certificate_failures{certificate="a-1",name="a.example"} 3`,
	} {
		if !strings.Contains(w.Body.String(), want+"\n") {
			t.Errorf("%s is missing", want)
		}
	}
	for _, no := range []string{`timestamp_seconds{certificate="b-1"`, `ruche_certificate_renewal_timestamp_seconds{certificate="file:x"`} {
		if strings.Contains(w.Body.String(), no) {
			t.Errorf("%s is there", no)
		}
	}
}
