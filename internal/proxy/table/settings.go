package table

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/ruche-project/ruche"
)

// agree takes over what the part says and nobody before it said, and reports what it says otherwise.
func (r *Route) agree(d, p *part) {
	c := comparison{}
	c.text("destination path", r.Dest, p.route.Dest)
	c.text("path cleaning", strconv.FormatBool(r.CleanPath), strconv.FormatBool(p.route.CleanPath))
	take(&c, "TLS mode", &r.TLS, p.route.TLS)
	take(&c, "certificate name", &r.CertName, p.route.CertName)
	take(&c, "HTTPS method", &r.HTTPSMethod, p.route.HTTPSMethod)
	take(&c, "balancing policy", &r.Policy, p.route.Policy)
	take(&c, "minimum version of TLS", &r.MinTLS, p.route.MinTLS)
	take(&c, "HSTS", &r.HSTS, p.route.HSTS)
	takeStruct(&c, "client certificates", &r.ClientAuth, p.route.ClientAuth)
	takeStruct(&c, "TLS of endpoints", &r.EndpointTLS, p.route.EndpointTLS)
	takeStruct(&c, "sticky cookie", &r.Sticky, p.route.Sticky)
	takeStruct(&c, "health check", &r.Check, p.route.Check)
	takeStruct(&c, "ejection", &r.Eject, p.route.Eject)
	take(&c, "directory of the scripts", &r.Root, p.route.Root)
	take(&c, "PROXY protocol", &r.ProxyProtocol, p.route.ProxyProtocol)
	take(&c, "keep-alive", &r.keepAlive, p.route.KeepAlive)
	if len(c.differ) > 0 {
		r.report(p, ruche.CodeRouteConflict,
			fmt.Sprintf("settings disagree with those of %s, which win: %s", d.name(), strings.Join(c.differ, "; ")),
			"the oldest workload that runs wins; declare the same on all workloads of a host and path")
	}
}

// comparison collects what a part says otherwise than those before it.
type comparison struct{ differ []string }

func (c *comparison) text(name, stands, says string) {
	if stands != says {
		c.differ = append(c.differ, fmt.Sprintf("%s is %q, not %q", name, stands, says))
	}
}

// take sets what nobody said before. The zero value says nothing.
func take[T comparable](c *comparison, name string, stands *T, says T) {
	var zero T
	if says == zero {
		return
	}
	*stands = cmp.Or(*stands, says)
	c.text(name, fmt.Sprint(*stands), fmt.Sprint(says))
}

// takeStruct does the same with a setting of several parts, which is taken as a whole.
func takeStruct[T any](c *comparison, name string, stands **T, says *T) {
	switch {
	case says == nil:
	case *stands == nil:
		*stands = says
	case !reflect.DeepEqual(*stands, says):
		c.differ = append(c.differ, name+" is declared otherwise")
	}
}

// complete fills in what stands for a setting that nobody gave.
func (r *Route) complete() {
	r.Policy = cmp.Or(r.Policy, ruche.PolicyRoundRobin)
	if r.Protocol == ruche.ProtocolTCP && r.Match.Host != "" {
		r.TLS = cmp.Or(r.TLS, ruche.TLSPassthrough) // only TLS tells a name
	}
	r.NoKeepAlive = r.keepAlive == ruche.KeepAliveOff
	if r.Root == "" && r.Vocabulary == ruche.VocabularyNginxProxy && slices.ContainsFunc(r.Endpoints, func(e Endpoint) bool { return e.Scheme == ruche.SchemeFastCGI }) {
		r.Root = "/var/www/public" // nginx-proxy's default
	}
	for i := range r.Endpoints {
		if e := &r.Endpoints[i]; e.Scheme == ruche.SchemeHTTPS || e.Scheme == ruche.SchemeGRPCS {
			e.TLS = r.EndpointTLS
		}
	}
	if r.Sticky != nil && r.Sticky.Cookie == "" {
		// Routes of one host must not share a cookie, and nodes must agree on its name.
		sum := sha256.Sum256([]byte(r.ID))
		named := *r.Sticky
		named.Cookie = "ruche_" + hex.EncodeToString(sum[:4])
		r.Sticky = &named
	}
}
