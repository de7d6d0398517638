package discovery

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/cluster"
	"github.com/ruche-project/ruche/internal/docker"
	"github.com/ruche-project/ruche/internal/health"
)

// SwarmConfig says which Swarm to discover and where to write it.
type SwarmConfig struct {
	// DockerHost is the address of a manager's Engine, as in Config.
	DockerHost string
	// EdgeNetworks are the names or IDs of the networks that the edges are in. When it is empty, they are those of the services with the label
	// ruche.role=edge and, when there is none, those of the container that this process runs in.
	EdgeNetworks []string

	// State has the rows of the Swarm.
	State State
	// Sightings is what the agents see of tasks; it is only read.
	Sightings *cluster.Bucket[ruche.Sighting]
	Logger    *slog.Logger
	Health    *health.Registry
}

// Swarm discovers the services of a Swarm. Make one with NewSwarm. Of all control nodes one runs it at a time.
type Swarm struct {
	cfg    SwarmConfig
	timing timing
	synced chan struct{}
	once   sync.Once
	// ownID finds the container this process runs in; tests replace it.
	ownID func() string
}

// NewSwarm prepares a Swarm without touching anything.
func NewSwarm(cfg SwarmConfig) *Swarm {
	return &Swarm{cfg: cfg, timing: defaultTiming(), synced: make(chan struct{}), ownID: docker.OwnContainer}
}

// Synced is closed after the first full look at the Swarm was tried, and what was found was written or could not be.
func (s *Swarm) Synced() <-chan struct{} { return s.synced }

// Run discovers until ctx ends, then returns nil; it may be called again. An error means that the configuration cannot work; a Swarm without a leader is
// a health warning, not an error.
func (s *Swarm) Run(ctx context.Context) error {
	client, err := docker.Open(s.cfg.DockerHost)
	if err != nil {
		return fmt.Errorf("cannot discover services: %w", err)
	}
	defer func() { _ = client.Close() }()
	rows := newStore(s.cfg.State, s.cfg.Logger, s.cfg.Health, s.timing)
	rows.subject = swarmSubject
	// Another control node may look after the Swarm from here on, and says what is wrong then.
	defer s.cfg.Health.Clear(ruche.CodeClusterUnavailable, swarmSubject)
	if !rows.load(ctx) {
		return nil
	}
	l := newLookout(s.cfg, s.timing, client, rows, s.ownID())
	defer l.withdraw()
	var wait sync.WaitGroup
	defer wait.Wait()
	wait.Go(func() { rows.run(ctx) })
	wait.Go(func() { l.run(ctx) })
	select {
	case <-l.looked:
	case <-ctx.Done():
		return nil
	}
	rows.flush(ctx)
	s.once.Do(func() { close(s.synced) })
	<-ctx.Done()
	return nil
}

// DropSwarm removes all that is known of a Swarm that nobody looks after any more.
func DropSwarm(ctx context.Context, state State) error {
	rows, err := state.Load(ctx)
	if err != nil {
		return err
	}
	var changes []Change
	for bucket, of := range rows {
		for key := range of {
			changes = append(changes, Change{Bucket: bucket, Key: key})
		}
	}
	for len(changes) > 0 {
		n := min(len(changes), maxChanges)
		if err := state.Apply(ctx, changes[:n]); err != nil {
			return err
		}
		changes = changes[n:]
	}
	return nil
}

const swarmSubject = "swarm"

