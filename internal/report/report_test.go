package report_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/report"
)

var update = flag.Bool("update", false, "rewrite the golden files from what is written now")

func now() time.Time { return time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC) }

func shop() ruche.RouteStatus {
	return ruche.RouteStatus{
		ID: "nginx-proxy:shop.example/", Vocabulary: ruche.VocabularyNginxProxy,
		Match: ruche.Match{Host: "shop.example", Path: "/"}, Hosts: []string{"shop.example"},
		Sources: []ruche.RouteSource{
			{Workload: "shop-web-1", WorkloadKind: ruche.KindContainer, Source: "env VIRTUAL_HOST"},
			{Workload: "shop-web-2", WorkloadKind: ruche.KindContainer, Source: "env VIRTUAL_HOST", GoneSince: now().Add(-5 * time.Minute)},
		},
		Endpoints: []ruche.EndpointStatus{
			{
				URL: "http://172.18.0.3:8080", Workload: "shop-web-1", Network: "shop_default", NetworkReason: "the first by name that Ruche shares",
				PortReason: "VIRTUAL_PORT", State: ruche.EndpointReady, Since: now().Add(-3 * time.Hour), InFlight: 2,
				LastError: "connection refused", LastErrorAt: now().Add(-4 * time.Second), CoolingDown: true,
				EjectedUntil: now().Add(6 * time.Second), Weight: 1,
				Check: &ruche.CheckStatus{At: now().Add(-2 * time.Second), Error: "it answered with the status 500"},
			},
			{Workload: "shop-web-2", NetworkReason: "no network is shared", State: ruche.EndpointUnreachable, StateReason: "running"},
		},
		Certificates: map[string]ruche.CertificateStatus{"shop.example": {Kind: ruche.CertificateFile, NotAfter: now().Add(62 * 24 * time.Hour)}},
		Requests:     [5]uint64{0, 100, 0, 3, 2},
	}
}

