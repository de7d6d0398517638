package config

import (
	"slices"
	"strings"

	"github.com/ruche-project/ruche"
)

// Setting is one setting as people know it.
type Setting struct {
	// Name is the flag's name without dashes in front, and the key in the configuration file.
	Name string
	// Default is the value when nobody gives one, as it would be written.
	Default string
	// Help says in a sentence what it is for, and which values there are.
	Help string
	// Bool tells that the flag alone means true.
	Bool bool
	// Roles are those for which it means something. A node without them checks it and leaves it alone, so that all nodes can share one file.
	Roles Role
	// Apart tells that it means something only where the roles are on several nodes.
	Apart bool

	set func(*Config, string) error
}

// Env is the environment variable of the setting.
func (s Setting) Env() string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(s.Name, "-", "_"))
}

const (
	envPrefix = "RUCHE_"
	// fileSetting is the one that says where the others are; it cannot stand in the file itself.
	fileSetting = "config"
)

// Settings is the table of all settings, in the order in which people should meet them.
func Settings() []Setting {
	return slices.Concat(reachSettings(), issuerSettings(), nodeSettings(), authoritySettings(), loadSettings())
}

// reachSettings are about what is served, and where that is found.
func reachSettings() []Setting {
	return []Setting{
		{Name: fileSetting, Roles: every, Help: "The YAML file with settings; its keys are the names of this table.",
			set: func(*Config, string) error { return nil }},
		{Name: "http-addr", Roles: Edge, Default: ":80", Help: "The address to serve HTTP on, as host:port; `off` serves none.",
			set: into(func(c *Config) *string { return &c.HTTPAddr }, listenAddr)},
		{Name: "https-addr", Roles: Edge, Default: ":443", Help: "The address to serve HTTPS on, as host:port; `off` serves none.",
			set: into(func(c *Config) *string { return &c.HTTPSAddr }, listenAddr)},
		{Name: "http3", Roles: Edge, Default: Off, Help: "Whether to serve HTTP/3 too, on the UDP port of `https-addr`: `on` or `off`. From outside of a container the port must be published for UDP as well (`443:443/udp`).",
			set: into(func(c *Config) *bool { return &c.HTTP3 }, onOff)},
		{Name: "tls-min-version", Roles: Edge, Default: "1.2", Help: "The oldest version of TLS that clients may speak: `1.2` or `1.3`. A route can ask for a newer one, not for an older.",
			set: into(func(c *Config) *uint16 { return &c.MinTLS }, tlsVersion)},
		{Name: "ech-public-name", Roles: Control, Help: "The name that clients ask for openly where they hide the site's name (Encrypted Client Hello), such as `ech.example`; it must lead to the edges, and gets a certificate. Empty: off. `ruche certs ech` prints the DNS records to publish.",
			set: into(func(c *Config) *string { return &c.ECHPublicName }, dnsName)},
		{Name: "entry-points", Roles: Edge, Help: "The listeners of TCP and UDP routes, by the names that routes call them, such as `postgres=:5432,dns=10.0.0.1:53/udp`; `vpn=:51820/udp/2m` ends sessions after 2 minutes of silence instead of 3 seconds.",
			set: into(func(c *Config) *[]EntryPoint { return &c.EntryPoints }, entryPoints)},
		{Name: "admin-addr", Roles: every, Default: "127.0.0.1:8900", Help: "The address of health checks, metrics and the API that the other commands ask, as host:port; whoever reaches it sees all routes.",
			set: into(func(c *Config) *string { return &c.AdminAddr }, addr)},
		{Name: "data-dir", Roles: every, Default: "/var/lib/ruche", Help: "The directory of the state that must outlive a restart; one process uses it at a time.",
			set: into(func(c *Config) *string { return &c.DataDir }, path)},
		{Name: "certs-dir", Roles: Edge, Default: "/etc/nginx/certs", Help: "The directory with certificates, named after hosts: `shop.example.crt` and `shop.example.key`.",
			set: into(func(c *Config) *string { return &c.CertsDir }, path)},
		{Name: "routes-dir", Roles: Agent, Default: "/etc/ruche/routes.d", Help: "The directory with route files, `*.yaml` and `*.yml`.",
			set: into(func(c *Config) *string { return &c.RoutesDir }, path)},
		{Name: "docker-host", Roles: Control | Agent, Help: "The Docker Engine to ask, as unix:///path or tcp://host:port; empty takes `DOCKER_HOST`, then /var/run/docker.sock, then /tmp/docker.sock.",
			set: into(func(c *Config) *string { return &c.DockerHost }, dockerHost)},
		{Name: "no-docker", Roles: Control | Agent, Default: "false", Bool: true, Help: "Whether to ask no Docker Engine and to serve route files only: true or false.",
			set: into(func(c *Config) *bool { return &c.NoDocker }, boolean)},
		{Name: "edge-networks", Roles: Control, Help: "The networks of a Swarm through which services are reached, by name or ID, as a list with commas; by default those of the service with the label `ruche.role=edge`, else those of Ruche's own container.",
			set: into(func(c *Config) *[]string { return &c.EdgeNetworks }, names)},
	}
}