// lookout knows the services and tasks of one Swarm. Its maps belong to the goroutine of run; everything that waits for the Engine happens in
// other goroutines, which report over channels.
type lookout struct {
	client *docker.Client
	store  *store
	logger *slog.Logger
	alarm  alarm
	timing timing
	cfg    SwarmConfig
	ownID  string

	services  map[string]*serviceRecord
	nodes     map[string]docker.Node
	networks  networkList
	own       place
	reach     reach
	sightings map[string]ruche.Sighting
	graves    *graves
	meshed    []string // services of edges that a warning stands about: they are published over the routing mesh
	// removed has the services that an event told the end of, and the clock then: older answers may still have them.
	removed map[string]uint64
	// clock counts questions, to tell which of two answers is newer.
	clock uint64

	stream  follower
	updates chan ruche.Update[ruche.Sighting]
	answers chan swarmAnswer
	looks   chan serviceAnswer
	due     chan string
	waiting int            // services whose next look is due some time
	wishes  []string       // services that are to be looked at
	asked   int            // questions for services that are under way
	work    sync.WaitGroup // what waits for the Engine

	asking    bool
	askAgain  swarmWish
	backoff   time.Duration
	looked    chan struct{}
	hasLooked bool
}

// serviceRecord is what is known of one service and its tasks.
type serviceRecord struct {
	service docker.Service
	known   bool // service was read, not only recalled from an earlier run
	// seen is the clock of the newest question whose answer had it.
	seen uint64
	declared
	tasks map[string]*taskRecord

	// wished: the next question is for it, too; looking: it is, or the question is under way; again: it is to be followed by another.
	wished, looking, again bool
	failures               int
	// changed is when one of its tasks changed last, touched when something told that they will; took is how long its last look took.
	changed, touched time.Time
	took             time.Duration
	next             *time.Timer // to the next look, nil when none is due
}

// taskRecord is what is known of one task.
type taskRecord struct {
	task  docker.Task
	known bool
	seen  uint64
}

func newLookout(cfg SwarmConfig, t timing, client *docker.Client, rows *store, ownID string) *lookout {
	return &lookout{
		client: client, store: rows, logger: cfg.Logger, alarm: alarm{ruche.CodeSwarmUnavailable, cfg.Health, cfg.Logger}, timing: t, cfg: cfg, ownID: ownID,
		services: map[string]*serviceRecord{}, nodes: map[string]docker.Node{}, own: place{host: true}, sightings: map[string]ruche.Sighting{},
		graves: newGraves(rows, cfg.Logger, t.gone), removed: map[string]uint64{},
		stream:  newFollower(client.SubscribeSwarm, cfg.Logger, t.minBackoff, reconnect(t.maxBackoff, client)),
		updates: make(chan ruche.Update[ruche.Sighting], 64), answers: make(chan swarmAnswer, 1), looks: make(chan serviceAnswer, parallelLooks),
		due: make(chan string, 16), backoff: t.minBackoff, looked: make(chan struct{}),
	}
}

// run follows the Swarm until ctx ends.
func (l *lookout) run(ctx context.Context) {
	l.recall()
	defer l.work.Wait()
	defer l.warnOfMesh(nil) // another one may lead now
	l.work.Go(func() { l.watchSightings(ctx) })
	select {
	case u := <-l.updates: // first, so that no task is put in that an agent saw end
		l.sighted(ctx, u)
	case <-ctx.Done():
		return
	}
	l.work.Go(func() { l.stream.run(ctx) })
	net := time.NewTicker(l.timing.net)
	defer net.Stop()
	forget := time.NewTicker(max(l.timing.gone/60, time.Millisecond))
	defer forget.Stop()
	for {
		select {
		case m := <-l.stream.messages:
			l.receive(ctx, m)
		case u := <-l.updates:
			l.sighted(ctx, u)
		case a := <-l.answers:
			l.answered(ctx, a)
		case a := <-l.looks:
			l.lookedAt(ctx, a)
		case id := <-l.due:
			l.waiting--
			if r := l.services[id]; r != nil {
				r.next = nil
				l.look(ctx, id, r)
			}
		case <-net.C:
			l.ask(ctx, askAll)
		case now := <-forget.C:
			l.graves.forget(now)
		case <-ctx.Done():
			return
		}
	}
}

