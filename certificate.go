package ruche

import "time"

// KeyType is the kind and size of a certificate's key.
type KeyType string

// The key types. The zero value leaves the choice to the issuer, and Ruche's own default is KeyP256.
const (
	KeyP256    KeyType = "p256"
	KeyP384    KeyType = "p384"
	KeyRSA2048 KeyType = "rsa2048"
	KeyRSA3072 KeyType = "rsa3072"
	KeyRSA4096 KeyType = "rsa4096"
)

// KeyTypes are all key types, as people write them.
func KeyTypes() []KeyType { return []KeyType{KeyP256, KeyP384, KeyRSA2048, KeyRSA3072, KeyRSA4096} }

// ChallengeType is a way to prove to a CA that a name is ours.
type ChallengeType string

// The challenge types that Ruche can answer.
const (
	ChallengeHTTP01       ChallengeType = "http-01"        // RFC 8555 section 8.3, on port 80
	ChallengeTLSALPN01    ChallengeType = "tls-alpn-01"    // RFC 8737, on port 443
	ChallengeDNS01        ChallengeType = "dns-01"         // RFC 8555 section 8.4
	ChallengeDNSPersist01 ChallengeType = "dns-persist-01" // draft-ietf-acme-dns-persist: a record that stands
)

// ChallengeTypes are all challenge types, as people write them.
func ChallengeTypes() []ChallengeType {
	return []ChallengeType{ChallengeHTTP01, ChallengeTLSALPN01, ChallengeDNS01, ChallengeDNSPersist01}
}

// IssuerInternal is the name of the issuer that is Ruche's own authority.
const IssuerInternal = "internal"

// DirectoryInternal stands for the directory of Ruche's own authority, where an issuer's is asked for: its certificates then come from there, without ACME.
const DirectoryInternal = "internal"

// IssuerDefault is the name of the issuer that the settings --acme-* describe.
const IssuerDefault = "default"

// ExternalAccount binds an ACME account to one that the CA has of its customer (RFC 8555 section 7.3.4).
type ExternalAccount struct {
	KeyID string `json:"key_id"`
	// Key is the MAC key, in base64url as CAs hand it out. It is a secret.
	Key string `json:"key"`
}

// DNSProvider says how records of a zone are written for ChallengeDNS01.
type DNSProvider struct {
	// Name is "rfc2136", "acme-dns", "exec", or that of a provider of libdns, such as "cloudflare".
	Name string `json:"name"`
	// Settings are the provider's own, by its own names. Secrets are among them.
	Settings map[string]string `json:"settings,omitempty"`
	// Wait is how long to wait until a record has spread, beyond the check that all name servers of the zone have it; 0: not at all.
	Wait time.Duration `json:"wait,omitempty"`
	// Declared tells that a workload has declared it, not the settings: it is not reached at addresses of the node that orders. It is for whoever reads a declaration to say, and written nowhere.
	Declared bool `json:"-"`
}

// Issuer is a CA that certificates are ordered from by ACME.
type Issuer struct {
	// Name is how specs call it; IssuerDefault for that of the settings.
	Name string `json:"name"`
	// Directory is the URL of the CA's directory (RFC 8555 section 7.1.1).
	Directory string `json:"directory"`
	// Bundle holds the roots, in PEM, by which the CA's own server is trusted; empty: those of the system.
	Bundle []byte           `json:"bundle,omitempty"`
	Email  string           `json:"email,omitempty"`
	EAB    *ExternalAccount `json:"eab,omitempty"`
	// Profile is the CA's name of a kind of certificate (draft-ietf-acme-profiles); empty: the CA's default.
	Profile string  `json:"profile,omitempty"`
	KeyType KeyType `json:"key_type,omitempty"`
	// PreferredChain is the common name of a root; of the chains that the CA offers the one that ends there is taken, else the first.
	PreferredChain string `json:"preferred_chain,omitempty"`
	// Challenges are tried in this order; empty: tls-alpn-01, http-01, and dns-01 where DNS is set.
	Challenges []ChallengeType `json:"challenges,omitempty"`
	DNS        *DNSProvider    `json:"dns,omitempty"`
	// Fallback is the name of the issuer to ask when this one fails again and again.
	Fallback string `json:"fallback,omitempty"`
	// Problem is why nothing can be ordered from it for now, Hint what to do; both are empty while it is in service.
	Problem string `json:"problem,omitempty"`
	Hint    string `json:"hint,omitempty"`
}

// CertificateSpec is a certificate that somebody wants: what is to be in it, and who is to issue it. Zero values leave the choice to the issuer.
type CertificateSpec struct {
	// Names are DNS names, wildcards ("*.a.example") or IP addresses, in lower case, each once; the first one names the certificate. They are all in one certificate.
	Names []string `json:"names"`
	// Source is the place of the wish, for people: "env ACME_HOST", "label traefik.http.routers.web.tls.certresolver", "site.yaml:12".
	Source string `json:"source"`
	// Issuer is the name of a configured issuer, or IssuerInternal. An unknown one, as of a Traefik resolver that nobody configured here, means the default one.
	Issuer string `json:"issuer,omitempty"`
	// Directory is the URL of another CA's directory, for which the other fields of the default issuer hold. LetsEncryptStaging asks for that of Let's Encrypt's tests.
	Directory string           `json:"directory,omitempty"`
	Email     string           `json:"email,omitempty"`
	EAB       *ExternalAccount `json:"eab,omitempty"`
	Profile   string           `json:"profile,omitempty"`
	KeyType   KeyType          `json:"key_type,omitempty"`

	PreferredChain string `json:"preferred_chain,omitempty"`
	// Challenge is the only one to use; empty: as the issuer has them.
	Challenge ChallengeType `json:"challenge,omitempty"`
	DNS       *DNSProvider  `json:"dns,omitempty"`
	// RenewAfter is when to renew after the issue, where that is sooner than the plan says; 0: by the plan.
	RenewAfter time.Duration `json:"renew_after,omitempty"`
	// ReuseKey keeps the key when the certificate is renewed.
	ReuseKey bool `json:"reuse_key,omitempty"`
	// Sealed is what of EAB and DNS.Settings is secret, as it stands in the state: there these are empty.
	Sealed []byte `json:"sealed,omitempty"`
}

// CertificateSpecs are the certificates that one workload wants explicitly. That a route wants one by itself (TLSAuto, TLSACME) is read from its declaration.
type CertificateSpecs struct {
	Workload Workload          `json:"workload"`
	Specs    []CertificateSpec `json:"specs"`
}

// Directories of Let's Encrypt.
const (
	LetsEncrypt        = "https://acme-v02.api.letsencrypt.org/directory"
	LetsEncryptStaging = "https://acme-staging-v02.api.letsencrypt.org/directory"
)
