package api_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/api"
)

// authority answers as the real one does; TestCA of cmd/ruche and the tests of the daemon have that.
type authority struct{}

func (authority) Status(context.Context) (ruche.AuthorityList, error) {
	return ruche.AuthorityList{Authorities: []ruche.AuthorityStatus{{Name: "services"}}}, nil
}

func (authority) Log(_ context.Context, what string) (ruche.IssuedList, error) {
	return ruche.IssuedList{Certificates: []ruche.IssuedCertificate{{Serial: what}}}, nil
}

func (authority) Begin(context.Context, ruche.AuthorityRequest) (ruche.AuthorityAnswer, error) {
	return ruche.AuthorityAnswer{Request: []byte("pem")}, nil
}

func (authority) Import(context.Context, ruche.ParentChain) error {
	return errors.New("it does not hold")
}

func (authority) Sign(_ context.Context, r ruche.SigningRequest) (ruche.SignedCertificate, error) {
	return ruche.SignedCertificate{Serial: r.Profile}, nil
}

func (authority) Withdraw(context.Context, ruche.RevocationRequest) (ruche.IssuedList, error) {
	return ruche.IssuedList{}, fmt.Errorf("there is none: %w", ruche.ErrNotFound)
}

func (authority) Replace(_ context.Context, r ruche.ReplacementRequest) (ruche.IssuedList, error) {
	return ruche.IssuedList{Certificates: []ruche.IssuedCertificate{{Issuer: r.Issuer}}}, nil
}

func authorityHandler(a api.Authority) http.Handler {
	files := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = fmt.Fprint(w, r.URL.Path) })
	return api.HandlerForTest(api.Config{Edge: edge{}, Metrics: http.NotFoundHandler(), Logger: slog.New(slog.DiscardHandler), Authority: a, Files: files})
}

func TestOnlyThisHostChangesTheAuthority(t *testing.T) {
	handler := authorityHandler(authority{})
	for _, tc := range []struct {
		method, path, from string
		status             int
	}{
		{"GET", "/api/v1/ca", "192.0.2.7:1", 200},
		{"GET", "/api/v1/ca/certificates?what=x", "192.0.2.7:1", 200},
		{"GET", "/ca/bundle.pem", "192.0.2.7:1", 200},
		{"POST", "/api/v1/ca", "192.0.2.7:1", 403},
		{"POST", "/api/v1/ca/parent", "192.0.2.7:1", 403},
		{"POST", "/api/v1/ca/certificates", "192.0.2.7:1", 403},
		{"POST", "/api/v1/ca/revocations", "192.0.2.7:1", 403},
		{"POST", "/api/v1/ca", "127.0.0.1:1", 200},
		{"POST", "/api/v1/ca/parent", "127.0.0.1:1", 400},
		{"POST", "/api/v1/ca/certificates", "127.0.0.1:1", 200},
		{"POST", "/api/v1/ca/revocations", "127.0.0.1:1", 404},
		{"DELETE", "/api/v1/ca", "127.0.0.1:1", 405},
		// What a route to /ca/ lets through must not lead further.
		{"POST", "/ca/../api/v1/ca/certificates", "127.0.0.1:1", 307},
		{"POST", "/ca/%2e%2e/api/v1/ca/certificates", "127.0.0.1:1", 200}, // the files, which have no such one
		{"POST", "/ca//../../api/v1/ca/certificates", "127.0.0.1:1", 307},
	} {
		r := httptest.NewRequestWithContext(t.Context(), tc.method, tc.path, strings.NewReader("{}"))
		r.RemoteAddr = tc.from
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		if w.Code != tc.status {
			t.Errorf("%s %s from %s: %d, want %d: %s", tc.method, tc.path, tc.from, w.Code, tc.status, w.Body)
		}
	}
}

func TestANodeWithoutTheAuthoritySaysWhomToAsk(t *testing.T) {
	handler := authorityHandler(nil)
	for _, path := range []string{"/api/v1/ca", "/api/v1/ca/certificates"} {
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", path, nil))
		if w.Code != http.StatusNotFound || !strings.Contains(w.Body.String(), "ask a control node") {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
}

func TestARequestThatCannotBeReadIsRefused(t *testing.T) {
	handler := authorityHandler(authority{})
	r := httptest.NewRequestWithContext(t.Context(), "POST", "/api/v1/ca", strings.NewReader("no JSON"))
	r.RemoteAddr = "127.0.0.1:1"
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, r)
	if w.Code != http.StatusBadRequest {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}
