package discovery

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/discovery/setting"
)

// What stands for what a health check or an ejection in a route file leaves out. The thresholds are HAProxy's.
const (
	fileInterval  = 10 * time.Second
	fileTimeout   = 5 * time.Second
	fileFailures  = 3
	fileSuccesses = 2
)

// writtenEndpoint is an endpoint of a route: its URL alone, or with a weight.
type writtenEndpoint struct {
	URL    string `yaml:"url,alone"`
	Weight *int   `yaml:"weight"`
}

type writtenSticky struct {
	Cookie   *string `yaml:"cookie"`
	Secure   bool    `yaml:"secure"`
	HTTPOnly bool    `yaml:"http_only"`
	SameSite string  `yaml:"same_site"`
	Path     *string `yaml:"path"`
	Domain   *string `yaml:"domain"`
	MaxAge   *string `yaml:"max_age"`
}

type writtenCheck struct {
	Path      *string           `yaml:"path"`
	Mode      string            `yaml:"mode"`
	Status    *int              `yaml:"status"`
	Host      *string           `yaml:"host"`
	Headers   map[string]string `yaml:"headers"`
	Scheme    *string           `yaml:"scheme"`
	Port      *uint16           `yaml:"port"`
	Interval  *string           `yaml:"interval"`
	Timeout   *string           `yaml:"timeout"`
	Failures  *int              `yaml:"failures"`
	Successes *int              `yaml:"successes"`
}

type writtenEject struct {
	Failures *int    `yaml:"failures"`
	Time     *string `yaml:"time"`
}

// complaints collects what is wrong with a route. Each names the key, since all of a route's stand at its first line.
type complaints []setting.Problem

// check reports a problem, if there is one, and tells whether there was none.
func (c *complaints) check(key string, p *setting.Problem) bool {
	if p != nil {
		*c = append(*c, setting.Problem{Message: key + ": " + p.Message, Hint: p.Hint})
	}
	return p == nil
}

func (c *complaints) add(hint, format string, args ...any) {
	*c = append(*c, setting.Problem{Message: fmt.Sprintf(format, args...), Hint: hint})
}

// readBalance reads how endpoints are chosen and spoken to, after the endpoints themselves.
func readBalance(written *writtenRoute, route *ruche.Route) []setting.Problem {
	var c complaints
	readPolicy(&c, written, route)
	readCheck(&c, written.Check, route)
	readEject(&c, written.Eject, route)
	readProtocol(&c, written, route)
	return c
}

func readPolicy(c *complaints, written *writtenRoute, route *ruche.Route) {
	sticky := written.Sticky
	switch policy := ruche.Policy(written.Policy); policy {
	case "", ruche.PolicyRoundRobin, ruche.PolicyLeastConnections, ruche.PolicyTwoChoices, ruche.PolicyClientHash:
		route.Policy = policy
	case "sticky":
		if sticky == nil {
			sticky = &writtenSticky{}
		}
	default:
		c.add("write round-robin, least-connections, two-choices, client-hash or sticky", "policy: %s is not known", quoted(written.Policy))
	}
	if sticky == nil {
		return
	}
	s := &ruche.Sticky{Secure: sticky.Secure, HTTPOnly: sticky.HTTPOnly}
	var p *setting.Problem
	s.SameSite, p = setting.SameSite(sticky.SameSite)
	c.check("sticky: same_site", p)
	s.Cookie = text(c, "sticky: cookie", sticky.Cookie, setting.CookieName)
	s.Path = text(c, "sticky: path", sticky.Path, setting.CookiePath)
	s.Domain = text(c, "sticky: domain", sticky.Domain, setting.CookieDomain)
	s.MaxAge = int(duration(c, "sticky: max_age", sticky.MaxAge, 0, time.Second, 10*365*24*time.Hour).Seconds())
	c.check("sticky", setting.Sticky(s))
	route.Sticky = s
}

// text gives a value that was written, checked; empty when it was not.
func text(c *complaints, key string, written *string, check func(string) *setting.Problem) string {
	if written == nil || !c.check(key, check(*written)) {
		return ""
	}
	return *written
}

func duration(c *complaints, key string, written *string, otherwise, least, most time.Duration) time.Duration {
	if written == nil {
		return otherwise
	}
	d, p := setting.Duration(*written, false, least, most)
	c.check(key, p)
	return d
}

func threshold(c *complaints, key string, written *int, otherwise int) int {
	if written == nil || !c.check(key, setting.Threshold("a number of results in a row", *written)) {
		return otherwise
	}
	return *written
}

