package daemon

import (
	"strings"
	"testing"
	"time"

	"github.com/ruche-project/ruche"
)

// TestProvidersByOtherNames has DNS providers named as other programs name them, which docs/dns.md promises.
func TestProvidersByOtherNames(t *testing.T) {
	issuers := []ruche.Issuer{
		{Name: "none"},
		{Name: "lego", DNS: &ruche.DNSProvider{Name: "nsupdate", Wait: time.Second, Settings: map[string]string{"RFC2136_NAMESERVER": "ns1.shop.example", "NSUPDATE_KEY": "/run/key"}}},
		{Name: "acme.sh", DNS: &ruche.DNSProvider{Name: "dns_cf", Settings: map[string]string{"CF_Token_FILE": "/run/token", "DNS_SLEEP": "20"}}},
	}
	resolveProviders(issuers)
	if p := issuers[1].DNS; p.Name != "rfc2136" || p.Settings["server"] != "ns1.shop.example" || p.Settings["key_file"] != "/run/key" || p.Wait != time.Second {
		t.Errorf("lego's names give %+v", p)
	}
	if p := issuers[2].DNS; p.Name != "cloudflare" || p.Settings["api_token"] != "file:/run/token" || p.Wait != 20*time.Second {
		t.Errorf("acme.sh's names give %+v", p)
	}
	wrong := []ruche.Issuer{{Name: "wrong", DNS: &ruche.DNSProvider{Name: "dns_cf", Settings: map[string]string{"CF_Tokn": "a secret"}}}, issuers[1]}
	resolveProviders(wrong)
	if p := wrong[0].Problem; !strings.Contains(p, "CF_Token") || strings.Contains(p, "secret") || wrong[0].Hint == "" || wrong[1].Problem != "" {
		t.Errorf("a setting that does not exist: %q, %q; another issuer: %q", p, wrong[0].Hint, wrong[1].Problem)
	}
}
