package config

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Short names for the table of settings.
type (
	slogLevel = slog.Level
	prefixes  = []netip.Prefix
	duration  = time.Duration
)

// Off is the value of an address or log that is not wanted.
const Off = "off"

func listenAddr(s string) (string, error) {
	if s == Off {
		return s, nil
	}
	if s == "" {
		return "", errors.New(`the address is empty: write "off" to open none`)
	}
	return addr(s)
}

// addr checks host:port; the host may be missing.
func addr(s string) (string, error) {
	if _, err := strconv.Atoi(s); err == nil {
		return "", fmt.Errorf("%q is not an address: write %q", s, ":"+s)
	}
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return "", fmt.Errorf(`%q is not an address: expected host:port, such as ":80" or "127.0.0.1:80" or "[::1]:80"`, s)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return "", fmt.Errorf("%q is not an address: the port %q is not a number from 0 to 65535", s, port)
	}
	if strings.ContainsAny(host, " /@") {
		return "", fmt.Errorf("%q is not an address: the host %q is neither an IP address nor a name", s, host)
	}
	return s, nil
}

func path(s string) (string, error) {
	switch {
	case s == "":
		return "", errors.New("the path is empty")
	case strings.ContainsRune(s, 0):
		return "", errors.New("the path contains a zero byte")
	}
	return s, nil
}

func dockerHost(s string) (string, error) {
	if strings.HasPrefix(s, "/") {
		return "", fmt.Errorf("%q is not an Engine's address: write %q", s, "unix://"+s)
	}
	scheme, rest, _ := strings.Cut(s, "://")
	if s != "" && (rest == "" || scheme != "unix" && scheme != "tcp") {
		return "", fmt.Errorf("%q is not an Engine's address: expected unix:///path or tcp://host:port", s)
	}
	return s, nil
}

func boolean(s string) (bool, error) {
	if s != "true" && s != "false" {
		return false, fmt.Errorf("expected true or false, found %q", s)
	}
	return s == "true", nil
}

func onOff(s string) (bool, error) {
	if s != "on" && s != Off {
		return false, fmt.Errorf("expected on or off, found %q", s)
	}
	return s == "on", nil
}

func tlsVersion(s string) (uint16, error) {
	name, err := oneOf("1.2", "1.3")(s)
	if name == "1.3" {
		return tls.VersionTLS13, err
	}
	return tls.VersionTLS12, err
}

func nodeName(s string) (string, error) {
	if s != "" && !regexp.MustCompile(`^[A-Za-z0-9._-]{1,253}$`).MatchString(s) {
		return "", fmt.Errorf("%q is not a node's name: use letters, digits, dots, dashes and underscores", s)
	}
	return s, nil
}

func logLevel(s string) (slog.Level, error) {
	name, err := oneOf("debug", "info", "warn", "error")(s)
	if err != nil {
		return 0, err
	}
	var l slog.Level
	err = l.UnmarshalText([]byte(name))
	return l, err
}

func oneOf(known ...string) func(string) (string, error) {
	return func(s string) (string, error) {
		if !slices.Contains(known, s) {
			last := len(known) - 1
			return "", fmt.Errorf("expected %s or %s, found %q", strings.Join(known[:last], ", "), known[last], s)
		}
		return s, nil
	}
}

func accessLog(s string) (string, error) {
	if s != AccessLogStdout && s != Off && !strings.Contains(s, "/") {
		return "", fmt.Errorf(`expected stdout, off or the path of a file, found %q: write %q for a file of that name`, s, "./"+s)
	}
	return path(s)
}

func errorStatus(s string) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < 400 || n > 599 {
		return 0, fmt.Errorf("expected a status code from 400 to 599, found %q", s)
	}
	return n, nil
}

// names reads a list of names.
func names(s string) ([]string, error) {
	var list []string
	for name := range strings.SplitSeq(s, ",") {
		name = strings.TrimSpace(name)
		switch {
		case name == "":
		case strings.ContainsAny(name, " \t/"):
			return nil, fmt.Errorf("%q is not a name", name)
		default:
			list = append(list, name)
		}
	}
	return list, nil
}

