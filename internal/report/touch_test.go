package report

import (
	"testing"

	"github.com/ruche-project/ruche"
)

func TestWarningsAboutAName(t *testing.T) {
	of := func(kind ruche.WorkloadKind, workload, source string) *ruche.RouteStatus {
		return &ruche.RouteStatus{Hosts: []string{"www.shop.example", "alias.example"}, Sources: []ruche.RouteSource{{Workload: workload, WorkloadKind: kind, Source: source}}}
	}
	container, file := of(ruche.KindContainer, "shop", "env VIRTUAL_HOST"), of(ruche.KindFile, "site.yaml", "site.yaml:3")
	acme := ruche.CertificateStatus{Kind: ruche.CertificateACME, Names: []string{"shop.example", "www.shop.example"}}
	self := ruche.CertificateStatus{Kind: ruche.CertificateSelfSigned, Names: []string{"www.shop.example"}, Reason: "/certs has no usable www.shop.example.crt, shop.example.crt or default.crt, so a self-signed certificate was made"}
	own := ruche.CertificateStatus{Kind: ruche.CertificateFile, File: "/certs/own.crt", Names: []string{"www.shop.example"}}
	internal := ruche.CertificateStatus{Kind: ruche.CertificateInternal}
	for name, tc := range map[string]struct {
		route       *ruche.RouteStatus
		certificate ruche.CertificateStatus
		warning     ruche.Warning
		about       bool
	}{
		"its certificate":                     {container, acme, ruche.Warning{Code: ruche.CodeCertNotRenewed, Subject: "shop.example-0123456789", Message: "x"}, true},
		"another certificate":                 {container, acme, ruche.Warning{Code: ruche.CodeCertNotRenewed, Subject: "blog.example-0123456789", Message: "the certificate of blog.example"}, false},
		"a name below":                        {container, acme, ruche.Warning{Code: ruche.CodeCertNotIssued, Subject: "a.www.shop.example-0123456789", Message: "for a.www.shop.example"}, false},
		"a name that begins alike":            {container, acme, ruche.Warning{Code: ruche.CodeCertNotIssued, Message: "for www.shop.example.org"}, false},
		"a name that ends alike":              {container, acme, ruche.Warning{Code: ruche.CodeCertNotIssued, Message: "for xshop.example"}, false},
		"another host of the route":           {container, self, ruche.Warning{Code: ruche.CodeCertNotIssued, Message: "there is no certificate for Alias.example: no"}, true},
		"the wildcard above":                  {container, self, ruche.Warning{Code: ruche.CodeCertNotIssued, Subject: "wildcard.shop.example-0123456789"}, true},
		"the wildcard above, in words":        {container, self, ruche.Warning{Code: ruche.CodeCertNotIssued, Message: "for *.shop.example (x)"}, true},
		"the end of a sentence":               {container, self, ruche.Warning{Code: ruche.CodeCertNotIssued, Message: "for www.shop.example. It waits"}, true},
		"who declares it":                     {container, self, ruche.Warning{Code: ruche.CodeDockerUnreachable, Subject: "container shop"}, true},
		"its line":                            {file, self, ruche.Warning{Code: ruche.CodeCertNotIssued, Message: "for c.example (site.yaml:3, route b)"}, true},
		"another route of its file":           {file, self, ruche.Warning{Code: ruche.CodeCertNotIssued, Message: "for c.example (site.yaml:31)"}, false},
		"a container of another name":         {file, self, ruche.Warning{Code: ruche.CodeIngressMesh, Subject: "container shop2"}, false},
		"the Engine, of a container":          {container, acme, ruche.Warning{Code: ruche.CodeDockerUnreachable}, true},
		"the Engine, of a file":               {file, acme, ruche.Warning{Code: ruche.CodeDockerUnreachable}, false},
		"the files, of a file":                {file, acme, ruche.Warning{Code: ruche.CodeRoutesDirUnreadable}, true},
		"the files, of a container":           {container, acme, ruche.Warning{Code: ruche.CodeRoutesDirUnreadable}, false},
		"the Engine, where there is no route": {nil, ruche.CertificateStatus{}, ruche.Warning{Code: ruche.CodeDockerUnreachable}, true},
		"a CA":                                {container, acme, ruche.Warning{Code: ruche.CodeIssuerUnreachable, Subject: "https://ca.example/"}, true},
		"a CA, of a file":                     {container, own, ruche.Warning{Code: ruche.CodeIssuerUnreachable, Subject: "https://ca.example/"}, false},
		"the authority":                       {container, internal, ruche.Warning{Code: ruche.CodeCACRLStale, Subject: "services-i1"}, true},
		"the authority, of another":           {container, acme, ruche.Warning{Code: ruche.CodeCACRLStale, Subject: "services-i1"}, false},
		"its file":                            {container, own, ruche.Warning{Code: ruche.CodeCertInvalid, Subject: "/certs/own.crt"}, true},
		"a file that it might have":           {container, self, ruche.Warning{Code: ruche.CodeCertInvalid, Subject: "/certs/shop.example.crt"}, true},
		"the first file that it might have":   {container, self, ruche.Warning{Code: ruche.CodeCertInvalid, Subject: "/certs/www.shop.example.crt"}, true},
		"default.crt":                         {container, self, ruche.Warning{Code: ruche.CodeCertInvalid, Subject: "/certs/default.crt"}, true},
		"the authorities of its clients":      {container, acme, ruche.Warning{Code: ruche.CodeCertInvalid, Subject: "/certs/www.shop.example.ca.crt"}, true},
		"another file":                        {container, self, ruche.Warning{Code: ruche.CodeCertInvalid, Subject: "/certs/p.example.crt"}, false},
		"the whole edge":                      {container, own, ruche.Warning{Code: ruche.CodeControlUnreachable, Subject: "n1"}, true},
		"the log":                             {container, own, ruche.Warning{Code: ruche.CodeAccessLogFailed}, false},
	} {
		about, others := touching(ruche.Explanation{URL: "https://www.shop.example/cart?x=y", Route: tc.route, Certificate: tc.certificate, Warnings: []ruche.Warning{tc.warning}})
		if (len(about) == 1) != tc.about || len(about)+others != 1 {
			t.Errorf("%s: %d are about it and %d others, want about it: %v", name, len(about), others, tc.about)
		}
	}
	for url, want := range map[string]string{"https://a.example/x@y": "a.example", "http://[::1]/": "::1", "tcp://db.example@postgres": "db.example", "udp://dns": "dns", "": ""} {
		if got := hostOf(url); got != want {
			t.Errorf("hostOf(%q) = %q, want %q", url, got, want)
		}
	}
}
