package mesh

import (
	"context"
	"fmt"
	"net/http"
	"reflect"
	"time"

	"github.com/ruche-project/ruche"
)

const (
	// maxReport bounds what a node says of itself.
	maxReport = 256 << 10
	// reportKept is for how long a report that says nothing new is not written again.
	reportKept = 15 * time.Second
	// clockHeader has a node's time in what it asks, and smallOffset is what a network, or a busy node, may make of a clock that is right.
	clockHeader = "Ruche-Clock"
	smallOffset = 500 * time.Millisecond
	offsetStep  = 100 * time.Millisecond
)

// reporting calls send with how this node is, every report interval and when that has changed, which it looks for now and then, and at once when something comes from
// changed, until ctx ends. What fails is sent again.
func reporting(ctx context.Context, t timing, status func() ruche.NodeStatus, changed <-chan struct{}, send func(context.Context, ruche.NodeStatus) error) {
	tick := time.NewTicker(t.report / 5)
	defer tick.Stop()
	var last ruche.NodeStatus
	var at time.Time
	for {
		if now := status(); time.Since(at) >= t.report || !reflect.DeepEqual(now, last) {
			if send(ctx, now) == nil {
				last, at = now, time.Now()
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-tick.C:
		}
	}
}

// takeReport keeps what a node says of itself.
func (s *Server) takeReport(w http.ResponseWriter, r *http.Request, p Peer) error {
	offset := clockOffset(r.Header.Get(clockHeader), s.registry.now())
	var status ruche.NodeStatus
	if err := readBody(w, r, maxReport, &status); err != nil {
		return err
	}
	status.ClockOffset = offset
	if err := s.needQuorum(); err != nil {
		return err
	}
	if err := s.registry.report(r.Context(), p, status); err != nil {
		return unavailable(err)
	}
	answer(w, struct{}{})
	return nil
}

// clockOffset is how far the clock of a node is ahead that told its time now. It is rounded, so that what a network does to it is nothing new to be written; 0 also
// where no time was told.
func clockOffset(told string, now time.Time) time.Duration {
	t, err := time.Parse(time.RFC3339Nano, told)
	if offset := t.Sub(now); err == nil && offset.Abs() >= smallOffset {
		return offset.Round(offsetStep)
	}
	return 0
}

// report keeps what a node says of itself. By that it has shown its key, too.
func (r *Registry) report(ctx context.Context, p Peer, status ruche.NodeStatus) error {
	if err := r.confirm(ctx, p); err != nil {
		return err
	}
	status.Node, status.Seen = p.Name, r.now()
	r.mu.Lock()
	last := r.reported[p.Name]
	r.mu.Unlock()
	same := status
	same.Seen = last.Seen
	if reflect.DeepEqual(same, last) && status.Seen.Sub(last.Seen) < reportKept {
		return nil
	}
	if _, err := r.status.Put(ctx, p.Name, status); err != nil {
		return fmt.Errorf("cannot keep the report of node %q: %w", p.Name, err)
	}
	r.mu.Lock()
	r.reported[p.Name] = status
	r.mu.Unlock()
	return nil
}
