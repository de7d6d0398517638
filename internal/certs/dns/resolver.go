package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	wire "github.com/miekg/dns"
)

const (
	queryTimeout = 3 * time.Second
	queryRounds  = 2 // how often the list of resolvers is gone through
	udpSize      = 1232
	resolvConf   = "/etc/resolv.conf"
)

// Resolver asks the resolvers of this host, or others, for records that the standard library cannot ask for. It keeps nothing, and is safe for concurrent use.
type Resolver struct {
	servers []string // "host:port"; empty: those of the system, read anew at each question
}

// NewResolver makes a Resolver that asks servers ("192.0.2.1", "192.0.2.1:5353", "[2001:db8::1]:53") in this order; without any, those of /etc/resolv.conf.
func NewResolver(servers ...string) (*Resolver, error) {
	r := &Resolver{}
	for _, s := range servers {
		address, err := withPort(s, "53")
		if err != nil {
			return nil, fmt.Errorf("cannot use %q as a resolver: %w", s, err)
		}
		r.servers = append(r.servers, address)
	}
	return r, nil
}

// withPort gives host:port of a server that may have been named without a port.
func withPort(server, port string) (string, error) {
	server = strings.TrimSpace(server)
	if a, err := netip.ParseAddr(strings.Trim(server, "[]")); err == nil {
		return net.JoinHostPort(a.String(), port), nil
	}
	host, p, err := net.SplitHostPort(server)
	switch {
	case err != nil && strings.Contains(server, ":"), server == "":
		return "", errors.New("it is neither HOST nor HOST:PORT")
	case err != nil:
		return net.JoinHostPort(server, port), nil
	case host == "" || p == "":
		return "", errors.New("it is neither HOST nor HOST:PORT")
	}
	return server, nil
}

func (r *Resolver) addresses() ([]string, error) {
	if len(r.servers) > 0 {
		return r.servers, nil
	}
	config, err := wire.ClientConfigFromFile(resolvConf)
	if err != nil {
		return nil, fmt.Errorf("cannot read the resolvers of this host: %w", err)
	}
	var list []string
	for _, s := range config.Servers {
		list = append(list, net.JoinHostPort(s, config.Port))
	}
	if len(list) == 0 {
		return nil, errors.New("cannot find a resolver: " + resolvConf + " names none")
	}
	return list, nil
}

// lookup asks for the records of one type under a name. That there are none, or no such name, is no error.
func (r *Resolver) lookup(ctx context.Context, name string, t uint16) (*wire.Msg, error) {
	servers, err := r.addresses()
	if err != nil {
		return nil, err
	}
	var last error
	for range queryRounds {
		for _, server := range servers {
			answer, err := query(ctx, server, name, t, true)
			if err == nil && (answer.Rcode == wire.RcodeSuccess || answer.Rcode == wire.RcodeNameError) {
				return answer, nil
			}
			if err == nil {
				err = fmt.Errorf("%s answers %s", server, wire.RcodeToString[answer.Rcode])
			}
			last = err
			if end := ended(ctx); end != nil {
				return nil, fmt.Errorf("cannot look up %s of %s: %w", wire.TypeToString[t], name, end)
			}
		}
	}
	return nil, fmt.Errorf("cannot look up %s of %s: %w", wire.TypeToString[t], name, last)
}

// ended says why ctx has ended, nil when it has not. The network notices a deadline a little sooner than ctx does.
func ended(ctx context.Context) error {
	if deadline, ok := ctx.Deadline(); ok && ctx.Err() == nil && !time.Now().Before(deadline) {
		return context.DeadlineExceeded
	}
	return context.Cause(ctx)
}

// query asks one server, over TCP where the answer is too large for UDP.
func query(ctx context.Context, server, name string, t uint16, recurse bool) (*wire.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	question := new(wire.Msg)
	question.SetQuestion(wire.Fqdn(name), t)
	question.RecursionDesired = recurse
	question.SetEdns0(udpSize, false)
	answer, _, err := (&wire.Client{UDPSize: udpSize}).ExchangeContext(ctx, question, server)
	if err == nil && answer.Truncated {
		answer, _, err = (&wire.Client{Net: "tcp"}).ExchangeContext(ctx, question, server)
	}
	if err != nil {
		return nil, fmt.Errorf("%s does not answer: %w", server, err)
	}
	return answer, nil
}

// Addresses gives the A and AAAA records of a name, through CNAMEs; none are no error.
func (r *Resolver) Addresses(ctx context.Context, name string) ([]netip.Addr, error) {
	var found []netip.Addr
	for _, t := range []uint16{wire.TypeA, wire.TypeAAAA} {
		answer, err := r.lookup(ctx, name, t)
		if err != nil {
			return nil, err
		}
		for _, rr := range answer.Answer {
			var ip net.IP
			switch rr := rr.(type) {
			case *wire.A:
				ip = rr.A
			case *wire.AAAA:
				ip = rr.AAAA
			}
			if a, ok := netip.AddrFromSlice(ip); ok {
				found = append(found, a.Unmap())
			}
		}
	}
	return found, nil
}

// texts gives the values of the TXT records in an answer, each with its strings joined.
func texts(answer *wire.Msg) []string {
	var found []string
	for _, rr := range answer.Answer {
		if txt, ok := rr.(*wire.TXT); ok {
			found = append(found, strings.Join(txt.Txt, ""))
		}
	}
	return found
}

func hasText(answer *wire.Msg, value string) bool { return slices.Contains(texts(answer), value) }

// plain is a name as this package speaks of it.
func plain(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }
