package dns

import (
	"slices"
	"strings"
)

// kind is one sort of provider: what it is called, what it needs, and how it is spoken to.
type kind struct {
	name     string
	synonyms []string // of acme.sh, lego and Traefik
	fields   []field
	needs    [][]string // sets of fields; one of the sets must be there as a whole
	anyField bool       // settings that are no field are passed on
	zoneless bool       // records can be written without knowing their zone
	local    bool       // it runs something on this node
	// check looks closer at settings; those in files are not read yet the first time.
	check func(values) error
	open  func(network, values) (writer, error)
}

// field is one setting of a kind.
type field struct {
	name     string
	synonyms []string
	secret   bool
	local    bool   // it names a file of this node
	unused   bool   // other programs need it, Ruche does not
	refused  string // why it cannot be used
}

func (f field) is(key string) bool {
	return strings.EqualFold(f.name, key) || slices.ContainsFunc(f.synonyms, func(s string) bool { return strings.EqualFold(s, key) })
}

// kinds lists all providers. docs/dns.md has the same table for people; a test holds them together.
func kinds() []kind {
	return slices.Concat(ownKinds(), apiKinds(), libdnsKinds())
}

func ownKinds() []kind {
	return []kind{
		{
			name: "rfc2136", synonyms: []string{"nsupdate", "dns_nsupdate"},
			fields: []field{
				{name: "server", synonyms: []string{"RFC2136_NAMESERVER", "NSUPDATE_SERVER"}},
				{name: "port", synonyms: []string{"NSUPDATE_SERVER_PORT"}},
				{name: "key_name", synonyms: []string{"RFC2136_TSIG_KEY"}},
				{name: "key", synonyms: []string{"RFC2136_TSIG_SECRET"}, secret: true},
				{name: "key_algorithm", synonyms: []string{"RFC2136_TSIG_ALGORITHM", "key_alg"}},
				{name: "key_file", synonyms: []string{"RFC2136_TSIG_FILE", "NSUPDATE_KEY"}, local: true},
				{name: "zone", synonyms: []string{"NSUPDATE_ZONE"}},
			},
			needs: [][]string{{"server"}},
			check: checkUpdate, open: openUpdate,
		},
		{
			name: "acme-dns", synonyms: []string{"acmedns", "dns_acmedns", "joohoi"}, zoneless: true,
			fields: []field{
				{name: "server", synonyms: []string{"ACME_DNS_API_BASE", "ACMEDNS_BASE_URL", "server_url"}},
				{name: "username", synonyms: []string{"ACMEDNS_USERNAME"}},
				{name: "password", synonyms: []string{"ACMEDNS_PASSWORD"}, secret: true},
				{name: "subdomain", synonyms: []string{"ACMEDNS_SUBDOMAIN"}},
				{name: "accounts", synonyms: []string{"ACME_DNS_STORAGE_PATH"}, local: true},
			},
			needs: [][]string{{"server", "username", "password", "subdomain"}, {"accounts"}},
			check: checkAcmeDNS, open: openAcmeDNS,
		},
		{
			name: "exec", zoneless: true, local: true, anyField: true,
			fields: []field{
				{name: "program", synonyms: []string{"EXEC_PATH"}, local: true},
				{name: "timeout"},
				{name: "mode", synonyms: []string{"EXEC_MODE"}, refused: "programs are called as PROGRAM present|cleanup NAME VALUE, and not otherwise"},
			},
			needs: [][]string{{"program"}},
			check: checkExec, open: openExec,
		},
	}
}