// issuerSettings describe the CA that certificates are ordered from.
func issuerSettings() []Setting {
	return []Setting{
		{Name: "acme-email", Roles: Control, Help: "The e-mail address of the account at the CA that certificates are ordered from. Setting it says that you agree to the CA's terms, and has every published name that has no certificate file get one. Without it only those are ordered that somebody asks for.",
			set: byDefault(email, func(i *Issuer, v string) { i.Email = v })},
		{Name: "acme-ca", Roles: Control, Default: letsEncrypt, Help: "The CA: the URL of its ACME directory, `letsencrypt`, `letsencrypt-staging`, whose certificates are for tests, or `internal`, which is Ruche's own authority.",
			set: byDefault(directory, func(i *Issuer, v string) { i.Directory = v })},
		{Name: "acme-ca-bundle", Roles: Control, Help: "The file with the roots, in PEM, by which a private CA's own server is trusted; by default those of the system.",
			set: byDefault(filePath, func(i *Issuer, v string) { i.BundleFile = v })},
		{Name: "acme-profile", Roles: Control, Help: "The profile of the certificates, by the CA's name for it, such as `tlsserver` or `shortlived`; by default the CA chooses.",
			set: byDefault(word, func(i *Issuer, v string) { i.Profile = v })},
		{Name: "acme-key-type", Roles: Control, Default: string(ruche.KeyP256), Help: "The type of the certificates' keys: `p256`, `p384`, `rsa2048`, `rsa3072` or `rsa4096`.",
			set: byDefault(keyType, func(i *Issuer, v ruche.KeyType) { i.KeyType = v })},
		{Name: "acme-challenges", Roles: Control, Help: "How to prove to the CA that a name is ours, as a list with commas, tried in this order: `http-01`, `tls-alpn-01`, `dns-01`, `dns-persist-01`; by default the first three, `dns-01` only with `acme-dns`.",
			set: byDefault(challenges, func(i *Issuer, v []ruche.ChallengeType) { i.Challenges = v })},
		{Name: "acme-dns", Roles: Control, Help: "The DNS provider by which records are written for `dns-01`, which wildcards need, such as `rfc2136` or `cloudflare`.",
			set: byDefault(word, func(i *Issuer, v string) { i.DNS = nonZero(ruche.DNSProvider{Name: v}, v) })},
		{Name: "acme-dns-settings-file", Roles: Control, Help: "The file with the DNS provider's settings: lines of the form KEY=VALUE, or a map in YAML. Keep it in a Docker secret.",
			set: byDefault(filePath, func(i *Issuer, v string) { i.DNSSettingsFile = v })},
		{Name: "acme-eab-kid", Roles: Control, Help: "The key ID of an external account, where the CA wants one (EAB).",
			set: byDefault(word, func(i *Issuer, v string) { i.EAB = nonZero(ruche.ExternalAccount{KeyID: v}, v) })},
		{Name: "acme-eab-key-file", Roles: Control, Help: "The file with the key of the external account, in base64url as the CA hands it out. Keep it in a Docker secret.",
			set: byDefault(filePath, func(i *Issuer, v string) { i.EABKeyFile = v })},
		{Name: "acme-preferred-chain", Roles: Control, Help: "The common name of the root that the chain is to end at, where the CA offers several.",
			set: byDefault(line, func(i *Issuer, v string) { i.PreferredChain = v })},
		{Name: "watch-certificates", Roles: Control, Help: "Servers whose certificates are looked at every hour and listed with the others, as a list of host, host:port or https URLs with commas.",
			set: into(func(c *Config) *[]string { return &c.WatchCertificates }, watched)},
	}
}

