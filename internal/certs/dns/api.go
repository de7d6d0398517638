package dns

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
)

const (
	maxAnswer = 4 << 20
	maxQuoted = 300 // bytes of a failed call's answer that are told
)

// api speaks JSON with a provider.
type api struct {
	client *http.Client
	base   string
	sign   func(r *http.Request, body []byte)
}

// call sends in, where it is not nil, and reads the answer into out, where that is not nil.
func (a api) call(ctx context.Context, method, path string, in, out any) error {
	var body []byte
	if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return err
		}
	}
	request, err := http.NewRequestWithContext(ctx, method, a.base+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Accept", "application/json")
	if in != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	if a.sign != nil {
		a.sign(request, body)
	}
	answer, err := a.client.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	data, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("cannot read the answer of %s: %w", request.URL.Host, err)
	}
	if answer.StatusCode/100 != 2 {
		return statusError{host: request.URL.Host, call: method + " " + request.URL.Path, code: answer.StatusCode, said: strings.TrimSpace(string(data))}
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(data, out); err != nil {
		return fmt.Errorf("cannot read the answer of %s to %s %s: %w", request.URL.Host, method, request.URL.Path, err)
	}
	return nil
}

// statusError is a call that the provider answered with anything but success.
type statusError struct {
	host, call string
	code       int
	said       string
}

func (e statusError) Error() string {
	hint := ""
	switch e.code {
	case http.StatusUnauthorized, http.StatusForbidden:
		hint = " (are the key or token right, and may they change this zone?)"
	case http.StatusNotFound:
		hint = " (is the zone in this account?)"
	}
	said := strings.ToValidUTF8(fmt.Sprintf("%.*s", maxQuoted, e.said), "")
	if said != "" {
		said = ": " + said
	}
	return fmt.Sprintf("%s answers %s with %d%s%s", e.host, e.call, e.code, said, hint)
}

func hasStatus(err error, code int) bool {
	var status statusError
	return errors.As(err, &status) && status.code == code
}

func bearer(token string) func(*http.Request, []byte) {
	return func(r *http.Request, _ []byte) { r.Header.Set("Authorization", "Bearer "+token) }
}

// entry is one TXT record as an API has it.
type entry struct{ id, value string }

// entries are the TXT records under one name of an API that has an ID for each.
type entries interface {
	list(ctx context.Context, r record) ([]entry, error)
	create(ctx context.Context, r record) error
	erase(ctx context.Context, r record, id string) error
}

// byID makes a writer of such an API. It looks before it writes: a try that was cut off may have done its work.
type byID struct{ entries entries }

func (b byID) add(ctx context.Context, r record) error {
	there, err := b.entries.list(ctx, r)
	if err != nil {
		return err
	}
	for _, e := range there {
		if unquote(e.value) == r.value {
			return nil
		}
	}
	return b.entries.create(ctx, r)
}

func (b byID) remove(ctx context.Context, r record) error {
	there, err := b.entries.list(ctx, r)
	if err != nil {
		return err
	}
	for _, e := range there {
		if unquote(e.value) != r.value {
			continue
		}
		if err := b.entries.erase(ctx, r, e.id); err != nil && !hasStatus(err, http.StatusNotFound) {
			return err
		}
	}
	return nil
}

// quote and unquote are for APIs that have TXT records as zone files have them. What is written for dns-01 needs no escapes.
func quote(s string) string { return `"` + s + `"` }

func unquote(s string) string { return strings.Trim(s, `"`) }

// apex gives name, or at where it is the top of its zone.
func apex(name, at string) string {
	if name == "" {
		return at
	}
	return name
}
