package dns

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/strictyaml"
)

const (
	// fromFile begins a value that stands in a file.
	fromFile = "file:"
	// fileSuffix ends the name of a setting whose value is the path of a file, as lego and Docker's images have it.
	fileSuffix = "_FILE"
	maxFile    = 64 << 10
	// shortest secret that is looked for in an error: shorter ones are found in any text.
	shortestSecret = 6
)

// Resolve gives the provider that a name and settings mean, by whatever names acme.sh ("dns_cf", CF_Token), lego and Traefik ("cloudflare", CF_DNS_API_TOKEN) or Ruche
// have for them, with Ruche's names in it. An error says what is wrong, never what a setting holds.
//
// A setting that ends in _FILE holds the path of a file, which is read when it is needed; it comes out as "file:PATH". Empty settings count as unset, and DNS_SLEEP, as of
// acme-companion, becomes Wait.
func Resolve(name string, settings map[string]string) (ruche.DNSProvider, error) {
	k, err := find(name)
	if err != nil {
		return ruche.DNSProvider{}, err
	}
	p := ruche.DNSProvider{Name: k.name, Settings: make(map[string]string)}
	given := make(map[string]string) // our name -> as it was written
	for _, key := range slices.Sorted(maps.Keys(settings)) {
		value := settings[key]
		if value == "" {
			continue
		}
		if key == "DNS_SLEEP" {
			if p.Wait, err = sleep(value); err != nil {
				return ruche.DNSProvider{}, err
			}
			continue
		}
		f, isFile, err := k.field(key)
		if err != nil {
			return ruche.DNSProvider{}, err
		}
		if f.unused {
			continue
		}
		if isFile {
			value = fromFile + value
		}
		if before, twice := given[f.name]; twice && p.Settings[f.name] != value {
			return ruche.DNSProvider{}, fmt.Errorf("cannot use DNS provider %s: %s and %s are the same setting, with different values", k.name, before, key)
		}
		given[f.name], p.Settings[f.name] = key, value
	}
	return p, Check(p)
}

func sleep(value string) (time.Duration, error) {
	seconds, err := strconv.Atoi(strings.TrimSuffix(value, "s"))
	if err != nil || seconds < 0 || seconds > 3600 {
		return 0, errors.New("cannot use DNS_SLEEP: it is no number of seconds up to 3600")
	}
	return time.Duration(seconds) * time.Second, nil
}

// Check says what is wrong with a provider by Ruche's names, as Resolve gives it: name, settings that it does not know, or that are missing. It reads no file and asks nobody.
func Check(p ruche.DNSProvider) error {
	k, err := find(p.Name)
	if err != nil {
		return err
	}
	for _, key := range slices.Sorted(maps.Keys(p.Settings)) {
		f, _, err := k.field(key)
		if err != nil {
			return err
		}
		if f.refused != "" {
			return fmt.Errorf("cannot use %s of DNS provider %s: %s", key, k.name, f.refused)
		}
	}
	if err := k.complete(p.Settings); err != nil {
		return err
	}
	if k.check == nil {
		return nil
	}
	v := values{kind: k, given: p.Settings}
	if err := k.check(v); err != nil {
		return fmt.Errorf("cannot use DNS provider %s: %w", k.name, v.scrub(err))
	}
	return nil
}

// forOperator is the hint for what a workload may not say of itself.
const forOperator = "(a workload may not have that; configure an issuer with it, and name the issuer in the workload)"

// CheckDeclared is Check for what a workload declares of itself. It refuses what only the operator may say, because it runs programs or reads files of the
// node that orders certificates: whoever may start a container would have both. Where its provider may
// be is found out when it is reached: whoever takes a provider from a workload sets Declared.
func CheckDeclared(p ruche.DNSProvider) error {
	if err := Check(p); err != nil {
		return err
	}
	k, err := find(p.Name)
	if err != nil {
		return err
	}
	if k.local {
		return fmt.Errorf("cannot use DNS provider %s: it runs a program on the node that orders certificates %s", k.name, forOperator)
	}
	for _, key := range slices.Sorted(maps.Keys(p.Settings)) {
		f, isFile, err := k.field(key)
		if err != nil {
			return err
		}
		if isFile || f.local || strings.HasPrefix(p.Settings[key], fromFile) {
			return fmt.Errorf("cannot use %s of DNS provider %s: it is a file of the node that orders certificates %s", key, k.name, forOperator)
		}
	}
	return nil
}