// nodeSettings say which node this is, and how it finds others.
func nodeSettings() []Setting {
	return []Setting{
		{Name: "node-name", Roles: every, Help: "The name of this host in the cluster: letters, digits, dots, dashes and underscores; by default the one that the data directory was made with, else the host's.",
			set: into(func(c *Config) *string { return &c.NodeName }, nodeName)},
		{Name: "control", Roles: every, Apart: true, Help: "The addresses of control nodes to begin with, as host or host:port, as a list with commas; more are learned from them. Control nodes and agents take the managers of the Swarm by default.",
			set: into(func(c *Config) *[]string { return &c.Control }, controlAddresses)},
		{Name: "join-token-file", Roles: every, Apart: true, Default: "/run/secrets/ruche-join", Help: "The file with the join token, by which this node is let in when it starts for the first time, and under which its own keys are sealed: it has to stay.",
			set: into(func(c *Config) *string { return &c.JoinTokenFile }, path)},
		{Name: "seal-key-file", Roles: every, Default: "/run/secrets/ruche-seal", Help: "The file with the key by which private keys are sealed in the state and on the disk, as `openssl rand -base64 32` makes one; of several, one a line, the first one seals and all open. When there is no such file, one is made in the data directory; edges and agents take their join token instead.",
			set: into(func(c *Config) *string { return &c.SealKeyFile }, path)},
		{Name: "bootstrap", Roles: Control, Apart: true, Default: "false", Bool: true, Help: "Whether this control node begins a new state when it has none: true or false. Without it, it joins other control nodes, by a join token, or does not start.",
			set: into(func(c *Config) *bool { return &c.Bootstrap }, boolean)},
		{Name: "mesh-addr", Roles: Control, Apart: true, Default: ":" + MeshPort, Help: "The address at which edges and agents are served, as host:port.",
			set: into(func(c *Config) *string { return &c.MeshAddr }, addr)},
		{Name: "peer-addr", Roles: Control, Apart: true, Default: ":" + peerPort, Help: "The port at which the other control nodes replicate the state with this one, as :port; the address is the one of `advertise-addr`.",
			set: into(func(c *Config) *string { return &c.PeerAddr }, addr)},
		{Name: "advertise-addr", Roles: Control, Apart: true, Help: "The IP address, without a port, at which other nodes reach this one; by default the one by which the Swarm knows it.",
			set: into(func(c *Config) *string { return &c.AdvertiseAddr }, ipOnly)},
	}
}

// authoritySettings are about the internal authority, and what it is used for.
func authoritySettings() []Setting {
	return []Setting{
		{Name: "ca-url", Roles: Control, Help: "The URL under which others reach `/ca/` of the admin address, such as `http://ca.example`; the internal authority writes it into certificates, as the place of the lists of revoked ones. Empty: they name none.",
			set: into(func(c *Config) *string { return &c.CAURL }, baseURL)},
		{Name: "ca-addr", Roles: Control, Default: Off, Help: "The address, such as `:8443`, at which other servers get certificates of the internal authority by ACME; `off` serves none. It needs `ca-acme-url`.",
			set: into(func(c *Config) *string { return &c.CAAddr }, listenAddr)},
		{Name: "ca-acme-url", Roles: Control, Help: "The URL under which ACME clients reach `ca-addr` of all control nodes, such as `https://ca.example:8443`; its host is what the server's certificate is for, and `/acme/directory` is the directory. Clients keep it: it must not change.",
			set: into(func(c *Config) *string { return &c.CAACMEURL }, secureURL)},
		{Name: "ca-require-key", Roles: Control, Default: "false", Bool: true, Help: "Whether an ACME account can be opened with an external account key alone (`ruche ca eab add`): true or false.",
			set: into(func(c *Config) *bool { return &c.CARequireKey }, boolean)},
		{Name: "ca-resolvers", Roles: Control, Help: "The DNS servers, as a list of addresses with commas, that are asked where the names of ACME orders point to; by default those of the system.",
			set: into(func(c *Config) *[]string { return &c.CAResolvers }, resolvers)},
		{Name: "docker-tls-addr", Roles: Control | Agent, Default: Off, Help: "The address, such as `:2376`, at which to serve the Docker Engine's API with mutual TLS, by certificates of the internal authority; `off` serves none.",
			set: into(func(c *Config) *string { return &c.DockerTLSAddr }, listenAddr)},
		{Name: "docker-tls-names", Roles: Control | Agent, Help: "More names and addresses by which clients reach `docker-tls-addr`, as a list with commas, beside this host's own. Those of another node are refused.",
			set: into(func(c *Config) *[]string { return &c.DockerTLSNames }, names)},
	}
}

