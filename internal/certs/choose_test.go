package certs

import (
	"strings"
	"testing"
	"time"

	"github.com/ruche-project/ruche"
)

// A file that clients refuse now does not go before a certificate that they take.
func TestAFileThatIsNotValidStandsBack(t *testing.T) {
	now := time.Now()
	good, bad := of("a.example"), with(of("a.example"), func(w *wish) { w.from, w.to = -90*day, -day })
	for _, tc := range []struct {
		name     string
		file     string
		from, to time.Time
		record   *wish
		query    ruche.CertificateQuery
		byFile   bool
		reason   string
	}{
		{"expired", "a.example", now.Add(-90 * day), now.Add(-time.Hour), &good, ruche.CertificateQuery{}, false, "r is for a.example; a.example.crt expired at "},
		{"not valid yet", "a.example", now.Add(time.Hour), now.Add(90 * day), &good, ruche.CertificateQuery{}, false, "r is for a.example; a.example.crt is not valid before "},
		{"valid", "a.example", now.Add(-day), now.Add(90 * day), &good, ruche.CertificateQuery{}, true, "is the host's own"},
		{"expired, the store's too", "a.example", now.Add(-90 * day), now.Add(-time.Hour), &bad, ruche.CertificateQuery{}, true, "a.example.crt is the host's own; it expired at "},
		{"expired, none in the store", "a.example", now.Add(-90 * day), now.Add(-time.Hour), nil, ruche.CertificateQuery{}, true, ", and there is no good certificate for the name in the store"},
		{"expired, mode auto in words", "a.example", now.Add(-90 * day), now.Add(-time.Hour), &good, ruche.CertificateQuery{Mode: ruche.TLSAuto}, false, "expired at"},
		{"expired, mode file", "a.example", now.Add(-90 * day), now.Add(-time.Hour), &good, ruche.CertificateQuery{Mode: ruche.TLSFile}, true, "is the host's own; it expired at"},
		{"expired, mode acme", "a.example", now.Add(-90 * day), now.Add(-time.Hour), &good, ruche.CertificateQuery{Mode: ruche.TLSACME}, false, "; a.example.crt expired at"},
		{"expired, by CERT_NAME", "shared", now.Add(-90 * day), now.Add(-time.Hour), &good, ruche.CertificateQuery{CertName: "shared"}, false, "; shared.crt expired at"},
		{"default.crt is not valid yet", "default", now.Add(time.Hour), now.Add(90 * day), &bad, ruche.CertificateQuery{}, false, "there is none better"},
	} {
		dir := t.TempDir()
		writePairFrom(t, dir, tc.file, tc.from, tc.to)
		records := map[string]wish{}
		if tc.record != nil {
			records["r"] = *tc.record
		}
		c := withStore(t, dir, records)
		tc.query.ServerName, tc.query.Host = "a.example", "a.example"
		certificate, st := c.Certificate(tc.query)
		if certificate == nil || (st.Kind == ruche.CertificateFile) != tc.byFile || !strings.Contains(st.Reason, tc.reason) {
			t.Errorf("%s: %s serves (%s), want by the file: %v, because %q", tc.name, st.Kind, st.Reason, tc.byFile, tc.reason)
		}
		if st := c.Status(tc.query); !strings.Contains(st.Reason, tc.reason) {
			t.Errorf("%s: explain says %q, want %q", tc.name, st.Reason, tc.reason)
		}
	}
}

// What is known of a file is told with it.
func TestWhatIsKnownOfAFileIsTold(t *testing.T) {
	dir, from := t.TempDir(), time.Now().Add(-time.Hour).Truncate(time.Second)
	writePairFrom(t, dir, "a.example", from, inAYear())
	st := newCerts(t, dir).Status(ruche.CertificateQuery{ServerName: "a.example", Host: "a.example"})
	if st.CA != "a.example" || st.KeyType != "ECDSA P-256" || st.Serial == "" || !st.NotBefore.Equal(from) {
		t.Errorf("the status is %+v", st)
	}
}
