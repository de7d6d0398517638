package api_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/api"
)

func TestClientReadsTheState(t *testing.T) {
	client := api.NewClient(start(t, func() []string { return nil }))
	if status, err := client.State(t.Context()); err != nil || status.Node != "n1" || status.Revision != 7 {
		t.Errorf("State() = %+v, %v", status, err)
	}
	var got bytes.Buffer
	if err := client.Backup(t.Context(), &got); err != nil || got.String() != "all of it" {
		t.Errorf("Backup() = %q, %v", got.String(), err)
	}
}

func TestABackupThatFailsIsNotTakenForAWhole(t *testing.T) {
	for _, written := range []string{"", "half", strings.Repeat("half", 100_000)} {
		s, err := api.New(api.Config{
			Addr: "127.0.0.1:0", Edge: edge{}, Metrics: http.NotFoundHandler(), NotReady: func() []string { return nil }, Logger: slog.New(slog.DiscardHandler),
			State: func(context.Context) (ruche.StateStatus, error) { return ruche.StateStatus{}, errors.New("it is gone") },
			Backup: func(_ context.Context, w io.Writer) error {
				_, _ = io.WriteString(w, written)
				return errors.New("it is gone")
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		client := api.NewClient(s.Addr().String())
		if err := client.Backup(t.Context(), io.Discard); err == nil {
			t.Errorf("after %d bytes: the backup was taken for a whole", len(written))
		}
		if _, err := client.State(t.Context()); !errors.Is(err, api.ErrRejected) || !strings.Contains(err.Error(), "it is gone") {
			t.Errorf("State() = %v, want the reason", err)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func TestOnlyThisHostGetsABackup(t *testing.T) {
	handler := api.HandlerForTest(api.Config{
		Edge: edge{}, Metrics: http.NotFoundHandler(), Logger: slog.New(slog.DiscardHandler),
		State:  func(context.Context) (ruche.StateStatus, error) { return ruche.StateStatus{}, nil },
		Backup: func(context.Context, io.Writer) error { return nil },
	})
	for _, tc := range []struct {
		name, method, from, host string
		want                     int
	}{
		{"this host", "POST", "127.0.0.1:4711", "127.0.0.1:8900", 200},
		{"this host by name", "POST", "127.0.0.1:4711", "localhost:8900", 200},
		{"this host, IPv6", "POST", "[::1]:4711", "[::1]:8900", 200},
		{"this host, mapped", "POST", "[::ffff:127.0.0.1]:4711", "127.0.0.1", 200},
		{"another host", "POST", "192.0.2.7:4711", "192.0.2.1:8900", 403},
		{"a browser here that was led astray", "POST", "127.0.0.1:4711", "evil.example:8900", 403},
		{"a link", "GET", "127.0.0.1:4711", "127.0.0.1:8900", 405},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := httptest.NewRequest(tc.method, "/api/v1/state/backup", nil)
			r.RemoteAddr, r.Host = tc.from, tc.host
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, r)
			if w.Code != tc.want {
				t.Errorf("status %d, want %d: %s", w.Code, tc.want, w.Body)
			}
		})
	}
}
