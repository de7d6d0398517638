package traefik

import (
	"strconv"
	"strings"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/discovery/setting"
)

// The beginnings of options that several labels make up.
const (
	weightPath   = "loadbalancer.server.weight"
	strategyPath = "loadbalancer.strategy"
	stickyPath   = "loadbalancer.sticky"
	checkPath    = "loadbalancer.healthcheck"
	passivePath  = "loadbalancer.passivehealthcheck"
)

// readBalance reads how endpoints of a service are chosen. It reports false for an option that is about something else.
func (r *reader) readBalance(s *service, o option) bool {
	switch {
	case o.path == weightPath:
		r.readWeight(s, o)
	case o.path == strategyPath:
		r.readStrategy(s, o)
	case below(o.path, stickyPath):
		r.readSticky(s, o, strings.TrimPrefix(o.path, stickyPath))
	case below(o.path, checkPath):
		r.readCheck(s, o, strings.TrimPrefix(strings.TrimPrefix(o.path, checkPath), "."))
	case below(o.path, passivePath):
		r.readPassive(s, o, strings.TrimPrefix(strings.TrimPrefix(o.path, passivePath), "."))
	default:
		return false
	}
	return true
}

// invalid reports a value without which the service is served all the same; so says what stands in its place.
func (r *reader) invalid(o option, p *setting.Problem, so string) bool {
	if p == nil {
		return false
	}
	r.add(ruche.CodeValueInvalid, ruche.SeverityWarning, o.key, p.Hint, "%s; %s", p.Message, so)
	return true
}

func (r *reader) readWeight(s *service, o option) {
	n, err := strconv.Atoi(o.value)
	if err != nil {
		n = -1
	}
	if p := setting.Weight(n); p != nil {
		p.Message = "weight " + quote(o.value) + " is not a whole number from 0 to " + strconv.Itoa(setting.MaxWeight)
		r.invalid(o, p, "the endpoint weighs 1")
		return
	}
	s.weights = []int{n}
}

func (r *reader) readStrategy(s *service, o option) {
	switch strings.ToLower(o.value) {
	case "wrr":
		s.policy = ruche.PolicyRoundRobin
	case "p2c":
		s.policy = ruche.PolicyTwoChoices
	case "hrw":
		s.policy = ruche.PolicyClientHash
	case "leasttime":
		s.policy = ruche.PolicyLeastConnections
		r.add(ruche.CodeKeyUnsupported, ruche.SeverityInfo, o.key, "",
			"the time that answers take is not measured; requests go to the endpoint that has the fewest running")
	default:
		r.add(ruche.CodeValueInvalid, ruche.SeverityWarning, o.key, "write wrr, p2c, hrw or leasttime",
			"strategy %s is not known; requests are spread by round robin", quote(o.value))
	}
}

// readSticky reads an option of the sticky cookie; part is what stands behind loadbalancer.sticky.
func (r *reader) readSticky(s *service, o option, part string) {
	const without = "the cookie goes without it"
	part, cookie := strings.CutPrefix(part, ".cookie")
	if !cookie {
		r.add(ruche.CodeKeyUnsupported, ruche.SeverityWarning, o.key, "write traefik.http.services.<name>.loadbalancer.sticky.cookie=true",
			"it names no cookie, so requests of one client may go to different endpoints")
		return
	}
	if part == "" && strings.EqualFold(o.value, "false") {
		return
	}
	if s.sticky == nil {
		s.sticky = &ruche.Sticky{}
	}
	c := s.sticky
	switch part {
	case "":
	case ".name":
		if !r.invalid(o, setting.CookieName(o.value), "Ruche names the cookie") {
			c.Cookie = o.value
		}
	case ".secure":
		c.Secure = r.flag(o, false)
	case ".httponly":
		c.HTTPOnly = r.flag(o, false)
	case ".samesite":
		value, p := setting.SameSite(o.value)
		r.invalid(o, p, without)
		c.SameSite = value
	case ".path":
		if !r.invalid(o, setting.CookiePath(o.value), "its path is /") {
			c.Path = o.value
		}
	case ".domain":
		if !r.invalid(o, setting.CookieDomain(o.value), without) {
			c.Domain = o.value
		}
	case ".maxage":
		n, err := strconv.ParseInt(o.value, 10, 32)
		if err != nil {
			r.invalid(o, &setting.Problem{Message: "maximum age " + quote(o.value) + " is not a number of seconds", Hint: "write for example 3600"}, without)
			return
		}
		c.MaxAge = int(n)
	default:
		r.unknown(o, strings.TrimPrefix(part, "."), "option", []string{"name", "secure", "httponly", "samesite", "path", "domain", "maxage"})
	}
}

// finishSticky looks at the cookie as a whole.
func (r *reader) finishSticky(s *service, e *element) {
	if s.sticky == nil {
		return
	}
	if p := setting.Sticky(s.sticky); p != nil {
		r.add(ruche.CodeValueInvalid, ruche.SeverityWarning, optionOf(e, stickyPath+".cookie.samesite").key, p.Hint, "%s", p.Message)
	}
}

// flag reads true or false.
func (r *reader) flag(o option, otherwise bool) bool {
	value, err := strconv.ParseBool(strings.ToLower(o.value))
	if err != nil {
		r.add(ruche.CodeValueInvalid, ruche.SeverityWarning, o.key, "write true or false",
			"%s is neither true nor false; %v is used", quote(o.value), otherwise)
		return otherwise
	}
	return value
}

// readPassive reads when failures eject an endpoint.
func (r *reader) readPassive(s *service, o option, part string) {
	if s.eject == nil {
		s.eject = &ruche.Eject{Failures: 1, Time: defaultWindow}
	}
	switch part {
	case "":
	case "maxfailedattempts":
		n, err := strconv.Atoi(o.value)
		if err != nil {
			n = -1
		}
		if !r.invalid(o, setting.Threshold("failures in a row", n), "one is enough") {
			s.eject.Failures = n
		}
	case "failurewindow":
		d, p := setting.Duration(o.value, true, setting.MinEjection, setting.MaxEjection)
		if !r.invalid(o, p, "10 seconds are used") {
			s.eject.Time = d
		}
	default:
		r.unknown(o, part, "option", []string{"maxfailedattempts", "failurewindow"})
	}
}
