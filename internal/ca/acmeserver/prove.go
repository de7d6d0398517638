package acmeserver

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ruche-project/ruche"
)

const (
	maxRedirects = 10
	maxAnswer    = 1 << 10 // bytes of an answer to http-01
	maxAddressed = 4       // addresses of a name that are tried
	connectTime  = 4 * time.Second
)

// Resolver answers questions about names. A *net.Resolver is one.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
	LookupTXT(ctx context.Context, name string) ([]string, error)
}

// ResolverAt gives a resolver that asks the servers at these addresses ("192.0.2.53:53") in turn, and not as the system is configured.
func ResolverAt(addresses ...string) *net.Resolver {
	var next turn
	return &net.Resolver{PreferGo: true, StrictErrors: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, addresses[next.of(len(addresses))])
	}}
}

// proof is what is looked for: the answer to a challenge.
type proof struct {
	by                         ruche.ChallengeType
	name, token, authorization string // the last one is the key authorization (RFC 8555 section 8.1)
}

// prover looks whether challenges are met. It is safe for concurrent use.
type prover struct {
	resolver          Resolver
	httpPort, tlsPort int
	loopback          bool
}

func newProver(cfg Config) prover {
	p := prover{resolver: cfg.Resolver, httpPort: cfg.HTTPPort, tlsPort: cfg.TLSPort, loopback: cfg.Loopback}
	if p.resolver == nil {
		p.resolver = net.DefaultResolver
	}
	if p.httpPort == 0 {
		p.httpPort = 80
	}
	if p.tlsPort == 0 {
		p.tlsPort = 443
	}
	return p
}

// try looks several times, since answers take their time to spread, and gives nil as soon as one was right, else what was wrong the last time.
func (p *prover) try(ctx context.Context, t timing, what proof) (last *Problem) {
	for _, wait := range t.tries {
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return problem(serverInternal, "the server was stopped")
		case <-timer.C:
		}
		attempt, stop := context.WithTimeout(ctx, t.attempt)
		last = p.once(attempt, what)
		stop()
		if last == nil {
			return nil
		}
	}
	return last
}

func (p *prover) once(ctx context.Context, what proof) *Problem {
	switch what.by {
	case ruche.ChallengeHTTP01:
		return p.http01(ctx, what)
	case ruche.ChallengeTLSALPN01:
		return p.tlsALPN01(ctx, what)
	case ruche.ChallengeDNS01:
		return p.dns01(ctx, what)
	}
	return problem(malformed, "the challenge %s is not known", what.by)
}

// dns01 looks for a TXT record (RFC 8555 section 8.4).
func (p *prover) dns01(ctx context.Context, what proof) *Problem {
	name, _ := base(what.name)
	name = "_acme-challenge." + name
	texts, err := p.resolver.LookupTXT(ctx, name+".") // with the full stop no search domain is tried
	if err != nil {
		return problem(dnsFailed, "there is no TXT record at %s: %s", name, dnsReason(err))
	}
	sum := sha256.Sum256([]byte(what.authorization))
	if want := encode(sum[:]); !slices.ContainsFunc(texts, func(t string) bool { return same(t, want) }) {
		return problem(incorrectResponse, "the %d TXT records at %s are not the one that was asked for", len(texts), name)
	}
	return nil
}

