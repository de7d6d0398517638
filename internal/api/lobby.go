package api

import (
	"context"
	"log/slog"
	"net/http"
)

// Wait is what a node waits for before it can work.
type Wait struct {
	// For says it in a sentence, Hint what to do if that takes long.
	For, Hint string
	// Ready tells that it is in order: the node is not needed for the time being.
	Ready bool
}

// ServeLobby answers the admin address of a node that waits, until ctx ends: it lives, is not ready, and what it waits for is the answer to all questions.
func ServeLobby(ctx context.Context, addr string, waits func() Wait, logger *slog.Logger) error {
	s, err := New(Config{Addr: addr, Logger: logger})
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", healthz)
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		now := waits()
		if !now.Ready {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		_, _ = w.Write([]byte("waiting: " + now.For + "\n"))
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		now := waits()
		writeJSON(w, http.StatusServiceUnavailable, problem{"this node waits: " + now.For, now.Hint})
	})
	return s.serve(ctx, mux)
}