// find gives the kind of provider of a name.
func find(name string) (kind, error) {
	var names []string
	for _, k := range kinds() {
		if strings.EqualFold(k.name, name) || slices.ContainsFunc(k.synonyms, func(s string) bool { return strings.EqualFold(s, name) }) {
			return k, nil
		}
		names = append(names, k.name)
	}
	if name == "" {
		return kind{}, errors.New("cannot use a DNS provider without a name (one of " + strings.Join(names, ", ") + ")")
	}
	hint := fmt.Sprintf("known are %s; others are reached by exec, or by a CNAME to a zone at one of these", strings.Join(names, ", "))
	if near := strictyaml.DidYouMean(name, names); near != "" {
		hint = near
	}
	return kind{}, fmt.Errorf("cannot use DNS provider %q: there is no such one (%s)", name, hint)
}

// field gives the setting that a key means, and whether the key is that of a file with it.
func (k kind) field(key string) (field, bool, error) {
	for _, f := range k.fields {
		if f.is(key) {
			return f, false, nil
		}
	}
	if k.anyField {
		return field{name: key, secret: true}, false, nil
	}
	if n := len(key) - len(fileSuffix); n > 0 && strings.EqualFold(key[n:], fileSuffix) {
		for _, f := range k.fields {
			if f.is(key[:n]) && !f.unused {
				return f, true, nil
			}
		}
	}
	var names []string
	for _, f := range k.fields {
		if !f.unused && f.refused == "" {
			names = append(names, f.name)
		}
	}
	hint := "it has " + strings.Join(names, ", ")
	if near := strictyaml.DidYouMean(key, k.allNames()); near != "" {
		hint = near
	}
	return field{}, false, fmt.Errorf("cannot use DNS provider %s: there is no setting %q (%s)", k.name, key, hint)
}

func (k kind) allNames() []string {
	var names []string
	for _, f := range k.fields {
		names = append(append(names, f.name), f.synonyms...)
	}
	return names
}

// complete says which settings are missing.
func (k kind) complete(settings map[string]string) error {
	if len(k.needs) == 0 {
		return nil
	}
	var ways []string
	for _, need := range k.needs {
		if !slices.ContainsFunc(need, func(n string) bool { return settings[n] == "" }) {
			return nil
		}
		ways = append(ways, strings.Join(need, " and "))
	}
	return fmt.Errorf("cannot use DNS provider %s: it needs %s", k.name, strings.Join(ways, ", or "))
}

// values are a provider's settings when they are used.
type values struct {
	kind  kind
	given map[string]string
}

func (v values) get(name string) string { return v.given[name] }

// load reads the settings of a provider, files included.
func load(p ruche.DNSProvider) (kind, values, error) {
	resolved, err := Resolve(p.Name, p.Settings)
	if err != nil {
		return kind{}, values{}, err
	}
	k, err := find(resolved.Name)
	if err != nil {
		return kind{}, values{}, err
	}
	v := values{kind: k, given: resolved.Settings}
	for name, value := range v.given {
		path, isFile := strings.CutPrefix(value, fromFile)
		if !isFile {
			continue
		}
		data, err := readFile(path)
		if err != nil {
			return kind{}, values{}, fmt.Errorf("cannot read %s: %w", name, err)
		}
		if v.given[name] = strings.TrimSpace(string(data)); v.given[name] == "" {
			return kind{}, values{}, fmt.Errorf("cannot read %s: %s is empty", name, path)
		}
	}
	if k.check != nil {
		if err := k.check(v); err != nil {
			return kind{}, values{}, v.scrub(err)
		}
	}
	return k, v, nil
}

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // it was only read
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = fmt.Errorf("%s is larger than %d bytes", path, maxFile)
	}
	return data, err
}

// scrub takes the secrets out of an error: libraries put addresses and answers into theirs.
func (v values) scrub(err error) error {
	if err == nil {
		return nil
	}
	text := err.Error()
	for name, value := range v.given {
		f, _, ferr := v.kind.field(name)
		if ferr != nil || !f.secret || len(value) < shortestSecret || strings.HasPrefix(value, fromFile) {
			continue
		}
		text = strings.NewReplacer(value, "***", url.QueryEscape(value), "***").Replace(text)
	}
	if text == err.Error() {
		return err
	}
	return scrubbed{text, err}
}

// scrubbed is an error without the secrets in its text. What it was stays hidden, but for the end of a context.
type scrubbed struct {
	text string
	was  error
}

func (s scrubbed) Error() string { return s.text }

// Is tells the end of a context from other errors.
func (s scrubbed) Is(target error) bool {
	return (target == context.Canceled || target == context.DeadlineExceeded) && errors.Is(s.was, target)
}