func networks(s string) ([]netip.Prefix, error) {
	var list []netip.Prefix
	if strings.TrimSpace(s) == "" {
		return nil, nil
	}
	for item := range strings.SplitSeq(s, ",") {
		item = strings.TrimSpace(item)
		if a, err := netip.ParseAddr(item); err == nil && a.Zone() == "" {
			list = append(list, netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen()))
			continue
		}
		p, err := netip.ParsePrefix(item)
		if err != nil {
			return nil, fmt.Errorf("%q is neither an IP address nor a network such as 10.0.0.0/8", item)
		}
		list = append(list, p.Masked())
	}
	return list, nil
}

func size(s string) (int64, error) {
	digits := strings.TrimRight(s, "kmgibKMGIB ")
	n, err := strconv.ParseInt(digits, 10, 64)
	shift, known := map[string]int{"": 0, "k": 10, "kib": 10, "m": 20, "mib": 20, "g": 30, "gib": 30}[strings.ToLower(strings.TrimSpace(s[len(digits):]))]
	if err != nil || !known || n < 0 {
		return 0, fmt.Errorf("expected a number of bytes such as 1048576, 512k, 10m or 1GiB, found %q", s)
	}
	if n > math.MaxInt64>>shift {
		return 0, fmt.Errorf("%q is too large: 0 accepts bodies of any size", s)
	}
	return n << shift, nil
}

func nonNegative(s string) (time.Duration, error) {
	if _, err := strconv.Atoi(s); err == nil && s != "0" {
		return 0, fmt.Errorf("%q has no unit: write %q for seconds", s, s+"s")
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 {
		return 0, fmt.Errorf("expected a time such as 500ms, 30s or 2m, found %q", s)
	}
	return d, nil
}

func count(s string) (int, error) {
	n, err := strconv.ParseInt(s, 10, 32)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("expected a whole number such as 1024, found %q", s)
	}
	return int(n), nil
}