func TestGolden(t *testing.T) {
	list := ruche.RouteList{
		Routes: []ruche.RouteStatus{
			shop(),
			{
				Match:     ruche.Match{Rule: "Host(`blog.example`) && PathPrefix(`/de`)"},
				Sources:   []ruche.RouteSource{{Workload: "blog", WorkloadKind: ruche.KindContainer, Source: "label traefik.http.routers.blog.rule"}},
				Endpoints: []ruche.EndpointStatus{{State: ruche.EndpointReady}}, Certificates: map[string]ruche.CertificateStatus{"blog.example": {Kind: ruche.CertificateSelfSigned}},
			},
			{
				Match: ruche.Match{Host: "files.example", Path: "= /x"}, Blocked: "NETWORK_ACCESS=internal is not supported",
				Sources:      []ruche.RouteSource{{Workload: "site.yaml", WorkloadKind: ruche.KindFile, Source: "site.yaml:3"}},
				Certificates: map[string]ruche.CertificateStatus{"files.example": {Kind: ruche.CertificateFile, NotAfter: now().Add(-50 * time.Hour)}},
			},
		},
		Diagnostics: []ruche.Diagnostic{{
			Code: ruche.CodePortInvalid, Severity: ruche.SeverityError, Workload: "bad", Source: "env VIRTUAL_PORT",
			Message: `"eighty" is not a port`, Hint: "give a number from 1 to 65535",
		}},
		Warnings: []ruche.Warning{{
			Code: ruche.CodeDockerUnreachable, Severity: ruche.SeverityError, Subject: "unix:///var/run/docker.sock",
			Message: "the Engine does not answer", Hint: "start the Engine; what is known is served meanwhile",
		}},
	}
	shopStatus := shop()
	cases := map[string]func(*bytes.Buffer) error{
		"routes":        func(b *bytes.Buffer) error { return report.Routes(b, list, now()) },
		"routes-empty":  func(b *bytes.Buffer) error { return report.Routes(b, ruche.RouteList{}, now()) },
		"explain-route": func(b *bytes.Buffer) error { return report.Explanation(b, explainRoute(&shopStatus), now()) },
		"explain-none":  func(b *bytes.Buffer) error { return report.Explanation(b, explainNone(list), now()) },
	}
	list.Replica = &ruche.ReplicaStatus{Follows: "192.0.2.1:8901", Heard: now()} // nothing to tell
	cases["routes-alone"] = func(b *bytes.Buffer) error {
		alone := ruche.RouteList{Routes: list.Routes[1:2], Replica: &ruche.ReplicaStatus{FollowsSince: now().Add(-time.Hour), Heard: now().Add(-90 * time.Minute)}}
		return report.Routes(b, alone, now())
	}
	cases["routes-nothing"] = func(b *bytes.Buffer) error {
		return report.Routes(b, ruche.RouteList{Replica: &ruche.ReplicaStatus{}}, now())
	}
	cases["routes-elsewhere"] = func(b *bytes.Buffer) error {
		return report.Routes(b, ruche.RouteList{Elsewhere: &ruche.Elsewhere{Error: "not here", Hint: "ask there"}, Warnings: list.Warnings}, now())
	}
	cases["explain-elsewhere"] = func(b *bytes.Buffer) error {
		return report.Explanation(b, ruche.Explanation{
			URL: "https://shop.example/", Answer: "not here", Elsewhere: &ruche.Elsewhere{Error: "not here", Hint: "ask there"}, Warnings: list.Warnings,
		}, now())
	}
	cases["routes-many-warnings"] = func(b *bytes.Buffer) error {
		return report.Routes(b, ruche.RouteList{Routes: list.Routes[1:2], Warnings: slices.Concat(list.Warnings, notIssued(6))}, now())
	}
	cases["explain-warnings"] = func(b *bytes.Buffer) error {
		e := explainRoute(&shopStatus)
		e.Warnings = slices.Concat(list.Warnings, notIssued(6), []ruche.Warning{{Code: ruche.CodeCertNotRenewed, Severity: ruche.SeverityError, Subject: "shop.example-0011223344", Message: "the certificate of shop.example was due", Hint: "mend it"}})
		return report.Explanation(b, e, now())
	}
	cases["nodes"] = func(b *bytes.Buffer) error {
		return report.Nodes(b, ruche.NodeList{
			Nodes: []ruche.NodeInfo{
				{Name: "n1-control", Roles: []string{"control"}, Address: "192.0.2.1:8901", Status: &ruche.NodeStatus{Version: "v1", Seen: now()}},
				{Name: "n1-edge", Roles: []string{"edge"}, Status: &ruche.NodeStatus{
					Version: "v1", Follows: "192.0.2.1:8901", Seen: now().Add(-10 * time.Second), Warnings: list.Warnings,
				}},
				{Name: "n2", Roles: []string{"agent"}, Status: &ruche.NodeStatus{Version: "v1", Seen: now().Add(-3 * time.Hour)}},
				{Name: "n2-edge", Roles: []string{"edge"}, Status: &ruche.NodeStatus{Version: "v1", FollowsSince: now().Add(-time.Minute), Seen: now()}},
				{Name: "n3", Roles: []string{"agent"}},
			},
			Refused: map[string]uint64{"forged": 2, "token": 1},
		}, now())
	}
	cases["tokens-none"] = func(b *bytes.Buffer) error { return report.Tokens(b, ruche.TokenList{}, now()) }
	cases["tokens"] = func(b *bytes.Buffer) error {
		day := 24 * time.Hour
		return report.Tokens(b, ruche.TokenList{Tokens: []ruche.TokenInfo{
			{ID: "0a1b2c3d", Roles: []string{"agent", "edge"}, Uses: -1, Used: true, Created: now().Add(-90 * day)},
			{ID: "77e01f00", Roles: []string{"control"}, Uses: 0, Used: true, Created: now().Add(-2 * day), Expires: now().Add(-day)},
			{ID: "f00dfeed", Roles: []string{"edge"}, Uses: 3, Created: now(), Expires: now().Add(day)},
		}}, now())
	}
	cases["import"] = func(b *bytes.Buffer) error {
		day := 24 * time.Hour
		return report.Import(b, ruche.ImportResult{
			Certificates: []ruche.ImportedItem{
				{Names: []string{"shop.example", "a.example", "b.example", "c.example"}, NotAfter: now().Add(60 * day), Directory: ruche.LetsEncrypt, Guessed: true, Source: "/etc/nginx/certs/shop.example/cert.pem", Outcome: ruche.ImportDone},
				{Names: []string{"old.example"}, NotAfter: now().Add(9 * day), Source: "/x/old.crt", Outcome: ruche.ImportOlder},
				{Names: []string{"bad.example"}, NotAfter: now().Add(9 * day), Source: "/x/bad.crt", Outcome: ruche.ImportRefused, Reason: "the key is not that of the certificate"},
			},
			Accounts: []ruche.ImportedItem{
				{Names: []string{"ops@example.org"}, Directory: ruche.LetsEncrypt, Source: "/etc/acme.sh/x", Outcome: ruche.ImportSame},
				{Directory: ruche.LetsEncrypt, Source: "/etc/acme.sh/y", Outcome: ruche.ImportOlder},
			},
			Problems: []ruche.ImportProblem{
				{Place: "/x/gone.crt", Message: "the certificate of gone.example has ended on 2026-11-01", Hint: "nothing is to be done", Skipped: true},
				{Place: "/x/short.crt", Message: "the chain is incomplete"},
			},
		}, now())
	}
	seals := ruche.SealStatus{Node: "c1", Keys: []string{"1a2b3c4d", "5e6f7a8b"}, Values: []ruche.SealCount{
		{Bucket: "authority", Key: "1a2b3c4d", Opens: true, Stale: true, Count: 1}, {Bucket: "certificates", Key: "1a2b3c4d", Opens: true, Count: 40},
		{Bucket: "certificates", Key: "5e6f7a8b", Opens: true, Stale: true, Count: 2},
	}}
	cases["check"] = func(b *bytes.Buffer) error {
		return report.CertificateCheck(b, ruche.CertificateCheck{
			Target: ruche.CheckTarget{Host: "shop.example", ServerName: "shop.example"}, Address: "192.0.2.1:443",
			Findings: []ruche.Finding{
				{Check: "chain", Level: ruche.LevelOK, Message: "2 certificates are sent, in order"},
				{Check: "validity", Level: ruche.LevelWarning, Message: "the certificate ends soon", Hint: "have it renewed"},
			},
			Chain: []ruche.CheckedCertificate{
				{Names: []string{"shop.example"}, Issuer: "CN=R11", NotBefore: now(), NotAfter: now().Add(10 * 24 * time.Hour), Key: "ECDSA P-256", Signature: "SHA256-RSA", Serial: "1a", Fingerprint: "f00d"},
				{Subject: "CN=R11", NotAfter: now().Add(1000 * 24 * time.Hour)},
			},
			TLS: &ruche.CheckedTLS{Versions: []string{"TLS 1.2", "TLS 1.3"}, Version: "TLS 1.3", KeyExchange: "X25519MLKEM768", Cipher: "TLS_AES_128_GCM_SHA256", ALPN: "h2"},
		}, now())
	}
	cases["check-nothing"] = func(b *bytes.Buffer) error {
		return report.CertificateCheck(b, ruche.CertificateCheck{
			Target: ruche.CheckTarget{ServerName: "shop.example"}, Findings: []ruche.Finding{{Check: "connection", Level: ruche.LevelError, Message: "no connection", Hint: "look"}},
		}, now())
	}
	cases["seals"] = func(b *bytes.Buffer) error { return report.Seals(b, seals) }
	cases["seals-lacking"] = func(b *bytes.Buffer) error {
		lacking := seals
		lacking.Lacking = []string{"c2", "c3"}
		return report.Seals(b, lacking)
	}
	cases["seals-clear"] = func(b *bytes.Buffer) error {
		return report.Seals(b, ruche.SealStatus{Node: "c1", Keys: []string{"1a2b3c4d"}, Values: []ruche.SealCount{{Bucket: "certspecs", Opens: true, Stale: true, Count: 2}}})
	}
	cases["ech"] = func(b *bytes.Buffer) error {
		record := func(name string, p ruche.ECHPublished) ruche.ECHRecord {
			return ruche.ECHRecord{Name: name, Record: name + `. HTTPS 1 . alpn="h2,http/1.1" ech="AEX+DQ=="`, Published: p, Problem: "cannot look up HTTPS of " + name}
		}
		return report.ECH(b, ruche.ECHStatus{PublicName: "ech.example", Rotated: now().Add(-72 * time.Hour), Next: now().Add(27 * 24 * time.Hour), Records: []ruche.ECHRecord{
			record("a.example", ruche.ECHCurrent), record("b.example", ruche.ECHOutdated), record("c.example", ruche.ECHForeign),
			record("d.example", ruche.ECHMissing), record("e.example", ruche.ECHUnknown),
		}}, now())
	}
	cases["ech-off"] = func(b *bytes.Buffer) error { return report.ECH(b, ruche.ECHStatus{}, now()) }
	cases["seals-unopened"] = func(b *bytes.Buffer) error {
		return report.Seals(b, ruche.SealStatus{Node: "c1", Keys: []string{"1a2b3c4d"}, Values: []ruche.SealCount{{Bucket: "accounts", Stale: true, Count: 1}}, Unopened: []string{`accounts "f00d"`}})
	}
	cases["seals-done"] = func(b *bytes.Buffer) error {
		return report.Seals(b, ruche.SealStatus{Node: "c1", Keys: seals.Keys, Values: seals.Values[1:2]})
	}
	cases["import-none"] = func(b *bytes.Buffer) error { return report.Import(b, ruche.ImportResult{}, now()) }
	cases["state"] = func(b *bytes.Buffer) error {
		return report.State(b, ruche.StateStatus{
			Node: "node-1", Quorum: true, QuorumSince: now().Add(-3 * time.Hour), Revision: 4711, Size: 20 << 20,
			Members: []ruche.Member{
				{ID: "8e9e05c52164694d", Name: "node-1", Peer: "https://192.0.2.1:8902", Healthy: true, Leader: true},
				{ID: "1f", Name: "node-3", Peer: "https://192.0.2.3:8902"},
				{ID: "2a", Name: "node-2", Peer: "https://192.0.2.2:8902", Healthy: true},
				{ID: "3b", Peer: "https://192.0.2.4:8902", Learner: true},
			},
			Refused: map[string]int64{"plain-text": 12, "forged": 1},
		}, now())
	}
	cases["state-lost"] = func(b *bytes.Buffer) error {
		return report.State(b, ruche.StateStatus{
			Node: "node-1", QuorumSince: now().Add(-time.Minute), Revision: 3, Members: []ruche.Member{{ID: "1", Name: "node-1"}, {ID: "2", Name: "node-2", Learner: true, Healthy: true}},
		}, now())
	}
	cases["doctor"] = func(b *bytes.Buffer) error {
		return report.Checkup(b, ruche.Checkup{Node: "n1-control", Findings: []ruche.Finding{
			{Check: "swarm-quorum", Level: ruche.LevelWarning, Message: "2 of 3 managers are up: none of these may be lost", Hint: "bring the others up"},
			{Check: "swarm-quorum", Level: ruche.LevelError, Subject: "n3", Message: "the manager cannot be reached by the others", Hint: "start its Engine"},
			{Check: "clock", Level: ruche.LevelOK, Message: "the clocks of 7 nodes differ by less than a second"},
			{Check: "single-points", Level: ruche.LevelNote, Message: "published services with one task: blog, shop", Hint: "docker service scale NAME=2"},
			{Check: "single-points", Level: ruche.LevelNote, Subject: "db\x1b[2J", Message: "it may run on one node only", Hint: "think"},
		}})
	}
	cases["doctor-fine"] = func(b *bytes.Buffer) error {
		return report.Checkup(b, ruche.Checkup{Node: "n1", Findings: []ruche.Finding{{Check: "ports", Level: ruche.LevelOK, Message: "9 ports on 3 nodes answered"}}})
	}
	certificates := inventory()
	cases["certs"] = func(b *bytes.Buffer) error { return report.Certificates(b, certificates, now()) }
	cases["certs-none"] = func(b *bytes.Buffer) error { return report.Certificates(b, ruche.CertificateList{}, now()) }
	cases["certs-names"] = func(b *bytes.Buffer) error { return report.CertificateNames(b, certificates, now()) }
	cases["certs-show"] = func(b *bytes.Buffer) error { return report.CertificateDetails(b, certificates.Certificates, now()) }
	cases["certs-tasks"] = func(b *bytes.Buffer) error {
		return report.CertificateTasks(b, []ruche.CertificateTask{
			{ID: "shop.example-0011223344", Names: []string{"shop.example", "www.shop.example", "m.shop.example"}},
			{ID: "blog.example-5566778899", Names: []string{"blog.example"}, At: now().Add(time.Hour)},
			{ID: "old.example-5566778899", Names: []string{"old.example"}, Error: "it was imported by hand, and no issuer is known for it"},
		}, "renewed", now())
	}
	cases["certs-tasks-none"] = func(b *bytes.Buffer) error {
		return report.CertificateTasks(b, []ruche.CertificateTask{{ID: "old.example-5566778899", Names: []string{"old.example"}, Error: "nobody wants it any more"}}, "renewed", now())
	}
	for name, write := range cases {
		t.Run(name, func(t *testing.T) { isGolden(t, name, write) })
	}
}