// recall takes what an earlier run, or the one that led before, has written: it stays until the Swarm says otherwise.
func (l *lookout) recall() {
	l.graves.recall(ruche.KindService)
	for _, key := range l.store.ids(ruche.KindService) {
		if _, gone := l.graves.gone[key]; !gone {
			l.record(serviceID(key))
		}
	}
	for key, service := range l.store.tasks() {
		l.record(serviceID(service)).tasks[taskID(key)] = &taskRecord{}
	}
}

func (l *lookout) record(id string) *serviceRecord {
	r := l.services[id]
	if r == nil {
		r = &serviceRecord{tasks: map[string]*taskRecord{}}
		l.services[id] = r
	}
	return r
}

func (l *lookout) receive(ctx context.Context, m message) {
	switch m.kind {
	case streamOpen:
		l.ask(ctx, askAll)
	case streamFailed:
		l.unavailable(m.err)
		l.lookedOnce()
	case streamEvent:
		l.handle(ctx, m.event)
	}
}

// handle takes one event. None tells of tasks, so what changed is looked at.
func (l *lookout) handle(ctx context.Context, e docker.Event) {
	switch e.Action {
	case docker.ActionServiceCreate, docker.ActionServiceUpdate:
		r := l.record(e.Service)
		r.touched = time.Now()
		l.look(ctx, e.Service, r)
	case docker.ActionServiceRemove:
		l.clock++
		l.removed[e.Service] = l.clock
		l.drop(e.Service)
	case docker.ActionNodeChange, docker.ActionNetworkChange:
		l.ask(ctx, askSurroundings)
	case docker.ActionNetworkConnect, docker.ActionNetworkDisconnect:
		if slices.Contains(l.own.ids, e.Container) {
			l.ask(ctx, askSurroundings)
		}
	}
}

// watchSightings passes on what the agents see, until ctx ends.
func (l *lookout) watchSightings(ctx context.Context) {
	err := l.cfg.Sightings.Watch(ctx, func(u ruche.Update[ruche.Sighting]) {
		select {
		case l.updates <- u:
		case <-ctx.Done():
		}
	})
	if err != nil && ctx.Err() == nil {
		l.logger.Warn("what the agents see of tasks is not followed any more", "error", err)
	}
}

// sighted takes over what agents see. It is in force at once, and tells that the Swarm has news of that service, or will have.
func (l *lookout) sighted(ctx context.Context, u ruche.Update[ruche.Sighting]) {
	touched := map[string]bool{}
	if u.Reset {
		for task, s := range l.sightings {
			if _, still := u.Puts[task]; !still {
				u.Deletes = append(u.Deletes, task)
				touched[s.Service] = true
			}
		}
	}
	for _, task := range u.Deletes {
		if s, ok := l.sightings[task]; ok {
			touched[s.Service] = true
			delete(l.sightings, task)
		}
	}
	for task, s := range u.Puts {
		if l.sightings[task] != s {
			l.sightings[task] = s
			touched[s.Service] = true
		}
	}
	for id := range touched {
		if r := l.services[id]; r != nil {
			r.touched = time.Now()
			l.publish(id, r)
			l.look(ctx, id, r)
		}
	}
}

func (l *lookout) unavailable(err error) {
	l.alarm.raise(swarmSubject, "the services of the Swarm cannot be listed: "+err.Error(),
		orHint(docker.Hint(err), "look whether the Swarm has a leader: docker node ls"))
}

// withdraw takes back what was said to be wrong.
func (l *lookout) withdraw() {
	l.cfg.Health.Clear(l.alarm.code, swarmSubject)
	for id := range l.services {
		l.cfg.Health.Clear(l.alarm.code, "service "+id)
	}
}

func orHint(hint, other string) string {
	if hint != "" {
		return hint
	}
	return other
}

func (l *lookout) lookedOnce() {
	if !l.hasLooked {
		l.hasLooked = true
		close(l.looked)
	}
}
