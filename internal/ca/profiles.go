package ca

import (
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ruche-project/ruche"
)

const day = 24 * time.Hour

// Profile is a kind of certificate.
type Profile struct {
	Name string
	// Authority is the one that issues it: ruche.AuthorityServices, AuthorityClients or AuthorityDocker.
	Authority string
	Lifetime  time.Duration
	Usages    []x509.ExtKeyUsage
	// Description says in some words what it is for.
	Description string
	// names are the kinds of names that it may have.
	names nameKind
	// role is what its holder may do at the Docker Engine's API, as organizational unit.
	role string
}

// server reports whether it proves a server, which is known by its names alone.
func (p Profile) server() bool { return slices.Contains(p.Usages, x509.ExtKeyUsageServerAuth) }

// Names of profiles that Ruche itself asks for.
const (
	ProfileServer       = "server"
	ProfileDockerServer = "docker-server"
	ProfileDockerRead   = "docker-read"
	ProfileDockerFull   = "docker-full"
)

// longest is the longest lifetime of a certificate. What is left of an intermediate when the next one takes over is never less.
const longest = 45 * day

// Profiles lists the kinds of certificates.
func (a *Authority) Profiles() []Profile { return Profiles() }

// Profiles lists the kinds of certificates of all authorities.
func Profiles() []Profile {
	serverAuth, clientAuth := []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	both := []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	return []Profile{
		{ProfileServer, ruche.AuthorityServices, longest, serverAuth, "servers", nameDNS | nameWildcard | nameIP, ""},
		{"short", ruche.AuthorityServices, day, serverAuth, "servers that renew by themselves", nameDNS | nameWildcard | nameIP, ""},
		{"peer", ruche.AuthorityServices, longest, both, "servers that are clients of one another", nameDNS | nameIP, ""},
		{"client", ruche.AuthorityClients, longest, clientAuth, "people and machines, as clients", nameDNS | nameEmail | nameURI, ""},
		{ProfileDockerServer, ruche.AuthorityDocker, 7 * day, serverAuth, "the Docker Engine's API", nameDNS | nameIP, ""},
		{ProfileDockerRead, ruche.AuthorityDocker, longest, clientAuth, "who may look at the Docker Engine", nameDNS | nameEmail, ProfileDockerRead},
		{ProfileDockerFull, ruche.AuthorityDocker, longest, clientAuth, "who may do anything with the Docker Engine, as root on its host", nameDNS | nameEmail, ProfileDockerFull},
	}
}

func (a *Authority) profile(name string) (Profile, error) {
	all := a.Profiles()
	n := slices.IndexFunc(all, func(p Profile) bool { return p.Name == name })
	if n < 0 {
		known := make([]string, len(all))
		for i, p := range all {
			known[i] = p.Name
		}
		return Profile{}, fmt.Errorf("%w: there is no profile %q (there are %s)", ErrRefused, name, strings.Join(known, ", "))
	}
	return all[n], nil
}