func same(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

// http01 fetches a file (RFC 8555 section 8.3). What came instead is not told to the client: it may be from where the client itself cannot look.
func (p *prover) http01(ctx context.Context, what proof) *Problem {
	host := what.name
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if p.httpPort != 80 {
		host += ":" + strconv.Itoa(p.httpPort)
	}
	where := "http://" + host + "/.well-known/acme-challenge/" + what.token
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, where, nil)
	if err != nil {
		return problem(malformed, "the URL %s cannot be asked for", where)
	}
	request.Header.Set("User-Agent", "ruche-acme-server")
	client := http.Client{CheckRedirect: p.checkRedirect, Transport: &http.Transport{
		DialContext: p.dial, TLSClientConfig: unverified(), DisableKeepAlives: true, DisableCompression: true, MaxResponseHeaderBytes: 16 << 10,
	}}
	defer client.CloseIdleConnections()
	response, err := client.Do(request)
	if err != nil {
		return because(err, "cannot fetch %s", where)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return problem(unauthorized, "%s answers with the status %d, not 200", response.Request.URL.Redacted(), response.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	if err != nil {
		return because(err, "cannot read %s", where)
	}
	if len(body) > maxAnswer || !same(string(bytes.TrimRight(body, " \t\r\n")), what.authorization) {
		return problem(unauthorized, "what %s answers is not the key authorization", response.Request.URL.Redacted())
	}
	return nil
}

// errRedirect is a redirect that is not followed.
type errRedirect string

func (e errRedirect) Error() string { return string(e) }

func (p *prover) checkRedirect(r *http.Request, via []*http.Request) error {
	if len(via) > maxRedirects {
		return errRedirect(fmt.Sprintf("it redirects more than %d times", maxRedirects))
	}
	scheme := map[string]struct{ standard, port int }{"http": {80, p.httpPort}, "https": {443, p.tlsPort}}
	s, known := scheme[r.URL.Scheme]
	port, _ := strconv.Atoi(r.URL.Port())
	if r.URL.Port() == "" {
		port = s.standard
	}
	if !known || port != s.port || r.URL.User != nil {
		return errRedirect(fmt.Sprintf("it redirects to %.100q, and followed are redirects to http on port %d and https on port %d", r.URL.Redacted(), p.httpPort, p.tlsPort))
	}
	return nil
}

// dial connects to a name where it points to, as the resolver says.
func (p *prover) dial(ctx context.Context, _, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	addresses, err := p.addresses(ctx, host)
	if err != nil {
		return nil, err
	}
	var last error
	for _, a := range addresses[:min(len(addresses), maxAddressed)] {
		d := net.Dialer{Timeout: connectTime}
		c, err := d.DialContext(ctx, "tcp", net.JoinHostPort(a.String(), port))
		if err == nil {
			return c, nil
		}
		last = err
	}
	return nil, last
}

// errAddress is that of a name that points nowhere where we look.
type errAddress string

func (e errAddress) Error() string { return string(e) }

func (p *prover) addresses(ctx context.Context, host string) ([]netip.Addr, error) {
	all := []netip.Addr{}
	if a, err := netip.ParseAddr(host); err == nil {
		all = append(all, a)
	} else if all, err = p.resolver.LookupNetIP(ctx, "ip", strings.TrimSuffix(host, ".")+"."); err != nil {
		return nil, err
	}
	good := []netip.Addr{}
	for _, a := range all {
		a = a.Unmap()
		if p.loopback || !a.IsLoopback() && !a.IsLinkLocalUnicast() && !a.IsMulticast() && !a.IsUnspecified() {
			good = append(good, a)
		}
	}
	if len(good) == 0 {
		return nil, errAddress(fmt.Sprintf("%s points to %v: loopback and link-local addresses prove nothing (is the name in /etc/hosts of this node?)", host, all))
	}
	return good, nil
}

// because makes a problem of an error of the network.
func because(err error, format string, args ...any) *Problem {
	kind, reason := connectionFailed, err
	var inURL *url.Error
	if errors.As(err, &inURL) {
		reason = inURL.Err
	}
	var dns *net.DNSError
	var address errAddress
	var redirect errRedirect
	switch {
	case errors.As(err, &dns):
		return problem(dnsFailed, "%s: %s", fmt.Sprintf(format, args...), dnsReason(err))
	case errors.As(err, &address):
		kind, reason = dnsFailed, address
	case errors.As(err, &redirect):
		kind, reason = unauthorized, redirect
	case errors.Is(err, context.DeadlineExceeded):
		reason = errors.New("it took too long")
	}
	return problem(kind, "%s: %s", fmt.Sprintf(format, args...), reason)
}

// dnsReason is what a look-up failed by, without the server's address, which is nobody's business.
func dnsReason(err error) string {
	var dns *net.DNSError
	if !errors.As(err, &dns) {
		return "the look-up failed"
	}
	if dns.IsNotFound {
		return "the name does not exist, or has no such record"
	}
	return dns.Err
}