func apiKinds() []kind {
	return []kind{
		{
			name: "hetzner", synonyms: []string{"dns_hetznercloud", "dns_hetzner", "hetznercloud"},
			fields: []field{{name: "api_token", synonyms: []string{"HETZNER_API_TOKEN", "HETZNER_TOKEN", "HETZNER_API_KEY", "auth_api_token"}, secret: true}},
			needs:  [][]string{{"api_token"}},
			open:   openHetzner,
		},
		{
			name: "gandi", synonyms: []string{"gandiv5", "dns_gandi_livedns"},
			fields: []field{
				{name: "token", synonyms: []string{"GANDIV5_PERSONAL_ACCESS_TOKEN", "GANDI_LIVEDNS_TOKEN", "bearer_token"}, secret: true},
				{name: "api_key", synonyms: []string{"GANDIV5_API_KEY", "GANDI_LIVEDNS_KEY"}, secret: true},
			},
			needs: [][]string{{"token"}, {"api_key"}},
			open:  openGandi,
		},
		{
			name: "digitalocean", synonyms: []string{"dns_dgon"},
			fields: []field{{name: "api_token", synonyms: []string{"DO_AUTH_TOKEN", "DO_API_KEY", "auth_token"}, secret: true}},
			needs:  [][]string{{"api_token"}},
			open:   openDigitalOcean,
		},
		{
			name: "ionos", synonyms: []string{"dns_ionos"},
			fields: []field{
				{name: "api_key", synonyms: []string{"IONOS_API_KEY", "auth_api_token"}, secret: true},
				{name: "prefix", synonyms: []string{"IONOS_PREFIX"}, secret: true},
				{name: "secret", synonyms: []string{"IONOS_SECRET"}, secret: true},
			},
			needs: [][]string{{"api_key"}, {"prefix", "secret"}},
			open:  openIonos,
		},
		{
			name: "porkbun", synonyms: []string{"dns_porkbun"},
			fields: []field{
				{name: "api_key", synonyms: []string{"PORKBUN_API_KEY"}, secret: true},
				{name: "secret_key", synonyms: []string{"PORKBUN_SECRET_API_KEY", "api_secret_key"}, secret: true},
			},
			needs: [][]string{{"api_key", "secret_key"}},
			open:  openPorkbun,
		},
		{
			name: "ovh", synonyms: []string{"dns_ovh"},
			fields: []field{
				{name: "endpoint", synonyms: []string{"OVH_ENDPOINT", "OVH_END_POINT"}},
				{name: "application_key", synonyms: []string{"OVH_APPLICATION_KEY", "OVH_AK"}, secret: true},
				{name: "application_secret", synonyms: []string{"OVH_APPLICATION_SECRET", "OVH_AS"}, secret: true},
				{name: "consumer_key", synonyms: []string{"OVH_CONSUMER_KEY", "OVH_CK"}, secret: true},
				{name: "client_id", synonyms: []string{"OVH_CLIENT_ID", "OVH_CLIENT_SECRET", "OVH_ACCESS_TOKEN"}, refused: "service accounts (OAuth2) are not supported; make an application key, its secret and a consumer key"},
			},
			needs: [][]string{{"application_key", "application_secret", "consumer_key"}},
			check: checkOVH, open: openOVH,
		},
	}
}

func libdnsKinds() []kind {
	const global = "the global key may change everything in the account; make an API token that may edit DNS and read zones"
	return []kind{
		{
			name: "cloudflare", synonyms: []string{"dns_cf"},
			fields: []field{
				{name: "api_token", synonyms: []string{"CLOUDFLARE_DNS_API_TOKEN", "CF_DNS_API_TOKEN", "CF_Token", "CLOUDFLARE_API_TOKEN", "CF_API_TOKEN"}, secret: true},
				{name: "zone_token", synonyms: []string{"CLOUDFLARE_ZONE_API_TOKEN", "CF_ZONE_API_TOKEN"}, secret: true},
				{name: "api_key", synonyms: []string{"CLOUDFLARE_API_KEY", "CF_API_KEY", "CF_Key"}, secret: true, refused: global},
				{name: "email", synonyms: []string{"CLOUDFLARE_EMAIL", "CF_API_EMAIL", "CF_Email"}, refused: global},
				{name: "account_id", synonyms: []string{"CF_Account_ID"}, unused: true},
				{name: "zone_id", synonyms: []string{"CF_Zone_ID"}, unused: true},
			},
			needs: [][]string{{"api_token"}},
			open:  openCloudflare,
		},
		{
			name: "desec", synonyms: []string{"dns_desec"},
			fields: []field{
				{name: "token", synonyms: []string{"DESEC_TOKEN", "DEDYN_TOKEN"}, secret: true},
				{name: "domain", synonyms: []string{"DEDYN_NAME"}, unused: true},
			},
			needs: [][]string{{"token"}},
			open:  openDesec,
		},
		{
			name: "infomaniak", synonyms: []string{"dns_infomaniak"},
			fields: []field{{name: "api_token", synonyms: []string{"INFOMANIAK_ACCESS_TOKEN", "INFOMANIAK_API_TOKEN"}, secret: true}},
			needs:  [][]string{{"api_token"}},
			open:   openInfomaniak,
		},
	}
}
