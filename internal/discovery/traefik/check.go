package traefik

import (
	"strconv"
	"strings"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/discovery/setting"
)

// Traefik's defaults. It knows no thresholds: one result decides.
const (
	defaultWindow   = 10 * time.Second
	defaultInterval = 30 * time.Second
	defaultTimeout  = 5 * time.Second
)

func checkOptions() []string {
	return []string{"path", "interval", "unhealthyinterval", "timeout", "scheme", "mode", "hostname", "port", "headers", "followredirects", "method", "status"}
}

// readCheck reads an option of the active health check. Without some of them the wrong thing would be asked: then nothing is checked.
func (r *reader) readCheck(s *service, o option, part string) {
	const unchecked = "endpoints are not checked"
	if s.check == nil {
		s.check = &ruche.Check{Interval: defaultInterval, Timeout: defaultTimeout, Failures: 1, Successes: 1}
	}
	c := s.check
	var p *setting.Problem
	switch name, header := strings.CutPrefix(part, "headers."); {
	case header:
		if r.invalid(o, setting.Header(name, o.value), "the header is not sent") {
			return
		}
		if c.Headers == nil {
			c.Headers = map[string]string{}
		}
		c.Headers[name] = o.value
	case part == "":
	case part == "path":
		c.Path, p = o.value, setting.CheckPath(o.value)
	case part == "hostname":
		c.Host, p = o.value, setting.CheckHost(o.value)
	case part == "method":
		c.Method = strings.ToUpper(o.value)
		p = setting.Method(c.Method)
	case part == "mode":
		p = readMode(c, o.value)
	case part == "scheme":
		p = readCheckScheme(c, o.value)
	case part == "port":
		n, err := strconv.ParseUint(o.value, 10, 16)
		if c.Port = uint16(n); err != nil || n == 0 {
			p = &setting.Problem{Message: "port " + quote(o.value) + " is not a number from 1 to 65535", Hint: "write one number from 1 to 65535"}
		}
	case part == "status":
		n, err := strconv.Atoi(o.value)
		if c.Status, p = n, setting.Status(n); err != nil {
			p.Message = "status " + quote(o.value) + " is not a number"
		}
	case part == "followredirects":
		c.NoRedirects = !r.flag(o, true)
	default:
		r.readTimes(c, o, part)
	}
	if r.invalid(o, p, unchecked) {
		s.badCheck = true
	}
}

// readTimes reads the times of a health check.
func (r *reader) readTimes(c *ruche.Check, o option, part string) {
	switch part {
	case "interval":
		if d, p := setting.Duration(o.value, true, setting.MinInterval, setting.MaxInterval); !r.invalid(o, p, "30 seconds are used") {
			c.Interval = d
		}
	case "unhealthyinterval":
		if d, p := setting.Duration(o.value, true, setting.MinInterval, setting.MaxInterval); !r.invalid(o, p, "it is the interval") {
			c.UnhealthyInterval = d
		}
	case "timeout":
		if d, p := setting.Duration(o.value, true, setting.MinTimeout, setting.MaxTimeout); !r.invalid(o, p, "5 seconds are used") {
			c.Timeout = d
		}
	default:
		r.unknown(o, part, "option", checkOptions())
	}
}

func readMode(c *ruche.Check, value string) *setting.Problem {
	switch strings.ToLower(value) {
	case "", "http":
	case "grpc":
		c.Mode = ruche.CheckGRPC
	default:
		return &setting.Problem{Message: "mode " + quote(value) + " is not known", Hint: "write http or grpc"}
	}
	return nil
}

func readCheckScheme(c *ruche.Check, value string) *setting.Problem {
	switch c.Scheme = strings.ToLower(value); c.Scheme {
	case ruche.SchemeHTTP, ruche.SchemeHTTPS, ruche.SchemeH2C:
		return nil
	}
	return &setting.Problem{Message: "scheme " + quote(value) + " is not known", Hint: "write http, https or h2c"}
}

// finishCheck looks at the health check as a whole.
func (r *reader) finishCheck(s *service, e *element) {
	if s.check == nil {
		return
	}
	if s.check.Path == "" && s.check.Mode != ruche.CheckGRPC && !s.badCheck {
		key := "traefik.http.services." + e.name + "." + checkPath
		r.add(ruche.CodeValueInvalid, ruche.SeverityWarning, key, "add the label "+clip(key)+".path", "the health check names no path; endpoints are not checked")
		s.badCheck = true
	}
	if s.badCheck {
		s.check = nil
	}
}
