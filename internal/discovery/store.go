package discovery

import (
	"context"
	"encoding/json"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/health"
)

const (
	// The size of a transaction should stay well below etcd's 1.5 MB.
	maxBatchBytes = 512 << 10
	writeTimeout  = 10 * time.Second
)

// store holds what is wanted of one owner's rows and writes what differs from the buckets, in the order in which it
// was asked for. Whoever asks never waits: changes of one row that come faster than they can be written are
// joined.
type store struct {
	state  State
	logger *slog.Logger
	health *health.Registry
	timing timing
	// subject tells its health warnings from those of other stores.
	subject string

	mu       sync.Mutex
	wanted   map[string]row
	encoded  map[string]encoded // of wanted
	stands   map[string]encoded // what the buckets hold
	queue    []string           // keys whose wanted row is not written yet
	queued   map[string]bool    // the same
	failures int                // attempts to write that failed
	busy     bool
	changed  *sync.Cond
	wake     chan struct{}
}

func newStore(state State, logger *slog.Logger, registry *health.Registry, t timing) *store {
	s := &store{
		state: state, logger: logger, health: registry, timing: t, subject: "discovery",
		wanted: map[string]row{}, encoded: map[string]encoded{}, stands: map[string]encoded{}, queued: map[string]bool{}, wake: make(chan struct{}, 1),
	}
	s.changed = sync.NewCond(&s.mu)
	return s
}

// load reads what the buckets hold of the owner, and tries again until it succeeds. It reports false when ctx ended.
func (s *store) load(ctx context.Context) bool {
	for backoff := s.timing.minBackoff; ; backoff = min(2*backoff, s.timing.maxBackoff) {
		err := s.tryLoad(ctx)
		if err == nil {
			s.recovered()
			return true
		}
		if ctx.Err() != nil {
			return false
		}
		s.failed("cannot read what was declared before", err)
		if !sleep(ctx, backoff) {
			return false
		}
	}
}

func (s *store) tryLoad(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	rows, err := s.state.Load(ctx)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, value := range rows[BucketDeclarations] {
		if d := decode[ruche.Declaration](value); d != nil {
			s.wanted[key] = row{declaration: d}
		}
	}
	for key, value := range rows[BucketEndpoints] {
		r := s.wanted[key]
		r.endpoint = decode[ruche.Endpoint](value)
		s.wanted[key] = r
	}
	for key, value := range rows[BucketSightings] {
		r := s.wanted[key]
		r.sighting = decode[ruche.Sighting](value)
		s.wanted[key] = r
	}
	for key, value := range rows[BucketCertSpecs] {
		r := s.wanted[key]
		r.certificates = decode[ruche.CertificateSpecs](value)
		s.wanted[key] = r
	}
	for key, value := range rows[BucketIngress] {
		s.wanted[key] = row{ingress: decode[ruche.Ingress](value)}
	}
	for key, r := range s.wanted {
		s.encoded[key] = r.encode()
		s.stands[key] = s.encoded[key]
	}
	return nil
}

// decode gives nil for what cannot be decoded: another release wrote it, and this one writes it anew.
func decode[T any](value json.RawMessage) *T {
	v := new(T)
	if json.Unmarshal(value, v) != nil {
		return nil
	}
	return v
}

// set asks for a row. It reports whether that changes anything.
func (s *store) set(id string, r row) bool {
	e := r.encode()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.encoded[id] == e {
		return false
	}
	s.wanted[id], s.encoded[id] = r, e
	if r == (row{}) {
		delete(s.wanted, id)
		delete(s.encoded, id)
	}
	s.enqueue(id)
	s.signal()
	return true
}

func (s *store) enqueue(key string) {
	if !s.queued[key] {
		s.queued[key] = true
		s.queue = append(s.queue, key)
	}
}

func (s *store) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// get returns what is wanted for one workload.
func (s *store) get(id string) row {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.wanted[id]
}

