package discovery

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/docker"
)

// tracker knows the containers of one Engine. Its maps belong to the goroutine of run; everything that waits for the Engine
// happens in other goroutines, which report over channels, so that a slow answer never delays an event.
type tracker struct {
	node   string
	client *docker.Client
	store  *store
	logger *slog.Logger
	alarm  alarm
	timing timing
	// swarm tells that a control node looks after the services of the Swarm.
	swarm bool

	ownID    string
	own      place
	networks networkList
	records  map[string]*record
	graves   *graves
	// clock counts events, to tell what an answer of the Engine cannot know yet.
	clock uint64

	stream      follower
	inspections chan inspection
	syncs       chan syncResult
	retries     chan string
	slots       chan struct{}
	work        sync.WaitGroup // what waits for the Engine

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

	killed *killed
	declared
}

// parallelInspects bounds how many inspections run at once. The Engine answers them in parallel, but holds a lock for each container.
const parallelInspects = 8

func newTracker(cfg Config, t timing, client *docker.Client, s *store, ownID string) *tracker {
	return &tracker{
		node: cfg.Node, client: client, store: s, logger: cfg.Logger, alarm: alarm{ruche.CodeDockerUnreachable, cfg.Health, cfg.Logger}, timing: t, swarm: cfg.Swarm,
		ownID: ownID, own: place{host: true}, records: map[string]*record{}, graves: newGraves(s, cfg.Logger, t.gone),
		stream: newFollower(client.Subscribe, cfg.Logger, t.minBackoff, reconnect(t.maxBackoff, client)), inspections: make(chan inspection, parallelInspects),
		syncs: make(chan syncResult, 1), retries: make(chan string, 16), slots: make(chan struct{}, parallelInspects),
		backoff: t.minBackoff, looked: make(chan struct{}),
	}
}

// run follows the Engine until ctx ends.
func (t *tracker) run(ctx context.Context) {
	t.graves.recall(ruche.KindContainer)
	defer t.work.Wait()
	t.work.Go(func() { t.stream.run(ctx) })
	resync := time.NewTicker(t.timing.resync)
	defer resync.Stop()
	forget := time.NewTicker(max(t.timing.gone/60, time.Millisecond))
	defer forget.Stop()
	for {
		select {
		case m := <-t.stream.messages:
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
			t.graves.forget(now)
			t.dropSightings()
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
	t.dropSightings()
	t.lookedOnce()
}

func (t *tracker) lookedOnce() {
	if !t.hasLooked {
		t.hasLooked = true
		close(t.looked)
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

func (t *tracker) warn(subject, what, hint string) { t.alarm.raise(subject, what, hint) }

func (t *tracker) reachable(subject string) {
	t.alarm.clear(subject, "the Docker Engine answers again")
}
