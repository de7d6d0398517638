package ca

import (
	"crypto/x509"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// nameKind is a set of kinds of names.
type nameKind uint8

const (
	nameDNS nameKind = 1 << iota
	nameWildcard
	nameIP
	nameEmail
	nameURI
)

func (k nameKind) String() string {
	switch k {
	case nameDNS:
		return "a DNS name"
	case nameWildcard:
		return "a wildcard"
	case nameIP:
		return "an IP address"
	case nameEmail:
		return "an e-mail address"
	}
	return "a URI"
}

const (
	maxNames   = 100
	maxName    = 253 // of a DNS name in text, RFC 1035 section 2.3.4
	maxLabel   = 63
	maxLocal   = 64  // of an e-mail address, RFC 5321 section 4.5.3.1.1
	maxURI     = 512 // longer ones make certificates that nobody reads
	maxSubject = 64  // ub-common-name, RFC 5280 appendix A.1
)

// names are the names of a certificate, by kind.
type names struct {
	dns    []string // wildcards as well
	ips    []net.IP
	emails []string
	uris   []*url.URL
	all    []string // as they are in the log
}

// parseNames reads names of the kinds that are allowed. Each is taken once, and in the order given.
func parseNames(list []string, allowed nameKind) (names, error) {
	if len(list) > maxNames {
		return names{}, fmt.Errorf("%w: %d names are too many, at most %d fit", ErrRefused, len(list), maxNames)
	}
	var n names
	for _, text := range list {
		if err := n.add(text, allowed); err != nil {
			return names{}, err
		}
	}
	return n, nil
}

func (n *names) add(text string, allowed nameKind) error {
	kind, normal, err := classify(text)
	if err != nil {
		return fmt.Errorf("%w: the name %q: %w", ErrRefused, text, err)
	}
	if allowed&kind == 0 {
		return fmt.Errorf("%w: the name %q is %s, which the profile has not", ErrRefused, text, kind)
	}
	if slices.Contains(n.all, normal) {
		return nil
	}
	n.all = append(n.all, normal)
	switch kind {
	case nameIP:
		n.ips = append(n.ips, net.ParseIP(normal))
	case nameEmail:
		n.emails = append(n.emails, normal)
	case nameURI:
		u, _ := url.Parse(normal) // which classify has done
		n.uris = append(n.uris, u)
	default:
		n.dns = append(n.dns, normal)
	}
	return nil
}

// classify tells what a name is, and gives it in its normal form.
func classify(text string) (nameKind, string, error) {
	if strings.Contains(text, "://") {
		return classifyURI(text)
	}
	if local, domain, ok := strings.Cut(text, "@"); ok {
		domain = strings.ToLower(domain)
		if !isLocalPart(local) {
			return 0, "", fmt.Errorf("the part before @ is not made of letters, digits and single dots")
		}
		return nameEmail, local + "@" + domain, checkDNS(domain)
	}
	if ip, err := netip.ParseAddr(text); err == nil {
		if ip.Zone() != "" {
			return 0, "", fmt.Errorf("an address with a zone is of one host alone")
		}
		return nameIP, ip.Unmap().String(), nil
	}
	name := strings.ToLower(strings.TrimSuffix(text, "."))
	if below, ok := strings.CutPrefix(name, "*."); ok {
		return nameWildcard, name, checkDNS(below)
	}
	return nameDNS, name, checkDNS(name)
}

func classifyURI(text string) (nameKind, string, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme == "" || u.User != nil || len(text) > maxURI || !isPrintableASCII(text) {
		return 0, "", fmt.Errorf("it is no URI with a host, of ASCII characters and at most %d of them", maxURI)
	}
	// Verifiers refuse an address there, under an issuer with constraints.
	if err := checkDNS(strings.ToLower(u.Hostname())); err != nil {
		return 0, "", fmt.Errorf("its host: %w", err)
	}
	return nameURI, u.String(), nil
}

// checkDNS says what is wrong with a name in lower case. An underscore is let through: Docker makes such names.
func checkDNS(name string) error {
	if name == "" || len(name) > maxName {
		return fmt.Errorf("it has %d characters, a DNS name has 1 to %d", len(name), maxName)
	}
	labels := strings.Split(name, ".")
	for _, label := range labels {
		switch {
		case label == "" || len(label) > maxLabel:
			return fmt.Errorf("between dots there must be 1 to %d characters", maxLabel)
		case label[0] == '-' || label[len(label)-1] == '-':
			return fmt.Errorf("%q must not begin or end with a dash", label)
		}
		for _, c := range []byte(label) {
			if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' {
				return fmt.Errorf("a DNS name has letters, digits, dashes and dots (give one of other letters as it is in the DNS: xn--...)")
			}
		}
	}
	if strings.Trim(labels[len(labels)-1], "0123456789") == "" {
		return fmt.Errorf("it ends in a number, as addresses do, and is none")
	}
	return nil
}

