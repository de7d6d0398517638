package config

import (
	"bytes"
	"fmt"
	"maps"
	"regexp"
	"strings"

	"github.com/ruche-project/ruche/internal/strictyaml"
)

// readDNSSettings reads the settings of a DNS provider from a file; they win over those that are given.
func readDNSSettings(path string, given map[string]string) (map[string]string, error) {
	data, err := readFile(path)
	if err != nil {
		return nil, err
	}
	settings, err := dnsSettings(path, data)
	if err != nil {
		return nil, err
	}
	all := maps.Clone(given)
	if all == nil {
		return settings, nil
	}
	maps.Copy(all, settings)
	return all, nil
}

var assignment = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.-]*[ \t]*=`)

// dnsSettings reads lines of the form KEY=VALUE, with comments that begin with #, or a map in YAML. The values are secrets: no error shows any of them.
func dnsSettings(name string, data []byte) (map[string]string, error) {
	if !ofAssignments(data) {
		var settings map[string]string
		if err := strictyaml.Decode(name, data, &settings); err != nil {
			line := 1
			if all := strictyaml.All(err); len(all) > 0 {
				line = max(line, all[0].Line)
			}
			return nil, fmt.Errorf("%s:%d: expected lines of the form KEY=VALUE, or a map of texts in YAML", name, line)
		}
		return settings, nil
	}
	settings, number := map[string]string{}, 0
	for line := range bytes.Lines(data) {
		number++
		text := strings.TrimSpace(string(line))
		if text == "" || text[0] == '#' {
			continue
		}
		if !assignment.MatchString(text) {
			return nil, fmt.Errorf("%s:%d: expected a line of the form KEY=VALUE", name, number)
		}
		key, value, _ := strings.Cut(text, "=")
		key = strings.TrimSpace(key)
		if _, twice := settings[key]; twice {
			return nil, fmt.Errorf("%s:%d: %.60s is given twice", name, number, key)
		}
		settings[key] = unquoted(strings.TrimSpace(value))
	}
	return settings, nil
}

// ofAssignments reports whether the first line that says something is an assignment.
func ofAssignments(data []byte) bool {
	for line := range bytes.Lines(data) {
		if line = bytes.TrimSpace(line); len(line) > 0 && line[0] != '#' {
			return assignment.Match(line)
		}
	}
	return false
}

// unquoted takes off the pair of quotes around a value.
func unquoted(value string) string {
	if n := len(value); n >= 2 && (value[0] == '"' || value[0] == '\'') && value[n-1] == value[0] {
		return value[1 : n-1]
	}
	return value
}