func readCheck(c *complaints, written *writtenCheck, route *ruche.Route) {
	if written == nil {
		return
	}
	check := &ruche.Check{Headers: written.Headers}
	check.Interval = duration(c, "check: interval", written.Interval, fileInterval, setting.MinInterval, setting.MaxInterval)
	check.Timeout = duration(c, "check: timeout", written.Timeout, fileTimeout, setting.MinTimeout, setting.MaxTimeout)
	check.Failures = threshold(c, "check: failures", written.Failures, fileFailures)
	check.Successes = threshold(c, "check: successes", written.Successes, fileSuccesses)
	check.Path = text(c, "check: path", written.Path, setting.CheckPath)
	check.Host = text(c, "check: host", written.Host, setting.CheckHost)
	for _, name := range slices.Sorted(maps.Keys(written.Headers)) {
		c.check("check: headers", setting.Header(name, written.Headers[name]))
	}
	if written.Status != nil && c.check("check: status", setting.Status(*written.Status)) {
		check.Status = *written.Status
	}
	if written.Port != nil {
		if check.Port = *written.Port; check.Port == 0 {
			c.add("", "check: port: 0 is not from 1 to 65535")
		}
	}
	if written.Scheme != nil {
		switch check.Scheme = *written.Scheme; check.Scheme {
		case ruche.SchemeHTTP, ruche.SchemeHTTPS, ruche.SchemeH2C:
		default:
			c.add("write http, https or h2c", "check: scheme: %s is not known", quoted(check.Scheme))
		}
	}
	readCheckMode(c, written, check, route.Scheme)
	route.Check = check
}

// readCheckMode reads what is asked for, and holds it against the rest of the check. Without a mode it is an HTTP request where there is a path,
// else a mere connection.
func readCheckMode(c *complaints, written *writtenCheck, check *ruche.Check, scheme string) {
	http := written.Path != nil || written.Status != nil
	check.Mode = ruche.CheckMode(written.Mode)
	switch check.Mode {
	case "":
		if check.Mode = ruche.CheckConnect; http || written.Headers != nil || written.Host != nil {
			check.Mode = ruche.CheckHTTP
		}
	case ruche.CheckHTTP, ruche.CheckGRPC, ruche.CheckConnect:
	default:
		c.add("write http, grpc or connect", "check: mode: %s is not known", quoted(written.Mode))
		return
	}
	foreign := check.Scheme == "" && (scheme == ruche.SchemeFastCGI || scheme == ruche.SchemeUWSGI || scheme == ruche.SchemeTCP)
	switch {
	case check.Mode == ruche.CheckHTTP && written.Path == nil:
		c.add("path: /health", "check: it has no path to ask for")
	case check.Mode != ruche.CheckHTTP && http:
		c.add("leave out path and status, or mode", "check: mode %s asks for no path and gets no status", check.Mode)
	case check.Mode == ruche.CheckConnect && (written.Host != nil || written.Headers != nil || written.Scheme != nil):
		c.add("leave out host, headers and scheme, or add a path", "check: a mere connection has no host, headers or scheme")
	case check.Mode != ruche.CheckConnect && foreign:
		c.add("write check: {} to connect only, or name the port and the scheme of an HTTP server beside it", "check: an endpoint that speaks %s cannot be asked by HTTP", scheme)
	}
}

func readEject(c *complaints, written *writtenEject, route *ruche.Route) {
	if written == nil {
		return
	}
	route.Eject = &ruche.Eject{
		Failures: threshold(c, "eject: failures", written.Failures, fileFailures),
		Time:     duration(c, "eject: time", written.Time, 0, setting.MinEjection, setting.MaxEjection),
	}
}

// readProtocol reads what goes with the endpoints' scheme.
func readProtocol(c *complaints, written *writtenRoute, route *ruche.Route) {
	switch fastCGI := route.Scheme == ruche.SchemeFastCGI; {
	case fastCGI && written.Root == nil:
		c.add("root: /var/www/html", "the route has no root, the directory of the scripts as the FastCGI endpoints see it")
	case !fastCGI && written.Root != nil:
		c.add("remove it", "root: it belongs to endpoints with fastcgi://")
	default:
		route.Root = text(c, "root", written.Root, setting.Root)
	}
	if written.ProxyProtocol == nil {
		return
	}
	if route.ProxyProtocol = *written.ProxyProtocol; route.ProxyProtocol != 1 && route.ProxyProtocol != 2 {
		c.add("write 1 or 2, or remove the key", "proxy_protocol: there is no version %d", route.ProxyProtocol)
	}
}

// weigh notes the weight of the endpoint that was added last. Weights are kept only where one differs from 1.
func weigh(written *int, route *ruche.Route) *setting.Problem {
	n := len(route.Endpoints)
	if written == nil || *written == 1 {
		if route.Weights != nil {
			route.Weights = append(route.Weights, 1)
		}
		return nil
	}
	if p := setting.Weight(*written); p != nil {
		return p
	}
	for len(route.Weights) < n-1 {
		route.Weights = append(route.Weights, 1)
	}
	route.Weights = append(route.Weights, *written)
	return nil
}

// schemes lists the schemes of endpoints for people.
func schemes() string {
	return strings.Join([]string{"http://", "https://", "h2c://", "grpc://", "grpcs://", "fastcgi://", "uwsgi://", "tcp://"}, ", ")
}