// loadSettings are about logs, trust in proxies and bounds.
func loadSettings() []Setting {
	return []Setting{
		{Name: "log-level", Roles: every, Default: "info", Help: "The least important messages to log: `debug`, `info`, `warn` or `error`.",
			set: into(func(c *Config) *slogLevel { return &c.LogLevel }, logLevel)},
		{Name: "log-format", Roles: every, Default: LogText, Help: "How to write log messages: `text` or `json`.",
			set: into(func(c *Config) *string { return &c.LogFormat }, oneOf(LogText, LogJSON))},
		{Name: "access-log", Roles: Edge, Default: AccessLogStdout, Help: "Where to write one JSON line for each request: `stdout`, `off`, or the path of a file.",
			set: into(func(c *Config) *string { return &c.AccessLog }, accessLog)},
		{Name: "unknown-host-status", Roles: Edge, Default: "503", Help: "The status code for a host that no route serves, from 400 to 599.",
			set: into(func(c *Config) *int { return &c.UnknownHostStatus }, errorStatus)},
		{Name: "trusted-proxies", Roles: Edge, Help: "The addresses and networks of the proxies in front, whose `X-Forwarded-*` headers are believed, as a list with commas; by default nobody is believed.",
			set: into(func(c *Config) *prefixes { return &c.TrustedProxies }, networks)},
		{Name: "proxy-protocol", Roles: Edge, Help: "The addresses and networks of the load balancers that begin each connection with a PROXY header (version 1 or 2), as a list with commas; from them nothing else is taken, from others no such header.",
			set: into(func(c *Config) *prefixes { return &c.ProxyProtocol }, networks)},
		{Name: "max-connections", Roles: Edge, Default: "0", Help: "How many connections all clients may have together; 0 takes 45 % of the files that the process may open. Beyond it those that idle longest are closed, then new ones are refused.",
			set: into(func(c *Config) *int { return &c.MaxConnections }, count)},
		{Name: "max-connections-per-address", Roles: Edge, Default: "1024", Help: "How many connections one client may have: an IPv4 address, or an IPv6 network of 64 bits; 0 sets no bound. Proxies that are named above, and clients on this host, have none.",
			set: into(func(c *Config) *int { return &c.MaxConnectionsPerAddress }, count)},
		{Name: "max-body-size", Roles: Edge, Default: "0", Help: "The largest request body to accept, in bytes or with k, m, g (1024 each step), KiB, MiB, GiB; 0 accepts any.",
			set: into(func(c *Config) *int64 { return &c.MaxBodyBytes }, size)},
		{Name: "hold", Roles: Edge, Default: "5s", Help: "How long a request waits for an endpoint while those of its route are being replaced, such as 500ms or 5s; 0 answers at once.",
			set: into(func(c *Config) *duration { return &c.Hold }, nonNegative)},
		{Name: "drain-timeout", Roles: every, Default: "30s", Help: "How long to let running requests finish when Ruche stops, such as 500ms, 30s or 2m, those of `docker-tls-addr` too; WebSockets end 2 s after the last other request, and after an upgrade with this time.",
			set: into(func(c *Config) *duration { return &c.DrainTimeout }, nonNegative)},
	}
}

// into joins a parser with the field that takes what it gives.
func into[T any](field func(*Config) *T, parse func(string) (T, error)) func(*Config, string) error {
	return func(c *Config, s string) error {
		v, err := parse(s)
		if err == nil {
			*field(c) = v
		}
		return err
	}
}

// For reports whether the verb that starts nodes of the roles has the setting as a flag.
func (s Setting) For(roles Role) bool {
	return s.Roles&roles != 0 && !(s.Apart && roles == All)
}

// verbs lists the commands that have the setting.
func (s Setting) verbs() string {
	var list []string
	for _, r := range []Role{All, Control, Edge, Agent} {
		if s.For(r) {
			list = append(list, "`"+r.Verb()+"`")
		}
	}
	if len(list) == 4 {
		return "all"
	}
	return strings.Join(list, ", ")
}

// Reference is the table of all settings in Markdown, for docs/config.md.
func Reference() string {
	var b strings.Builder
	b.WriteString("| flag and key | environment | for | default | meaning |\n|---|---|---|---|---|\n")
	for _, s := range Settings() {
		def := "(empty)"
		if s.Default != "" {
			def = "`" + s.Default + "`"
		}
		b.WriteString("| `--" + s.Name + "` | `" + s.Env() + "` | " + s.verbs() + " | " + def + " | " + s.Help + " |\n")
	}
	return b.String()
}
