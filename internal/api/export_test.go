package api

import "net/http"

// HandlerForTest is what a server of this config answers with.
func HandlerForTest(cfg Config) http.Handler { return (&Server{cfg: cfg}).handler() }
