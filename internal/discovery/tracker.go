package discovery

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/docker"
	"github.com/ruche-project/ruche/internal/health"
)

// tracker knows the containers of one Engine. Its maps belong to the goroutine of run; everything that waits for the Engine
// happens in other goroutines, which report over channels, so that a slow answer never delays an event.
type tracker struct {
	node   string
	client *docker.Client
	store  *store
	logger *slog.Logger
	health *health.Registry
	timing timing

	ownID    string
	own      place
	networks networkList
	records  map[string]*record
	gone     map[string]tombstone
	// clock counts events, to tell what an answer of the Engine cannot know yet.
	clock uint64

	messages    chan message
	inspections chan inspection
	syncs       chan syncResult
	retries     chan string
	slots       chan struct{}
	work        sync.WaitGroup // what waits for the Engine

	// maxReconnect bounds the pause between two attempts to reach the Engine.
	maxReconnect time.Duration

	syncing   bool
	syncAgain syncWish
	backoff   time.Duration
	// looked is closed after the first full look at the Engine was tried.
	looked    chan struct{}
	hasLooked bool
	listed    bool
}

// record is what is known of one container.
type record struct {
	container docker.Container
	known     bool // container was inspected
	summary   docker.Summary
	// born and changed are readings of tracker.clock: when the container was first heard of, and when of its last event.
	born    uint64
	changed uint64

	inspecting bool
	again      bool
	failures   int

	killed      *killed
	routes      []ruche.Route
	diagnostics []ruche.Diagnostic
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

// parallelInspects bounds how many inspections run at once. The Engine answers them in parallel, but holds a lock for each container.
const parallelInspects = 8

func newTracker(cfg Config, t timing, client *docker.Client, s *store, ownID string) *tracker {
	return &tracker{
		node: cfg.Node, client: client, store: s, logger: cfg.Logger, health: cfg.Health, timing: t,
		ownID: ownID, own: place{host: true}, records: map[string]*record{}, gone: map[string]tombstone{},
		messages: make(chan message, 1024), inspections: make(chan inspection, parallelInspects),
		syncs: make(chan syncResult, 1), retries: make(chan string, 16), slots: make(chan struct{}, parallelInspects),
		backoff: t.minBackoff, maxReconnect: reconnect(t.maxBackoff, client), looked: make(chan struct{}),
	}
}

// reconnect says how long to wait at most before the Engine is tried again. On a socket an attempt costs next to nothing, and
// after a restart of the Engine every container's address may be another one.
func reconnect(limit time.Duration, client *docker.Client) time.Duration {
	if client.Local() {
		return min(limit, 500*time.Millisecond)
	}
	return limit
}

// run follows the Engine until ctx ends.
func (t *tracker) run(ctx context.Context) {
	t.recallGone()
	defer t.work.Wait()
	t.work.Go(func() { t.connect(ctx) })
	resync := time.NewTicker(t.timing.resync)
	defer resync.Stop()
	forget := time.NewTicker(max(t.timing.gone/60, time.Millisecond))
	defer forget.Stop()
	for {
		select {
		case m := <-t.messages:
			t.receive(ctx, m)
		case i := <-t.inspections:
			t.inspected(ctx, i)
		case s := <-t.syncs:
			t.synced(ctx, s)
		case id := <-t.retries:
			t.retry(ctx, id)
		case <-resync.C:
			t.sync(ctx, syncChanged)
		case now := <-forget.C:
			t.forgetGone(now)
		case <-ctx.Done():
			return
		}
		t.noteLooked()
	}
}

// noteLooked closes looked once the first list and the inspections it asked for are through.
func (t *tracker) noteLooked() {
	if t.hasLooked || !t.listed {
		return
	}
	for _, r := range t.records {
		if r.inspecting {
			return
		}
	}
	t.lookedOnce()
}

func (t *tracker) lookedOnce() {
	if !t.hasLooked {
		t.hasLooked = true
		close(t.looked)
	}
}

// connect keeps the event stream open and passes on what it tells.
func (t *tracker) connect(ctx context.Context) {
	backoff := t.timing.minBackoff
	for {
		began := time.Now()
		err := t.follow(ctx)
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) > t.maxReconnect {
			backoff = t.timing.minBackoff
		}
		// Debug: that the Engine is away is told once, by the warning docker-unreachable.
		t.logger.Debug("the stream of Docker events ended; connecting again", "error", err, "after", backoff)
		if !sleep(ctx, backoff) {
			return
		}
		backoff = min(2*backoff, t.maxReconnect)
	}
}

// follow opens the stream once and passes its events on until it ends.
func (t *tracker) follow(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := t.client.Subscribe(ctx)
	if err != nil {
		t.tell(ctx, message{kind: streamFailed, err: err})
		return err
	}
	if !t.tell(ctx, message{kind: streamOpen}) {
		return nil
	}
	for event := range stream.Events() {
		if !t.tell(ctx, message{kind: streamEvent, event: event}) {
			return nil
		}
	}
	return stream.Err()
}

func (t *tracker) tell(ctx context.Context, m message) bool {
	select {
	case t.messages <- m:
		return true
	case <-ctx.Done():
		return false
	}
}

func (t *tracker) receive(ctx context.Context, m message) {
	switch m.kind {
	case streamOpen:
		t.sync(ctx, syncAll)
	case streamEvent:
		t.handle(ctx, m.event)
	case streamFailed:
		t.unreachable(m.err)
		t.lookedOnce()
	}
}

// unreachable raises the warning that the Engine does not answer.
func (t *tracker) unreachable(err error) {
	t.warn("", "the Docker Engine cannot be reached: "+err.Error(), docker.Hint(err))
}

func (t *tracker) warn(subject, what, hint string) {
	const standing = "what was known stays in force"
	if hint == "" {
		hint = standing
	} else {
		hint += "; " + standing
	}
	w := ruche.Warning{Code: ruche.CodeDockerUnreachable, Severity: ruche.SeverityError, Subject: subject, Message: what, Hint: hint}
	if t.health.Set(w) {
		t.logger.Warn(what, "hint", hint)
	}
}

func (t *tracker) reachable(subject string) {
	if t.health.Clear(ruche.CodeDockerUnreachable, subject) {
		t.logger.Info("the Docker Engine answers again", "subject", subject)
	}
}
