package ca_test

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"maps"
	"slices"
	"testing"
	"time"

	zx509 "github.com/zmap/zcrypto/x509"
	"github.com/zmap/zlint/v3"
	"github.com/zmap/zlint/v3/lint"

	"github.com/ruche-project/ruche/internal/ca"
)

// notOurs are the lints that do not hold for a private authority, with the reason.
func notOurs() map[string]string {
	const public = "a rule of the public web (CA/Browser Forum), to which a private authority is not bound: "
	return map[string]string{
		"e_ca_country_name_missing":                               public + "an organisation's country says nothing here",
		"e_invalid_ca_certificate_policies":                       public + "there is one policy, that of the installation, and nobody asks for it",
		"e_sub_ca_certificate_policies_missing":                   public + "as above",
		"e_sub_cert_cert_policy_empty":                            public + "as above",
		"e_sub_cert_certificate_policies_missing":                 public + "as above",
		"e_sub_cert_aia_missing":                                  public + "there is no OCSP, and servers send the whole chain",
		"w_sub_ca_aia_missing":                                    public + "as above",
		"w_sub_cert_aia_does_not_contain_issuing_ca_url":          public + "as above",
		"e_dnsname_not_valid_tld":                                 public + "names of a data centre end as they like",
		"e_ext_san_contains_reserved_ip":                          public + "addresses of a data centre are mostly private",
		"e_ext_nc_intersects_reserved_ip":                         public + "as above",
		"w_subject_common_name_included":                          public + "people and appliances look at it",
		"w_ext_subject_key_identifier_not_recommended_subscriber": public + "RFC 5280 section 4.2.1.2 recommends it",
	}
}

func TestZLint(t *testing.T) {
	t.Parallel()
	for name, permit := range map[string][]string{"constrained": {"corp.example", "10.0.0.0/8"}, "networks alone": {"10.0.0.0/8"}, "free": nil} {
		r := newRig(t).begin(t, permit...)
		findings := map[string][]string{}
		check := func(what string, der []byte) {
			cert, err := zx509.ParseCertificate(der)
			if err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			note(findings, what, zlint.LintCertificate(cert))
		}
		for _, p := range r.Profiles() {
			keys := []crypto.PublicKey{newKey(t).Public()}
			if p.Name == "server" {
				key, err := rsa.GenerateKey(rand.Reader, 2048)
				if err != nil {
					t.Fatal(err)
				}
				keys = append(keys, key.Public())
			}
			for _, key := range keys {
				req := request(t, p.Name)
				req.PublicKey = key
				if name == "networks alone" && p.Authority != "docker" {
					req.Names = []string{"10.1.2.3"}
				}
				issued, err := r.Issue(t.Context(), req)
				if err != nil {
					if name == "networks alone" {
						continue // a client has no address
					}
					t.Fatal(err)
				}
				check("leaf "+p.Name, issued.Chain[0])
				check("intermediate", issued.Chain[1])
				if err := r.Revoke(t.Context(), issued.Serial, 1, ""); err != nil {
					t.Fatal(err)
				}
				list, err := zx509.ParseRevocationList(r.crl(t, entry(t, r, issued.Serial).Issuer).Raw)
				if err != nil {
					t.Fatal(err)
				}
				note(findings, "CRL", zlint.LintRevocationList(list))
			}
		}
		roots, err := r.Roots(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		check("root", roots[0].Raw)
		for _, years := range []int{8, 1} { // the next root is made, and signs
			r.clock.add(time.Duration(years)*365*day + 2*day)
			r.upkeep(t)
		}
		if name != "networks alone" {
			chain := r.issue(t, "short").Chain
			if len(chain) != 3 {
				t.Fatalf("%s: a chain under the next root has %d certificates", name, len(chain))
			}
			check("cross certificate", chain[2])
		}
		for _, lintName := range slices.Sorted(maps.Keys(findings)) {
			t.Errorf("%s: %s: %v", name, lintName, findings[lintName])
		}
	}
}

func entry(t *testing.T, r *rig, serial string) ca.Entry {
	t.Helper()
	e, err := r.Lookup(t.Context(), serial)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func note(findings map[string][]string, what string, set *zlint.ResultSet) {
	for name, result := range set.Results {
		if result.Status <= lint.Notice { // passed, or not about it
			continue
		}
		if _, excused := notOurs()[name]; !excused && !slices.Contains(findings[name], what) {
			findings[name] = append(findings[name], what)
		}
	}
}