// isLocalPart takes the common form of what is before @ (RFC 5322 section 3.2.3, dot-atom).
func isLocalPart(s string) bool {
	if s == "" || len(s) > maxLocal || strings.HasPrefix(s, ".") || strings.HasSuffix(s, ".") || strings.Contains(s, "..") {
		return false
	}
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && !strings.ContainsRune("!#$%&'*+-/=?^_`{|}~.", rune(c)) {
			return false
		}
	}
	return true
}

func isPrintableASCII(s string) bool {
	for _, c := range []byte(s) {
		if c <= ' ' || c > '~' {
			return false
		}
	}
	return true
}

// allowedBy says which of the names an issuer's constraints do not permit (RFC 5280 section 4.2.1.10). Verify does that too; here it is said for people.
func (n names) allowedBy(issuer *x509.Certificate) error {
	refuse := func(what string) error {
		return fmt.Errorf("%w: %s is outside of what the authority may issue for (%s)", ErrRefused, what, permittedBy(issuer))
	}
	for _, d := range n.dns {
		name := strings.TrimPrefix(d, "*.")
		inside := func(domain string) bool { return isBelow(name, domain) }
		if slices.ContainsFunc(issuer.ExcludedDNSDomains, inside) || len(issuer.PermittedDNSDomains) > 0 && !slices.ContainsFunc(issuer.PermittedDNSDomains, inside) {
			return refuse(d)
		}
	}
	for _, ip := range n.ips {
		inside := func(network *net.IPNet) bool { return network.Contains(ip) }
		if slices.ContainsFunc(issuer.ExcludedIPRanges, inside) || len(issuer.PermittedIPRanges) > 0 && !slices.ContainsFunc(issuer.PermittedIPRanges, inside) {
			return refuse(ip.String())
		}
	}
	for _, e := range n.emails {
		_, host, _ := strings.Cut(e, "@")
		inside := func(domain string) bool {
			return domain == host || domain[0] == '.' && strings.HasSuffix(host, domain) || domain == e
		}
		if len(issuer.PermittedEmailAddresses) > 0 && !slices.ContainsFunc(issuer.PermittedEmailAddresses, inside) {
			return refuse(e)
		}
	}
	return nil
}

// permittedBy lists what an issuer may sign for, for people: as "ruche ca init --permit" was told it.
func permittedBy(issuer *x509.Certificate) string {
	list := slices.Clone(issuer.PermittedDNSDomains)
	for _, network := range issuer.PermittedIPRanges {
		list = append(list, network.String())
	}
	return strings.Join(list, ", ")
}

// isBelow reports whether a name is a domain or below it; everything is below the empty one.
func isBelow(name, domain string) bool {
	return domain == "" || name == domain || strings.HasSuffix(name, "."+strings.TrimPrefix(domain, "."))
}

// permission is what the certificates of an authority may be for.
type permission struct {
	domains  []string
	networks []*net.IPNet
}

// parsePermit reads domains ("corp.example": it and all below it) and networks ("10.0.0.0/8", "192.0.2.7").
func parsePermit(list []string) (permission, error) {
	var p permission
	for _, text := range list {
		if prefix, err := netip.ParsePrefix(text); err == nil {
			p.networks = append(p.networks, ipNet(prefix.Masked()))
			continue
		}
		if ip, err := netip.ParseAddr(text); err == nil && ip.Zone() == "" {
			p.networks = append(p.networks, ipNet(netip.PrefixFrom(ip.Unmap(), ip.Unmap().BitLen())))
			continue
		}
		domain := strings.ToLower(strings.TrimSuffix(text, "."))
		if err := checkDNS(domain); err != nil {
			return p, fmt.Errorf("%w: cannot permit %q: %w (give a domain such as corp.example, which stands for all names below it too, or a network such as 10.0.0.0/8)", ErrRefused, text, err)
		}
		p.domains = append(p.domains, domain)
	}
	return p, nil
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// constrain writes what is permitted into the certificate of an issuer. Of what nothing is permitted, everything is excluded: constraints bind only the kinds of names that
// they mention (RFC 5280 section 4.2.1.10).
func (p permission) constrain(template *x509.Certificate) {
	if len(p.domains) == 0 && len(p.networks) == 0 {
		return
	}
	template.PermittedDNSDomainsCritical = true
	template.PermittedDNSDomains, template.PermittedIPRanges = p.domains, p.networks
	for _, d := range p.domains {
		template.PermittedEmailAddresses = append(template.PermittedEmailAddresses, d, "."+d)
	}
	if len(p.domains) == 0 {
		template.ExcludedDNSDomains, template.ExcludedEmailAddresses = []string{""}, []string{""}
	}
	for _, every := range []string{"0.0.0.0/0", "::/0"} {
		prefix := netip.MustParsePrefix(every)
		if !slices.ContainsFunc(p.networks, func(n *net.IPNet) bool { return len(n.Mask) == prefix.Addr().BitLen()/8 }) {
			template.ExcludedIPRanges = append(template.ExcludedIPRanges, ipNet(prefix))
		}
	}
}
