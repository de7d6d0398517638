package main

import (
	"fmt"
	"io"
	"net/http"
	"time"
)

// askHealth is the image's HEALTHCHECK command.
func askHealth(cfg config) error { return call(cfg, http.MethodGet, "/healthz") }

// tellHealth switches the answer of /healthz: "docker exec NAME /site unhealthy".
func tellHealth(cfg config, verb string) error { return call(cfg, http.MethodPost, "/healthz/"+verb) }

// get prints what a URL answers, as seen from this container.
func get(args []string, out io.Writer) error {
	if len(args) != 1 {
		return fmt.Errorf("cannot get: want one URL, got %q", args)
	}
	client := &http.Client{Timeout: 5 * time.Second}
	resp, err := client.Get(args[0])
	if err != nil {
		return fmt.Errorf("cannot get: %w", err)
	}
	defer resp.Body.Close()
	if _, err := io.Copy(out, resp.Body); err != nil {
		return fmt.Errorf("cannot read the answer of %s: %w", args[0], err)
	}
	return nil
}

func call(cfg config, method, path string) error {
	base, err := cfg.local()
	if err != nil {
		return err
	}
	req, err := http.NewRequest(method, base+path, nil)
	if err != nil {
		return fmt.Errorf("cannot make the request: %w", err)
	}
	client := &http.Client{Timeout: 5 * time.Second}
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("cannot reach the site: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("cannot call it healthy: %s answers %s", path, resp.Status)
	}
	return nil
}