// notIssued are warnings of many names.
func notIssued(n int) (list []ruche.Warning) {
	for i := range n {
		name := fmt.Sprintf("n%d.example", i)
		list = append(list, ruche.Warning{Code: ruche.CodeCertNotIssued, Severity: ruche.SeverityWarning, Subject: name + "-0011223344", Message: "there is no certificate for " + name, Hint: "mend what the message says"})
	}
	return list
}

// isGolden holds what is written against the file of that name.
func isGolden(t *testing.T, name string, write func(*bytes.Buffer) error) {
	t.Helper()
	var got bytes.Buffer
	if err := write(&got); err != nil {
		t.Fatal(err)
	}
	golden := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(golden, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got.String() != string(want) {
		t.Errorf("%s differs (go test ./internal/report -update rewrites it); got:\n%s", golden, got.String())
	}
}

func TestControlCharactersDoNotReachTheTerminal(t *testing.T) {
	var got bytes.Buffer
	list := ruche.RouteList{
		Routes:      []ruche.RouteStatus{{Match: ruche.Match{Host: "a\x1b[2J.example\t", Path: "/"}}},
		Diagnostics: []ruche.Diagnostic{{Message: "bad\x1b]0;title\x07\n"}},
	}
	if err := report.Routes(&got, list, now()); err != nil {
		t.Fatal(err)
	}
	if bytes.ContainsAny(got.Bytes(), "\x1b\x07\t") {
		t.Errorf("control characters were written: %q", got.String())
	}
}

func explainRoute(shop *ruche.RouteStatus) ruche.Explanation {
	return ruche.Explanation{
		URL: "https://shop.example/cart", Answer: "forwarded to 1 of 2 endpoints",
		Reasons: []string{`host "shop.example" is declared`, `path "/" is the longest prefix that matches`}, Route: shop,
		Certificate: ruche.CertificateStatus{Kind: ruche.CertificateFile, NotAfter: now().Add(62 * 24 * time.Hour), Reason: "/etc/nginx/certs/shop.example.crt is the host's own"},
	}
}

func explainNone(list ruche.RouteList) ruche.Explanation {
	return ruche.Explanation{
		URL: "http://shpo.example/", Answer: "503: no route has this host", Status: 503,
		Candidates:  []ruche.Candidate{{RouteID: "nginx-proxy:shop.example/", Host: "shop.example", Path: "/", Why: "its name is 2 letters away"}},
		Certificate: ruche.CertificateStatus{Kind: ruche.CertificateNone, Reason: "no route has this host and there is no default.crt"},
		Diagnostics: list.Diagnostics, Warnings: list.Warnings,
	}
}
