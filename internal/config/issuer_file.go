package config

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/strictyaml"
)

// issuersKey is the key of the configuration file under which more issuers stand, by name. It is no setting: a flag has no room for it.
const issuersKey = "issuers"

// Values that a parser checks, so that a mistake is shown where it stands.
type (
	writtenDirectory string
	writtenEmail     string
	writtenKeyType   ruche.KeyType
	writtenChallenge ruche.ChallengeType
	writtenWord      string
	writtenLine      string
	writtenPath      string
	writtenWait      time.Duration
)

func (w *writtenDirectory) UnmarshalText(data []byte) error {
	v, err := directory(string(data))
	*w = writtenDirectory(v)
	return err
}

func (w *writtenEmail) UnmarshalText(data []byte) error {
	v, err := email(string(data))
	*w = writtenEmail(v)
	return err
}

func (w *writtenKeyType) UnmarshalText(data []byte) error {
	v, err := keyType(string(data))
	*w = writtenKeyType(v)
	return err
}

func (w *writtenChallenge) UnmarshalText(data []byte) error {
	v, err := challengeType(string(data))
	*w = writtenChallenge(v)
	return err
}

func (w *writtenWord) UnmarshalText(data []byte) error {
	v, err := word(string(data))
	*w = writtenWord(v)
	return err
}

func (w *writtenLine) UnmarshalText(data []byte) error {
	v, err := line(string(data))
	*w = writtenLine(v)
	return err
}

func (w *writtenPath) UnmarshalText(data []byte) error {
	v, err := path(string(data))
	*w = writtenPath(v)
	return err
}

func (w *writtenWait) UnmarshalText(data []byte) error {
	v, err := nonNegative(string(data))
	*w = writtenWait(v)
	return err
}

// writtenIssuer is one value of the map issuers.
type writtenIssuer struct {
	Directory      writtenDirectory   `yaml:"directory"`
	Email          writtenEmail       `yaml:"email"`
	CABundle       writtenPath        `yaml:"ca_bundle"`
	Profile        writtenWord        `yaml:"profile"`
	KeyType        writtenKeyType     `yaml:"key_type"`
	PreferredChain writtenLine        `yaml:"preferred_chain"`
	Challenges     []writtenChallenge `yaml:"challenges"`
	DNS            *writtenDNS        `yaml:"dns"`
	EAB            *writtenEAB        `yaml:"eab"`
	Fallback       writtenWord        `yaml:"fallback"`
}

type writtenDNS struct {
	Provider     writtenWord       `yaml:"provider,alone"`
	SettingsFile writtenPath       `yaml:"settings_file"`
	Settings     map[string]string `yaml:"settings"`
	Wait         writtenWait       `yaml:"wait"`
}

type writtenEAB struct {
	KeyID   writtenWord `yaml:"key_id"`
	KeyFile writtenPath `yaml:"key_file"`
}

// setIssuers takes over the issuers in a configuration file.
func (c *Config) setIssuers(file string, item strictyaml.Item) []error {
	pairs, err := item.Pairs()
	if err != nil {
		return []error{discreet(err)}
	}
	var errs []error
	for _, p := range pairs {
		place := &strictyaml.Error{File: file, Line: p.Line, Column: p.Column}
		if err := issuerName(p.Key); err != nil {
			place.Message = err.Error()
			errs = append(errs, place)
			continue
		}
		var w writtenIssuer
		if err := p.Item.Decode(&w); err != nil {
			errs = append(errs, discreet(err))
			continue
		}
		i := w.issuer(p.Key)
		i.place = fmt.Sprintf("%s:%d:%d: issuer %s", file, p.Line, p.Column, p.Key)
		if w.DNS != nil && w.DNS.Provider == "" {
			errs = append(errs, fmt.Errorf("%s: dns: the provider is missing", i.place))
			continue
		}
		c.Issuers = append(c.Issuers, i)
	}
	return errs
}

func issuerName(name string) error {
	switch {
	case name == ruche.IssuerDefault:
		return errors.New("the issuer default is the one that the settings acme-* describe: choose another name")
	case name == ruche.IssuerInternal:
		return errors.New("the issuer internal is Ruche's own authority: choose another name")
	case !regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`).MatchString(name):
		return fmt.Errorf("%.60q is not the name of an issuer: use letters, digits, dots, dashes and underscores", name)
	}
	return nil
}

func (w writtenIssuer) issuer(name string) Issuer {
	i := Issuer{
		Issuer: ruche.Issuer{
			Name: name, Directory: string(w.Directory), Email: string(w.Email), Profile: string(w.Profile), KeyType: ruche.KeyType(w.KeyType),
			PreferredChain: string(w.PreferredChain), Fallback: string(w.Fallback),
		},
		BundleFile: string(w.CABundle),
	}
	for _, c := range w.Challenges {
		i.Challenges = append(i.Challenges, ruche.ChallengeType(c))
	}
	if w.DNS != nil {
		i.DNS = &ruche.DNSProvider{Name: string(w.DNS.Provider), Settings: w.DNS.Settings, Wait: time.Duration(w.DNS.Wait)}
		i.DNSSettingsFile = string(w.DNS.SettingsFile)
	}
	if w.EAB != nil {
		i.EAB, i.EABKeyFile = &ruche.ExternalAccount{KeyID: string(w.EAB.KeyID)}, string(w.EAB.KeyFile)
	}
	return i
}

// discreet takes texts out of what the decoder says of them: settings of DNS providers are secrets, and people put them in the wrong place.
func discreet(err error) error {
	for _, e := range strictyaml.All(err) {
		before, _, shown := strings.Cut(e.Message, `the text "`)
		if shown {
			e.Message = before + "text"
		}
	}
	return err
}
