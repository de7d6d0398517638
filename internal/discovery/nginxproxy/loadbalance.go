package nginxproxy

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/discovery/setting"
)

const (
	balanceLabel   = labelPrefix + "loadbalance"
	keepAliveLabel = labelPrefix + "keepalive"
)

// readBalance reads the label that holds directives of nginx for its upstream block.
func (r *reader) readBalance(route *ruche.Route) {
	for directive := range strings.SplitSeq(r.c.Labels[balanceLabel], ";") {
		if words := strings.Fields(directive); len(words) > 0 {
			r.readDirective(route, words)
		}
	}
}

func (r *reader) readDirective(route *ruche.Route, words []string) {
	switch name := words[0]; name {
	case "least_conn":
		r.setPolicy(route, ruche.PolicyLeastConnections)
	case "ip_hash":
		r.setPolicy(route, ruche.PolicyClientHash)
	case "hash":
		r.readHash(route, words)
	case "random":
		r.setPolicy(route, ruche.PolicyTwoChoices)
		if len(words) == 1 {
			r.aboutDirective(ruche.SeverityInfo, "", "random: of two endpoints at random the one with fewer running requests is chosen")
		} else if words[1] != "two" || len(words) > 3 || len(words) == 3 && words[2] != "least_conn" {
			r.aboutDirective(ruche.SeverityWarning, "", "%s: of two endpoints at random the one with fewer running requests is chosen", quote(strings.Join(words, " ")))
		}
	case "least_time":
		r.setPolicy(route, ruche.PolicyLeastConnections)
		r.aboutDirective(ruche.SeverityInfo, "", "the time that answers take is not measured; requests go to the endpoint that has the fewest running")
	case "sticky":
		r.readSticky(route, words)
	case "zone", "keepalive", "keepalive_requests", "keepalive_time", "keepalive_timeout":
		r.aboutDirective(ruche.SeverityInfo, "", "directive %s is not needed and has no effect", quote(name))
	default:
		r.aboutDirective(ruche.SeverityWarning, "write least_conn; or ip_hash; or hash $remote_addr; or random two;",
			"directive %s of nginx is not supported; it is ignored", quote(name))
	}
}

func (r *reader) aboutDirective(severity ruche.Severity, hint, format string, args ...any) {
	r.add(ruche.CodeKeyUnsupported, severity, balanceLabel, hint, format, args...)
}

// setPolicy takes the first directive that names one; nginx refuses a second.
func (r *reader) setPolicy(route *ruche.Route, p ruche.Policy) {
	if route.Policy != "" && route.Policy != p {
		r.add(ruche.CodeValueInvalid, ruche.SeverityWarning, balanceLabel, "keep one of the directives", "it names several ways to choose an endpoint; %s is used", route.Policy)
		return
	}
	route.Policy = p
}

// readHash takes a hash of the client's address. That it stays the same when endpoints come and go (consistent) is always so.
func (r *reader) readHash(route *ruche.Route, words []string) {
	if len(words) > 1 && slices.Contains([]string{"$remote_addr", "$binary_remote_addr", "${remote_addr}", "${binary_remote_addr}"}, words[1]) {
		r.setPolicy(route, ruche.PolicyClientHash)
		return
	}
	key := ""
	if len(words) > 1 {
		key = words[1]
	}
	hint := "write hash $remote_addr;"
	if key == "" || !strings.Contains(key, "$") {
		hint += " and in Compose files $$ for $" // the variable was most likely replaced by Compose
	}
	r.aboutDirective(ruche.SeverityWarning, hint, "a hash of %s is not supported, only one of the client's address; requests are spread by round robin", quote(key))
}

// readSticky takes "sticky cookie name [expires=..] [domain=..] [path=..] [httponly] [secure] [samesite=..]".
func (r *reader) readSticky(route *ruche.Route, words []string) {
	if len(words) < 3 || words[1] != "cookie" {
		r.aboutDirective(ruche.SeverityWarning, "write sticky cookie <name>;", "%s is not supported; requests of one client may go to different endpoints", quote(strings.Join(words, " ")))
		return
	}
	s := &ruche.Sticky{}
	p := setting.CookieName(words[2])
	if p == nil {
		s.Cookie = words[2]
	}
	r.invalidDirective(p)
	for _, word := range words[3:] {
		key, value, _ := strings.Cut(word, "=")
		p = nil
		switch strings.ToLower(key) {
		case "httponly":
			s.HTTPOnly = true
		case "secure":
			s.Secure = true
		case "samesite":
			s.SameSite, p = setting.SameSite(value)
		case "path":
			if p = setting.CookiePath(value); p == nil {
				s.Path = value
			}
		case "domain":
			if p = setting.CookieDomain(value); p == nil {
				s.Domain = value
			}
		case "expires":
			s.MaxAge, p = expiry(value)
		default:
			p = &setting.Problem{Message: "parameter " + quote(word) + " is not known", Hint: "known are expires, domain, path, httponly, secure and samesite"}
		}
		r.invalidDirective(p)
	}
	if p = setting.Sticky(s); p != nil {
		r.add(ruche.CodeValueInvalid, ruche.SeverityWarning, balanceLabel, p.Hint, "%s", p.Message)
	}
	route.Sticky = s
}

func (r *reader) invalidDirective(p *setting.Problem) {
	if p != nil {
		r.add(ruche.CodeValueInvalid, ruche.SeverityWarning, balanceLabel, p.Hint, "sticky cookie: %s; it is left out", p.Message)
	}
}

// expiry reads a time of nginx: a number of seconds, or numbers with units; max stands for ten years.
func expiry(value string) (seconds int, p *setting.Problem) {
	const day = 24 * time.Hour
	const most = 10 * 365 * day
	if value == "max" {
		return int(most.Seconds()), nil
	}
	for unit, length := range map[string]time.Duration{"d": day, "w": 7 * day, "M": 30 * day, "y": 365 * day} {
		number, found := strings.CutSuffix(value, unit)
		if n, err := strconv.Atoi(number); found && err == nil && n > 0 && n <= int(most/length) {
			return n * int(length.Seconds()), nil
		}
	}
	d, p := setting.Duration(value, true, time.Second, most)
	return int(d.Seconds()), p
}

// readKeepAlive reads the label that says how many connections to endpoints are kept. How many that are is Ruche's own affair.
func (r *reader) readKeepAlive(route *ruche.Route) {
	value := strings.TrimSpace(r.c.Labels[keepAliveLabel])
	n, err := strconv.ParseUint(value, 10, 31)
	switch {
	case value == "":
	case value == "disabled":
		route.KeepAlive = ruche.KeepAliveOff
	case value == "auto" || err == nil && n > 0:
		route.KeepAlive = ruche.KeepAliveOn
	default:
		r.add(ruche.CodeValueInvalid, ruche.SeverityWarning, keepAliveLabel, "write auto, a number or disabled",
			"%s is neither auto nor a number nor disabled; auto is used", quote(value))
	}
}
