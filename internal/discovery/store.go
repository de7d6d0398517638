package discovery

import (
	"context"
	"encoding/json"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/cluster"
	"github.com/ruche-project/ruche/internal/health"
)

const (
	// A transaction holds at most 128 operations, and a workload needs two; its size should stay well below etcd's 1.5 MB.
	maxBatch      = 60
	maxBatchBytes = 512 << 10
	writeTimeout  = 10 * time.Second
)

// row is what is wanted in the buckets for one workload; nil means no key.
type row struct {
	declaration *ruche.Declaration
	endpoint    *ruche.Endpoint
}

// encoded is a row as it is compared.
type encoded struct{ declaration, endpoint string }

func (r row) encode() encoded {
	var e encoded
	if r.declaration != nil {
		data, _ := json.Marshal(r.declaration) // of plain types only, cannot fail
		e.declaration = string(data)
	}
	if r.endpoint != nil {
		data, _ := json.Marshal(r.endpoint)
		e.endpoint = string(data)
	}
	return e
}

// store holds what is wanted of this node's workloads and writes what differs from the buckets, in the order in which it
// was asked for. Whoever asks never waits: changes of one workload that come faster than they can be written are
// joined.
type store struct {
	node         string
	cluster      *cluster.Cluster
	declarations *cluster.Bucket[ruche.Declaration]
	endpoints    *cluster.Bucket[ruche.Endpoint]
	logger       *slog.Logger
	health       *health.Registry
	timing       timing

	mu       sync.Mutex
	wanted   map[string]row
	encoded  map[string]encoded // of wanted
	queue    []string           // workloads whose wanted row is not written yet
	failures int                // attempts to write that failed
	busy     bool
	changed  *sync.Cond
	wake     chan struct{}
}

func newStore(cfg Config, t timing) *store {
	s := &store{
		node: cfg.Node, cluster: cfg.Cluster, declarations: cfg.Declarations, endpoints: cfg.Endpoints,
		logger: cfg.Logger, health: cfg.Health, timing: t,
		wanted: map[string]row{}, encoded: map[string]encoded{}, wake: make(chan struct{}, 1),
	}
	s.changed = sync.NewCond(&s.mu)
	return s
}

// load reads what the buckets hold of this node, and tries again until it succeeds. It reports false when ctx ended.
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
	declarations, err := s.declarations.List(ctx)
	if err != nil {
		return err
	}
	endpoints, err := s.endpoints.List(ctx)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, entry := range declarations {
		if entry.Value.Workload.Node == s.node {
			s.wanted[id] = row{declaration: &entry.Value}
		}
	}
	for id, entry := range endpoints {
		if entry.Value.Node == s.node {
			r := s.wanted[id]
			r.endpoint = &entry.Value
			s.wanted[id] = r
		}
	}
	for id, r := range s.wanted {
		s.encoded[id] = r.encode()
	}
	return nil
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
	if !slices.Contains(s.queue, id) {
		s.queue = append(s.queue, id)
	}
	s.signal()
	return true
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
		of := ruche.KindContainer // an endpoint without declaration can only be a container's
		if r.declaration != nil {
			of = r.declaration.Workload.Kind
		}
		if of == kind {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
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
	backoff, limit := s.timing.minBackoff, maxBatch
	for {
		ids, ops := s.take(limit)
		if len(ids) == 0 {
			select {
			case <-s.wake:
				continue
			case <-ctx.Done():
				return
			}
		}
		err := s.apply(ctx, ops)
		s.done(ids, err)
		if err == nil {
			backoff, limit = s.timing.minBackoff, maxBatch
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

func (s *store) apply(ctx context.Context, ops []cluster.Op) error {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	return s.cluster.Apply(ctx, ops...)
}

// take removes the first workloads from the queue and gives the operations that write them.
func (s *store) take(limit int) (ids []string, ops []cluster.Op) {
	s.mu.Lock()
	defer s.mu.Unlock()
	size := 0
	for _, id := range s.queue[:min(limit, len(s.queue))] {
		e := s.encoded[id]
		size += len(e.declaration) + len(e.endpoint)
		if len(ids) > 0 && size > maxBatchBytes {
			break
		}
		ids = append(ids, id)
		r := s.wanted[id]
		if r.declaration != nil {
			ops = append(ops, s.declarations.PutOp(id, *r.declaration))
		} else {
			ops = append(ops, s.declarations.DeleteOp(id))
		}
		if r.endpoint != nil {
			ops = append(ops, s.endpoints.PutOp(id, *r.endpoint))
		} else {
			ops = append(ops, s.endpoints.DeleteOp(id))
		}
	}
	s.queue = s.queue[len(ids):]
	s.busy = len(ids) > 0
	return ids, ops
}

// done notes the end of an attempt; what failed goes to the end of the queue.
func (s *store) done(ids []string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.busy = false
	if err != nil {
		s.failures++
		for _, id := range ids {
			if !slices.Contains(s.queue, id) {
				s.queue = append(s.queue, id)
			}
		}
	}
	s.changed.Broadcast()
}

const storeSubject = "discovery"

func (s *store) failed(what string, err error) {
	w := ruche.Warning{
		Code: ruche.CodeClusterUnavailable, Severity: ruche.SeverityError, Subject: storeSubject,
		Message: what + ": " + err.Error(),
		Hint:    "what is served stays as it is; look at the state of the cluster and at the space on its disk",
	}
	if s.health.Set(w) {
		s.logger.Error(what, "error", err)
	}
}

func (s *store) recovered() {
	if s.health.Clear(ruche.CodeClusterUnavailable, storeSubject) {
		s.logger.Info("the cluster takes what is declared again")
	}
}
