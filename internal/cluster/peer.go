package cluster

import (
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"strings"

	"go.etcd.io/etcd/client/pkg/v3/transport"
)

// PeerTLS names the files with which members on several hosts prove themselves to each other: a connection needs a certificate on both sides, in
// TLS 1.3. Certificate and key are read anew for each connection, so that renewing them needs no restart; write both with fsx.WriteFile.
type PeerTLS struct {
	CertFile string // PEM; for the address of Config.Peer, for servers and clients
	KeyFile  string // PEM
	CAFile   string // PEM; the authority of all members, read when the member is opened
	// AllowedCN is the common name that the certificate of every member has. What the same authority gave to others has another one.
	AllowedCN string
}

func (p *PeerTLS) info() transport.TLSInfo {
	if p == nil {
		return transport.TLSInfo{}
	}
	return transport.TLSInfo{
		CertFile: p.CertFile, KeyFile: p.KeyFile, TrustedCAFile: p.CAFile, ClientCertAuth: true,
		AllowedCNs: []string{p.AllowedCN}, MinVersion: tls.VersionTLS13,
		// The certificate says who it is. The address that a host with several connects from says nothing.
		SkipClientSANVerify: true,
	}
}

// memberName keeps names usable in etcd's "name=url,name=url" list.
func memberName(name string) error {
	if !regexp.MustCompile(`^[A-Za-z0-9._-]{1,253}$`).MatchString(name) {
		return fmt.Errorf("the member name %q must be letters, digits, dots, dashes and underscores", name)
	}
	return nil
}

// peerURL parses the URL at which members reach each other.
func peerURL(s string) (url.URL, error) {
	u, err := url.Parse(s)
	if err != nil {
		return url.URL{}, fmt.Errorf("peer address: %w", err)
	}
	// etcd puts a socket's name where a host and its port stand, so it must look like these.
	if u.Port() == "" || u.Path != "" || (u.Scheme != "unix" && u.Scheme != "https") {
		return url.URL{}, fmt.Errorf(`the peer address %q must have the form "https://address:port", or "unix://name:number" within one host`, s)
	}
	if u.Scheme == "https" {
		if ip, err := netip.ParseAddr(u.Hostname()); err != nil || ip.IsUnspecified() {
			return url.URL{}, fmt.Errorf("the peer address %q must name one IP address of this host: members listen on it and are called at it", s)
		}
	}
	if u.Scheme == "unix" && len(u.Host) > maxSocketPath {
		return url.URL{}, fmt.Errorf("the socket name %q has %d bytes, and the system takes at most %d: choose a shorter one", u.Host, len(u.Host), maxSocketPath)
	}
	return *u, nil
}

// ownPeer is the peer URL of a member together with what proves it.
func ownPeer(cfg Config) (url.URL, error) {
	u, err := peerURL(cfg.Peer)
	switch {
	case err != nil:
		return url.URL{}, err
	case u.Scheme != "https":
		return u, nil
	case cfg.PeerTLS == nil:
		return url.URL{}, fmt.Errorf("the peer address %q needs a certificate", cfg.Peer)
	case cfg.PeerTLS.CAFile == "" || cfg.PeerTLS.AllowedCN == "":
		return url.URL{}, errors.New("the authority of the members and their common name must be given: without them anybody could join")
	}
	return u, nil
}

// alone is the peer URL of a member that nobody else reaches.
func alone(name string) url.URL { return url.URL{Scheme: "unix", Host: name + ":0"} }

func isAlone(peer string) bool {
	return strings.HasPrefix(peer, "unix://") && strings.HasSuffix(peer, ":0")
}

// newToken gives what makes the IDs of a new cluster and its members differ from those of every other one, even with the same names: members
// of two clusters never take each other for their own.
func newToken() string { return "ruche-" + rand.Text() }
