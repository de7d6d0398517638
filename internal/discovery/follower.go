package discovery

import (
	"context"
	"log/slog"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/docker"
	"github.com/ruche-project/ruche/internal/health"
)

// follower keeps a stream of the Engine's events open and passes on what it tells.
type follower struct {
	subscribe func(context.Context) (*docker.Subscription, error)
	messages  chan message
	logger    *slog.Logger
	// minBackoff and maxBackoff bound the pause between two attempts to reach the Engine.
	minBackoff, maxBackoff time.Duration
}

// message is what the connection to the event stream tells.
type message struct {
	kind  messageKind
	event docker.Event
	err   error
}

type messageKind int

const (
	streamOpen messageKind = iota
	streamEvent
	streamFailed // it could not be opened
)

func newFollower(subscribe func(context.Context) (*docker.Subscription, error), logger *slog.Logger, minBackoff, maxBackoff time.Duration) follower {
	return follower{subscribe: subscribe, messages: make(chan message, 1024), logger: logger, minBackoff: minBackoff, maxBackoff: maxBackoff}
}

// reconnect says how long to wait at most before the Engine is tried again. On a socket an attempt costs next to nothing, and
// after a restart of the Engine every container's address may be another one.
func reconnect(limit time.Duration, client *docker.Client) time.Duration {
	if client.Local() {
		return min(limit, 500*time.Millisecond)
	}
	return limit
}

// run keeps the stream open until ctx ends.
func (f *follower) run(ctx context.Context) {
	backoff := f.minBackoff
	for {
		began := time.Now()
		err := f.follow(ctx)
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) > f.maxBackoff {
			backoff = f.minBackoff
		}
		// Debug: that the Engine is away is told once, by a health warning.
		f.logger.Debug("the stream of Docker events ended; connecting again", "error", err, "after", backoff)
		if !sleep(ctx, backoff) {
			return
		}
		backoff = min(2*backoff, f.maxBackoff)
	}
}

// follow opens the stream once and passes its events on until it ends.
func (f *follower) follow(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := f.subscribe(ctx)
	if err != nil {
		f.tell(ctx, message{kind: streamFailed, err: err})
		return err
	}
	if !f.tell(ctx, message{kind: streamOpen}) {
		return nil
	}
	for event := range stream.Events() {
		if !f.tell(ctx, message{kind: streamEvent, event: event}) {
			return nil
		}
	}
	return stream.Err()
}

func (f *follower) tell(ctx context.Context, m message) bool {
	select {
	case f.messages <- m:
		return true
	case <-ctx.Done():
		return false
	}
}

// alarm raises health warnings of one code.
type alarm struct {
	code   ruche.Code
	health *health.Registry
	logger *slog.Logger
}

func (a alarm) raise(subject, what, hint string) {
	const standing = "what was known stays in force"
	if hint == "" {
		hint = standing
	} else {
		hint += "; " + standing
	}
	w := ruche.Warning{Code: a.code, Severity: ruche.SeverityError, Subject: subject, Message: what, Hint: hint}
	if a.health.Set(w) {
		a.logger.Warn(what, "hint", hint)
	}
}

// clear takes a warning back, and says so if it stood.
func (a alarm) clear(subject, relief string) {
	if a.health.Clear(a.code, subject) {
		a.logger.Info(relief, "subject", subject)
	}
}
