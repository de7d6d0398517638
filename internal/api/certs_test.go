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

// importer keeps nothing, and fails after some.
type importer struct {
	batches []int
	fail    error
}

func (i *importer) Import(_ context.Context, list []ruche.ImportedCertificate) (ruche.ImportResult, error) {
	i.batches = append(i.batches, len(list))
	return ruche.ImportResult{Certificates: make([]ruche.ImportedItem, len(list))}, i.fail
}

func TestImportsComeInBatches(t *testing.T) {
	i := &importer{}
	server := httptest.NewServer(api.HandlerForTest(api.Config{Edge: edge{}, Metrics: http.NotFoundHandler(), Logger: slog.New(slog.DiscardHandler), Importer: i}))
	defer server.Close()
	client := api.NewClient(server.Listener.Addr().String())
	list := make([]ruche.ImportedCertificate, 450)
	for n := range list {
		list[n] = ruche.ImportedCertificate{Names: []string{fmt.Sprint(n)}, Key: []byte("SECRET")}
	}
	result, err := client.Import(t.Context(), list)
	if err != nil || len(result.Certificates) != 450 || fmt.Sprint(i.batches) != "[200 200 50]" {
		t.Errorf("Import() gave %d, %v, in batches %v", len(result.Certificates), err, i.batches)
	}
	i.fail = errors.New("it is gone")
	if _, err := client.Import(t.Context(), list); !errors.Is(err, api.ErrRejected) || !strings.Contains(err.Error(), "it is gone") {
		t.Errorf("Import() = %v, want the reason", err)
	}
	for name, r := range map[string]*http.Request{
		"another host": httptest.NewRequest(http.MethodPost, "/api/v1/certificates/import", strings.NewReader("[]")),
		"no list":      httptest.NewRequest(http.MethodPost, "/api/v1/certificates/import", strings.NewReader(`[{"key": "SECRET"}`)),
	} {
		want := http.StatusForbidden
		if name == "no list" {
			r.RemoteAddr, want = "127.0.0.1:1", http.StatusBadRequest
		}
		w := httptest.NewRecorder()
		api.HandlerForTest(api.Config{Edge: edge{}, Metrics: http.NotFoundHandler(), Logger: slog.New(slog.DiscardHandler), Importer: i}).ServeHTTP(w, r)
		if w.Code != want || strings.Contains(w.Body.String(), "SECRET") {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
}