// ids returns the workloads of one kind, sorted.
func (s *store) ids(kind ruche.WorkloadKind) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var ids []string
	for id, r := range s.wanted {
		of := ruche.KindContainer // what has no declaration and is neither a task's nor a sighting can only be a container's
		if r.declaration != nil {
			of = r.declaration.Workload.Kind
		}
		if of == kind && r.sighting == nil && !strings.HasPrefix(id, taskPrefix) {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// tasks returns the services of all endpoints of tasks, as workloads, by key.
func (s *store) tasks() map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	tasks := map[string]string{}
	for key, r := range s.wanted {
		if r.endpoint != nil && strings.HasPrefix(key, taskPrefix) {
			tasks[key] = r.endpoint.Workload
		}
	}
	return tasks
}

// sightings returns the tasks of all sightings.
func (s *store) sightings() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var tasks []string
	for task, r := range s.wanted {
		if r.sighting != nil {
			tasks = append(tasks, task)
		}
	}
	return tasks
}

// dropKind forgets all workloads of one kind.
func (s *store) dropKind(kind ruche.WorkloadKind) {
	for _, id := range s.ids(kind) {
		s.set(id, row{})
	}
}

// flush waits until everything asked for is written, or an attempt failed.
func (s *store) flush(ctx context.Context) {
	stop := context.AfterFunc(ctx, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.changed.Broadcast()
	})
	defer stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	failures := s.failures
	for (len(s.queue) > 0 || s.busy) && s.failures == failures && ctx.Err() == nil {
		s.changed.Wait()
	}
}

// run writes until ctx ends.
func (s *store) run(ctx context.Context) {
	backoff, limit := s.timing.minBackoff, maxChanges
	for {
		b := s.take(limit)
		if len(b.rows) == 0 {
			select {
			case <-s.wake:
				continue
			case <-ctx.Done():
				return
			}
		}
		err := s.apply(ctx, b.changes)
		s.done(b, err)
		if err == nil {
			backoff, limit = s.timing.minBackoff, maxChanges
			s.recovered()
			continue
		}
		if ctx.Err() != nil {
			return
		}
		// One row that cannot be written must not keep the others out: go on one by one.
		s.failed("cannot write what is declared", err)
		limit = 1
		if !sleep(ctx, backoff) {
			return
		}
		backoff = min(2*backoff, s.timing.maxBackoff)
	}
}

func (s *store) apply(ctx context.Context, changes []Change) error {
	if len(changes) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	return s.state.Apply(ctx, changes)
}

// batch is what is written at once: some rows, and the changes that they need.
type batch struct {
	keys    []string
	rows    []encoded
	changes []Change
}

// take removes the first rows from the queue, of at most limit changes unless one has more.
func (s *store) take(limit int) batch {
	s.mu.Lock()
	defer s.mu.Unlock()
	var b batch
	size := 0
	for _, key := range s.queue {
		e := s.encoded[key]
		changes := e.changes(key, s.stands[key])
		for _, c := range changes {
			size += len(c.Value)
		}
		if len(b.rows) > 0 && (size > maxBatchBytes || len(b.changes)+len(changes) > limit) {
			break
		}
		b.keys, b.rows, b.changes = append(b.keys, key), append(b.rows, e), append(b.changes, changes...)
		delete(s.queued, key)
	}
	s.queue = s.queue[len(b.rows):]
	s.busy = len(b.rows) > 0
	return b
}

// done notes the end of an attempt; what failed goes to the end of the queue.
func (s *store) done(b batch, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.busy = false
	if err != nil {
		s.failures++
	}
	for i, key := range b.keys {
		switch {
		case err != nil:
			s.stands[key] = unsure(key)
			s.enqueue(key)
		case b.rows[i] == encoded{}:
			delete(s.stands, key)
		default:
			s.stands[key] = b.rows[i]
		}
	}
	s.changed.Broadcast()
}

func (s *store) failed(what string, err error) {
	w := ruche.Warning{
		Code: ruche.CodeClusterUnavailable, Severity: ruche.SeverityError, Subject: s.subject,
		Message: what + ": " + err.Error(),
		Hint:    "what is served stays as it is; look at the state of the cluster and at the space on its disk",
	}
	if s.health.Set(w) {
		s.logger.Error(what, "error", err)
	}
}

func (s *store) recovered() {
	if s.health.Clear(ruche.CodeClusterUnavailable, s.subject) {
		s.logger.Info("the cluster takes what is declared again")
	}
}
