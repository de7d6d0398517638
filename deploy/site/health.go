package main

import (
	"fmt"
	"net/http"
	"time"
)

// askHealth is the image's HEALTHCHECK command.
func askHealth(cfg config) error { return call(cfg, http.MethodGet, "/healthz") }

// tellHealth switches the answer of /healthz: "docker exec NAME /site unhealthy".
func tellHealth(cfg config, verb string) error { return call(cfg, http.MethodPost, "/healthz/"+verb) }

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
