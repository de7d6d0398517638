package config

// DNSSettings reads the settings of a DNS provider.
func DNSSettings(data []byte) (map[string]string, error) { return dnsSettings("f", data) }
