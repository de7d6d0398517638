package nginxproxy

import (
	"maps"
	"strings"

	"github.com/ruche-project/ruche"
)

// unquote takes quotes off that became part of a value, as in a list of Compose: - VIRTUAL_HOST="a.example".
func (r *reader) unquote() {
	env := maps.Clone(r.c.Env)
	for _, key := range append(supported(), showable()...) {
		value := r.value(key)
		bare, quoted := unquoted(value)
		if !quoted && (key == "VIRTUAL_HOST" || key == acmeHost || key == formerName(acmeHost)) {
			bare, quoted = unquotedItems(value)
		}
		if quoted {
			env[key] = bare
			r.add(ruche.CodeValueInvalid, ruche.SeverityWarning, key, "remove the quotes; in a list of Compose, put them around the whole entry or leave them out",
				"the quotes are part of the value %s; they are left out", clip(value))
		}
	}
	r.c.Env = env
}

// showable are the variables of acme-companion whose value may be shown.
func showable() []string {
	var keys []string
	for _, key := range acmeVariables() {
		if key == acmeDNS || key == acmeEABKey {
			continue
		}
		keys = append(keys, key)
		if former := formerName(key); former != "" {
			keys = append(keys, former)
		}
	}
	return keys
}

// unquoted takes off the pair of quotes around a value that contains no others.
func unquoted(value string) (bare string, quoted bool) {
	if len(value) < 2 || value[0] != '"' && value[0] != '\'' || value[len(value)-1] != value[0] {
		return value, false
	}
	bare = value[1 : len(value)-1]
	if strings.ContainsAny(bare, `"'`) {
		return value, false
	}
	return bare, true
}

// unquotedItems does the same with each item of a list.
func unquotedItems(list string) (bare string, quoted bool) {
	items := strings.Split(list, ",")
	for i, item := range items {
		var found bool
		items[i], found = unquoted(strings.TrimSpace(item))
		quoted = quoted || found
	}
	return strings.Join(items, ","), quoted
}
