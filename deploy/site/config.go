package main

import (
	"cmp"
	"fmt"
	"net"
	"os"
	"time"
)

// termMode says what SIGTERM does.
type termMode string

const (
	termGraceful termMode = "graceful" // finish the requests in flight, then exit
	termExit     termMode = "exit"     // exit at once
	termIgnore   termMode = "ignore"   // go on serving for ignoreFor, then as graceful
)

// config is what the environment says.
type config struct {
	listen     string        // SITE_LISTEN, ":8080" when unset
	name       string        // SITE_NAME, the host name when unset
	startDelay time.Duration // SITE_START_DELAY: time before the port is opened
	unhealthy  bool          // SITE_UNHEALTHY=true: the health check fails until "site healthy"
	onTerm     termMode      // SITE_ON_TERM
	ignoreFor  time.Duration // SITE_IGNORE_FOR, with SITE_ON_TERM=ignore; 5s when unset
}

func parseConfig(getenv func(string) string) (config, error) {
	hostname, err := os.Hostname()
	if err != nil {
		hostname = "site"
	}
	cfg := config{
		listen:    cmp.Or(getenv("SITE_LISTEN"), ":8080"),
		name:      cmp.Or(getenv("SITE_NAME"), hostname),
		unhealthy: getenv("SITE_UNHEALTHY") == "true",
		onTerm:    termMode(cmp.Or(getenv("SITE_ON_TERM"), string(termGraceful))),
	}
	if cfg.startDelay, err = duration(getenv, "SITE_START_DELAY", "0s"); err != nil {
		return config{}, err
	}
	if cfg.ignoreFor, err = duration(getenv, "SITE_IGNORE_FOR", "5s"); err != nil {
		return config{}, err
	}
	switch cfg.onTerm {
	case termGraceful, termExit, termIgnore:
		return cfg, nil
	}
	return config{}, fmt.Errorf("cannot use SITE_ON_TERM=%q: want graceful, exit or ignore", cfg.onTerm)
}

func duration(getenv func(string) string, key, fallback string) (time.Duration, error) {
	d, err := time.ParseDuration(cmp.Or(getenv(key), fallback))
	if err != nil {
		return 0, fmt.Errorf("cannot read %s: %w", key, err)
	}
	return d, nil
}

// local is the address at which the health verbs reach the serving process.
func (c config) local() (string, error) {
	_, port, err := net.SplitHostPort(c.listen)
	if err != nil {
		return "", fmt.Errorf("cannot read SITE_LISTEN: %w", err)
	}
	return "http://127.0.0.1:" + port, nil
}
