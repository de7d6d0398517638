package config

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/strictyaml"
)

// The values of LogFormat, and the one of AccessLog that is neither Off nor a file.
const (
	LogText         = "text"
	LogJSON         = "json"
	AccessLogStdout = "stdout"
)

// Config is all settings, checked. Settings says what each means.
type Config struct {
	HTTPAddr, HTTPSAddr, AdminAddr string // host:port; the first two may be Off
	HTTP3                          bool
	DataDir, CertsDir, RoutesDir   string
	EntryPoints                    []EntryPoint
	// DockerHost is a URL, or empty for the usual places.
	DockerHost string
	NoDocker   bool
	// EdgeNetworks are names or IDs of networks; empty when they are found.
	EdgeNetworks []string
	// Control are addresses of control nodes, as host:port.
	Control                    []string
	JoinTokenFile, SealKeyFile string
	Bootstrap                  bool
	MeshAddr, PeerAddr         string // host:port
	// CAURL has no slash at its end; it may be empty.
	CAURL string
	// CAAddr is host:port, or Off. CAACMEURL has no slash at its end; it may be empty. CAResolvers are host:port.
	CAAddr, CAACMEURL string
	CARequireKey      bool
	CAResolvers       []string
	DockerTLSAddr     string // host:port, or Off
	ECHPublicName     string // in lower case; empty: off
	DockerTLSNames    []string
	// WatchCertificates are servers, as host:port.
	WatchCertificates []string
	// AdvertiseAddr is an address without a port, or empty.
	AdvertiseAddr string
	// NodeName is empty when the node keeps its name, or is named after the host.
	NodeName  string
	LogLevel  slog.Level
	LogFormat string // LogText or LogJSON
	// AccessLog is AccessLogStdout, Off, or a path.
	AccessLog         string
	MinTLS            uint16 // tls.VersionTLS12 or tls.VersionTLS13
	UnknownHostStatus int    // 400 to 599
	TrustedProxies    []netip.Prefix
	ProxyProtocol     []netip.Prefix
	MaxBodyBytes      int64 // 0: unlimited
	// MaxConnections is 0 where it goes by the limit of open files.
	MaxConnections           int
	MaxConnectionsPerAddress int           // 0: no bound
	Hold                     time.Duration // 0: not at all
	DrainTimeout             time.Duration
	// Issuers are the CAs that certificates are ordered from, without what stands in files of their own: see ReadIssuers. The first one is that of the settings acme-*, the others those of
	// the configuration file, in its order.
	Issuers []Issuer
}

// EntryPoint is a name by which routes that are not about HTTP call a listener, and its address, as host:port.
type EntryPoint struct {
	Name, Address string
	// UDP tells that it takes datagrams, and Idle after how long without any a session ends; 0 stands for Ruche's default.
	UDP  bool
	Idle time.Duration
}

// Load puts the settings together: defaults, then the file that the setting config names, then environ (in the form of os.Environ),
// then flags (name without dashes to value; only those that were given). It reports every mistake of every source, one to a
// line, each with its place: "ruche.yaml:7:1: ...", "env RUCHE_HTTP_ADDR: ...", "flag --http-addr: ...".
func Load(flags map[string]string, environ []string) (*Config, error) {
	c := Config{Issuers: []Issuer{{Issuer: ruche.Issuer{Name: ruche.IssuerDefault}}}}
	var errs []error
	settings := Settings()
	for _, s := range settings {
		if err := s.set(&c, s.Default); err != nil {
			errs = append(errs, fmt.Errorf("default of %s: %w", s.Name, err))
		}
	}
	env, unknown := fromEnviron(settings, environ)
	file := env[fileSetting]
	if f, given := flags[fileSetting]; given {
		file = f
	}
	if file != "" {
		errs = append(errs, c.setFile(settings, file)...)
	}
	errs = append(errs, unknown...)
	errs = append(errs, c.setAll(settings, env, func(s Setting) string { return "env " + s.Env() })...)
	for name := range flags {
		if !slices.ContainsFunc(settings, func(s Setting) bool { return s.Name == name }) {
			errs = append(errs, fmt.Errorf("flag --%s: there is no such setting", name))
		}
	}
	errs = append(errs, c.setAll(settings, flags, func(s Setting) string { return "flag --" + s.Name })...)
	if len(errs) == 0 {
		errs = c.checkIssuers()
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return &c, nil
}

// setAll takes over values by setting name.
func (c *Config) setAll(settings []Setting, values map[string]string, place func(Setting) string) []error {
	var errs []error
	for _, s := range settings {
		v, given := values[s.Name]
		if !given {
			continue
		}
		if err := s.set(c, v); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", place(s), err))
		}
	}
	return errs
}

// fromEnviron picks our variables, by setting name.
func fromEnviron(settings []Setting, environ []string) (values map[string]string, errs []error) {
	names := make(map[string]string, len(settings))
	var known []string
	for _, s := range settings {
		names[s.Env()] = s.Name
		known = append(known, s.Env())
	}
	values = make(map[string]string)
	for _, kv := range environ {
		key, value, _ := strings.Cut(kv, "=")
		if !strings.HasPrefix(key, envPrefix) {
			continue
		}
		if name, ok := names[key]; ok {
			values[name] = value
			continue
		}
		err := fmt.Errorf("env %s: there is no such setting", key)
		if hint := strictyaml.DidYouMean(key, known); hint != "" {
			err = fmt.Errorf("%w (%s)", err, hint)
		}
		errs = append(errs, err)
	}
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return values, errs
}

// setFile takes over the settings in a file.
func (c *Config) setFile(settings []Setting, file string) []error {
	data, err := os.ReadFile(file)
	if err != nil {
		return []error{fmt.Errorf("cannot read the configuration file: %w", err)}
	}
	pairs, err := strictyaml.Pairs(file, data, issuersKey)
	if err != nil {
		return []error{err}
	}
	byName := make(map[string]Setting, len(settings))
	known := []string{issuersKey}
	for _, s := range settings {
		if s.Name != fileSetting {
			byName[s.Name] = s
			known = append(known, s.Name)
		}
	}
	var errs []error
	for _, p := range pairs {
		if p.Key == issuersKey {
			errs = append(errs, c.setIssuers(file, p.Item)...)
			continue
		}
		mistake := &strictyaml.Error{File: file, Line: p.Line, Column: p.Column}
		if s, ok := byName[p.Key]; !ok {
			mistake.Message, mistake.Hint = fmt.Sprintf("unknown key %q", p.Key), strictyaml.DidYouMean(p.Key, known)
		} else if err := s.set(c, strings.Join(p.Values, ",")); err != nil {
			mistake.Message = p.Key + ": " + err.Error()
		} else {
			continue
		}
		errs = append(errs, mistake)
	}
	return errs
}
