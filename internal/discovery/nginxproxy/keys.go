package nginxproxy

import (
	"maps"
	"slices"
	"strings"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/strictyaml"
)

const labelPrefix = "com.github.nginx-proxy.nginx-proxy."

// supported are the variables that begin with VIRTUAL_ and are read.
func supported() []string {
	return []string{"VIRTUAL_HOST", "VIRTUAL_PORT", "VIRTUAL_PROTO", "VIRTUAL_PATH", "VIRTUAL_DEST", "VIRTUAL_ROOT"}
}

// effect says what leaving a known variable or label out means.
type effect struct {
	severity ruche.Severity
	message  string
	hint     string
}

func unsupportedVariables() map[string]effect {
	both := "set VIRTUAL_HOST and VIRTUAL_PORT, or Traefik labels with one router and service for each port"
	return map[string]effect{
		"VIRTUAL_HOST_MULTIPORTS": {ruche.SeverityError, "several ports in one variable are not supported; as in nginx-proxy it takes the place of VIRTUAL_HOST, so nothing of this container is served", both},
		"SERVER_TOKENS":           {ruche.SeverityInfo, "no Server header is added, whatever it says", ""},
		"EXTERNAL_HTTP_PORT":      {ruche.SeverityWarning, "the host is served on Ruche's own ports", ""},
		"EXTERNAL_HTTPS_PORT":     {ruche.SeverityWarning, "the host is served on Ruche's own ports", ""},

		"ENABLE_HTTP_ON_MISSING_CERT":  {ruche.SeverityInfo, "a host without a certificate is always served on both ports", ""},
		"ACME_HTTP_CHALLENGE_LOCATION": {ruche.SeverityInfo, "challenges of certificates that Ruche orders are answered on every host, all others go to the container", ""},
	}
}

func unsupportedLabels() map[string]effect {
	return map[string]effect{
		"trust-default-cert":  {ruche.SeverityWarning, "the certificate is chosen by Ruche's own rules", ""},
		"non-get-redirect":    {ruche.SeverityWarning, "redirects use one status code for all methods", ""},
		"http2.enable":        {ruche.SeverityInfo, "HTTP/2 is offered on every HTTPS port", ""},
		"http3.enable":        {ruche.SeverityInfo, "HTTP/3 is not offered", ""},
		"debug-endpoint":      {ruche.SeverityInfo, "there is no debug endpoint", "ask ruche explain"},
		"hsts":                {ruche.SeverityWarning, "it is read as the variable HSTS alone", "set HSTS in the environment"},
		"hide-upstream-names": {ruche.SeverityInfo, "there are no upstream names", ""},
	}
}

// checkUnsupported reports the known variables and labels that are not read. Variables without VIRTUAL_ in their name may
// belong to the application, so this is asked only of containers that want to be published.
func (r *reader) checkUnsupported() {
	variables := unsupportedVariables()
	for _, key := range slices.Sorted(maps.Keys(r.c.Env)) {
		if e, known := variables[key]; known && r.declares(key) {
			if e.severity == ruche.SeverityError {
				r.refuse(ruche.CodeKeyUnsupported, key, e.hint, "%s", e.message)
				continue
			}
			r.add(ruche.CodeKeyUnsupported, e.severity, key, e.hint, "%s", e.message)
		}
	}
	labels := unsupportedLabels()
	for _, key := range slices.Sorted(maps.Keys(r.c.Labels)) {
		name, ours := strings.CutPrefix(key, labelPrefix)
		if !ours {
			continue
		}
		e, known := labels[name]
		switch {
		case key == balanceLabel || key == keepAliveLabel || key == verifyLabel:
		case !known:
			all := append(slices.Sorted(maps.Keys(labels)), "loadbalance", "keepalive", "ssl_verify_client")
			r.add(ruche.CodeKeyUnknown, ruche.SeverityWarning, clip(key), strictyaml.DidYouMean(name, all),
				"label %s of nginx-proxy is not known; it is ignored", quote(name))
		default:
			r.add(ruche.CodeKeyUnsupported, e.severity, key, e.hint, "%s", e.message)
		}
	}
}

// checkUnknown reports what begins with VIRTUAL_ and means nothing: a misspelt VIRTUAL_HOST publishes nothing and says so. A container
// that does not ask to be published may use such names for itself, unless one looks like a misspelling.
func (r *reader) checkUnknown() {
	published := r.declares("VIRTUAL_HOST") || r.declares("VIRTUAL_HOST_MULTIPORTS")
	known := slices.Concat(supported(), []string{"VIRTUAL_HOST_MULTIPORTS"})
	for _, key := range slices.Sorted(maps.Keys(r.c.Env)) {
		// VIRTUAL_ENV is set by many Python images.
		if !strings.HasPrefix(key, "VIRTUAL_") || strings.HasPrefix(key, "VIRTUAL_ENV") || slices.Contains(known, key) {
			continue
		}
		if hint := strictyaml.DidYouMean(key, known); published || hint != "" {
			r.add(ruche.CodeKeyUnknown, ruche.SeverityWarning, clip(key), hint, "variable %s is not known; it is ignored", quote(key))
		}
	}
	if published {
		return
	}
	for _, key := range supported()[1:] {
		if r.declares(key) {
			r.add(ruche.CodeRouterIncomplete, ruche.SeverityInfo, key, "set VIRTUAL_HOST to publish the container",
				"%s has no effect without VIRTUAL_HOST", key)
		}
	}
}
