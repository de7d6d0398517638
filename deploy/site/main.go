// Command site is a small web site in one static binary. The demo publishes it, and the end-to-end scenarios use it as
// the container behind Ruche. It answers every path with what it saw of the request, sends datagrams to the same port back, and it can misbehave on
// request: start late, fail its health check, ignore SIGTERM or exit at once.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"
)

func main() {
	if err := run(os.Args[1:], os.Getenv); err != nil {
		fmt.Fprintf(os.Stderr, "error: %v\n", err)
		os.Exit(1)
	}
}

func run(args []string, getenv func(string) string) error {
	cfg, err := parseConfig(getenv)
	if err != nil {
		return err
	}
	verb := "serve"
	if len(args) > 0 {
		verb = args[0]
	}
	switch verb {
	case "serve":
		return serve(cfg)
	case "health":
		return askHealth(cfg)
	case "healthy", "unhealthy":
		return tellHealth(cfg, verb)
	case "get":
		return get(args[1:], os.Stdout)
	}
	return fmt.Errorf("cannot run %q: the verbs are serve, health, healthy, unhealthy and get URL", verb)
}

// serve answers requests until it is told to stop.
func serve(cfg config) error {
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	if !waitStartDelay(cfg.startDelay, signals) {
		return nil
	}
	site := newSite(cfg, &atomic.Bool{})
	server := &http.Server{Handler: site.handler(), ReadHeaderTimeout: 10 * time.Second}
	server.Protocols = new(http.Protocols)
	server.Protocols.SetHTTP1(true)
	server.Protocols.SetUnencryptedHTTP2(true)
	listener, err := net.Listen("tcp", cfg.listen)
	if err != nil {
		return fmt.Errorf("cannot listen on %s: %w", cfg.listen, err)
	}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	datagrams, err := net.ListenPacket("udp", listener.Addr().String())
	if err != nil {
		return fmt.Errorf("cannot listen on UDP %s: %w", listener.Addr(), err)
	}
	defer func() { _ = datagrams.Close() }()
	go echo(datagrams, cfg.name)
	log.Info("serving", "site", cfg.name, "address", listener.Addr().String())
	select {
	case err := <-failed:
		return fmt.Errorf("cannot serve: %w", err)
	case s := <-signals:
		log.Info("told to stop", "signal", s.String(), "on_term", string(cfg.onTerm))
	}
	return stop(server, cfg)
}

// echo sends each datagram back, after the site's name, until the socket is closed.
func echo(c net.PacketConn, name string) {
	b := make([]byte, 64<<10)
	for {
		n, from, err := c.ReadFrom(b)
		if err != nil {
			return
		}
		_, _ = c.WriteTo(append([]byte(name+" "), b[:n]...), from)
	}
}

// waitStartDelay reports whether the delay passed without a signal.
func waitStartDelay(delay time.Duration, signals <-chan os.Signal) bool {
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-signals:
		return false
	}
}

// stop ends the server in the way the configuration asks for.
func stop(server *http.Server, cfg config) error {
	if cfg.onTerm == termExit {
		return nil
	}
	if cfg.onTerm == termIgnore {
		<-time.After(cfg.ignoreFor)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := server.Shutdown(ctx); err != nil && !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("cannot finish the requests in flight: %w", err)
	}
	return nil
}