func entryPoints(s string) ([]EntryPoint, error) {
	var list []EntryPoint
	if strings.TrimSpace(s) == "" {
		return nil, nil
	}
	for item := range strings.SplitSeq(s, ",") {
		name, written, found := strings.Cut(strings.TrimSpace(item), "=")
		point, err := entryPoint(name, written)
		switch {
		case !found:
			return nil, fmt.Errorf("%q is not an entry point: expected a name and an address, such as postgres=:5432", item)
		case !regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,62}$`).MatchString(name):
			return nil, fmt.Errorf("%q is not an entry point's name: use lower-case letters, digits, dashes and underscores", name)
		case slices.Contains([]string{"http", "https", "web", "websecure"}, name):
			return nil, fmt.Errorf("the entry point %q is the one of --http-addr or --https-addr: choose another name", name)
		case err != nil:
			return nil, fmt.Errorf("entry point %s: %w", name, err)
		case slices.ContainsFunc(list, func(e EntryPoint) bool { return e.Name == name }):
			return nil, fmt.Errorf("the entry point %q is named twice", name)
		}
		list = append(list, point)
	}
	return list, nil
}

// entryPoint reads host:port, host:port/tcp, host:port/udp or host:port/udp/time.
func entryPoint(name, written string) (EntryPoint, error) {
	address, protocol, _ := strings.Cut(written, "/")
	protocol, idle, timed := strings.Cut(protocol, "/")
	point := EntryPoint{Name: name, UDP: protocol == "udp"}
	var err error
	if point.Address, err = addr(address); err != nil {
		return point, err
	}
	if protocol != "udp" && protocol != "tcp" && strings.Contains(written, "/") || timed && !point.UDP {
		return point, fmt.Errorf("%q is not a protocol: write /udp behind the address, /udp/30s to have sessions end after 30 seconds of silence, or nothing for TCP",
			strings.TrimPrefix(written, address+"/"))
	}
	if timed {
		if point.Idle, err = time.ParseDuration(idle); err != nil || point.Idle <= 0 {
			return point, fmt.Errorf("%q is not a time after which a session ends: write for example 30s or 2m", idle)
		}
	}
	return point, nil
}

// MeshPort is where control nodes listen for other nodes unless somebody wants it otherwise, peerPort where for one another.
const (
	MeshPort = "8901"
	peerPort = "8902"
)

// controlAddresses gives each address a port.
func controlAddresses(s string) ([]string, error) {
	var list []string
	if strings.TrimSpace(s) == "" {
		return nil, nil
	}
	for item := range strings.SplitSeq(s, ",") {
		item = strings.TrimSpace(item)
		if _, err := hostOnly(item); err == nil && item != "" {
			item = net.JoinHostPort(strings.Trim(item, "[]"), MeshPort)
		}
		host, _, _ := net.SplitHostPort(item)
		if _, err := addr(item); err != nil || host == "" {
			return nil, fmt.Errorf("%q is not the address of a control node: expected a host, or host:port", item)
		}
		list = append(list, item)
	}
	return list, nil
}

// ipOnly checks an IP address without a port; empty stays empty.
func ipOnly(s string) (string, error) {
	ip, err := netip.ParseAddr(strings.Trim(s, "[]"))
	switch {
	case s == "":
		return "", nil
	case err != nil || ip.IsUnspecified():
		return "", fmt.Errorf("%q is not the IP address of a host: leave port and scheme away, and give no name", s)
	}
	return ip.String(), nil
}

// hostOnly checks an IP address or a name without a port.
func hostOnly(s string) (string, error) {
	if _, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil || s == "" {
		return strings.Trim(s, "[]"), nil
	}
	if strings.ContainsAny(s, ":/@ ") {
		return "", fmt.Errorf("%q is neither an IP address nor a name: leave the port and the scheme away", s)
	}
	return s, nil
}

// dnsName reads a DNS name, or nothing. One whose last label is a number would be taken for an address (RFC 9849 section 4).
func dnsName(s string) (string, error) {
	s = strings.ToLower(strings.TrimSuffix(s, "."))
	if s == "" {
		return "", nil
	}
	labels := strings.Split(s, ".")
	for _, l := range labels {
		if l == "" || len(l) > 63 || l[0] == '-' || l[len(l)-1] == '-' || strings.Trim(l, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
			return "", fmt.Errorf("%q is not a DNS name: expected one such as ech.example", s)
		}
	}
	if last := labels[len(labels)-1]; len(s) > 253 || len(labels) < 2 || strings.Trim(last, "0123456789") == "" {
		return "", fmt.Errorf("%q is not a DNS name of two labels or more: expected one such as ech.example", s)
	}
	return s, nil
}

// baseURL reads a URL that paths are put behind, and gives it without a slash at its end.
func baseURL(s string) (string, error) {
	if s == "" {
		return "", nil
	}
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return "", fmt.Errorf("%q is not a URL to put paths behind: expected one such as http://ca.example", s)
	}
	return strings.TrimRight(s, "/"), nil
}

// secureURL is baseURL for what is served by HTTPS alone.
func secureURL(s string) (string, error) {
	base, err := baseURL(s)
	if err != nil || base != "" && !strings.HasPrefix(strings.ToLower(base), "https://") {
		return "", fmt.Errorf("%q is not a URL to put paths behind that begins with https://: expected one such as https://ca.example:8443", s)
	}
	return base, nil
}

// resolvers reads a list of IP addresses of DNS servers, and gives each a port.
func resolvers(s string) ([]string, error) {
	var list []string
	for item := range strings.SplitSeq(s, ",") {
		if item = strings.TrimSpace(item); item == "" {
			continue
		}
		if a, err := netip.ParseAddr(strings.Trim(item, "[]")); err == nil {
			list = append(list, netip.AddrPortFrom(a, 53).String())
			continue
		}
		if a, err := netip.ParseAddrPort(item); err != nil || a.Port() == 0 {
			return nil, fmt.Errorf("%q is not the address of a DNS server: expected one such as 192.0.2.53, or 192.0.2.53:53", item)
		}
		list = append(list, item)
	}
	return list, nil
}

// watched reads servers of TLS; their port is 443 where none is given.
func watched(s string) ([]string, error) {
	var list []string
	for item := range strings.SplitSeq(s, ",") {
		if item = strings.TrimSpace(item); item == "" {
			continue
		}
		server := item
		if rest, ok := strings.CutPrefix(item, "https://"); ok {
			server, _, _ = strings.Cut(rest, "/")
		}
		if host, err := hostOnly(server); err == nil {
			server = net.JoinHostPort(strings.Trim(host, "[]"), "443")
		}
		host, _, _ := net.SplitHostPort(server)
		if _, err := addr(server); err != nil || host == "" || strings.ContainsAny(host, "/@ ") {
			return nil, fmt.Errorf("%q is not a server to watch: expected a host, host:port, or an https URL", item)
		}
		list = append(list, strings.ToLower(server))
	}
	return list, nil
}
