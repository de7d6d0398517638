package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/config"
	"github.com/ruche-project/ruche/internal/health"
)

// component is one row of the table that a node is made of.
type component struct {
	name  string
	roles config.Role // it runs on a node that has any of these
	// observer: the node can do its work without it, so that a failure restarts it instead of ending the process.
	observer bool
	// run works until its context ends and then returns nil. Returning earlier is a failure.
	run func(context.Context) error
}

// errReturned says that a component ended although nobody asked it to.
var errReturned = errors.New("it returned before it was told to stop")

// supervisor runs the rows of a table and stops them in reverse order.
type supervisor struct {
	logger *slog.Logger
	health *health.Registry
	// backoff is the pause before an observer is started again.
	backoff time.Duration
}

// running is a component that was started.
type running struct {
	component
	cancel context.CancelFunc
	done   chan struct{} // closed when it has returned
}

// run starts the components that roles asks for, in order, and returns when ctx has ended and all of them have stopped. When a
// component that is no observer returns early, the others are stopped and the error names it.
func (s *supervisor) run(ctx context.Context, table []component, roles config.Role) error {
	failed := make(chan error, len(table))
	var started []running
	for _, c := range table {
		if c.roles&roles != 0 {
			started = append(started, s.start(c, failed))
		}
	}
	var cause error
	select {
	case <-ctx.Done():
	case cause = <-failed:
		s.logger.Error("a component failed, stopping the others") // the error is printed when they have
	}
	for i := len(started) - 1; i >= 0; i-- {
		r := started[i]
		begin := time.Now()
		r.cancel()
		<-r.done
		s.logger.Debug("component stopped", "component", r.name, "took", time.Since(begin).Round(time.Millisecond))
	}
	// A component may also fail while it is being stopped: that must not be lost.
	for cause == nil {
		select {
		case cause = <-failed:
		default:
			return nil
		}
	}
	return cause
}

func (s *supervisor) start(c component, failed chan<- error) running {
	ctx, cancel := context.WithCancel(context.Background())
	r := running{component: c, cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(r.done)
		if c.observer {
			s.observe(ctx, c)
			return
		}
		err := c.run(ctx)
		if err == nil && ctx.Err() == nil {
			err = errReturned
		}
		if err != nil {
			failed <- fmt.Errorf("component %s: %w", c.name, err)
		}
	}()
	return r
}

// observe runs an observer again and again until ctx ends.
func (s *supervisor) observe(ctx context.Context, c component) {
	for {
		err := c.run(ctx)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			err = errReturned
		}
		s.logger.Warn("component failed and is started again", "component", c.name, "in", s.backoff, "error", err)
		s.health.Set(ruche.Warning{
			Code: ruche.CodeComponentRestarted, Severity: ruche.SeverityWarning, Subject: c.name,
			Message: fmt.Sprintf("it failed at %s: %v", time.Now().UTC().Format(time.RFC3339), err),
			Hint:    "it is started again by itself; if that repeats, the log says why",
		})
		select {
		case <-ctx.Done():
			return
		case <-time.After(s.backoff):
		}
	}
}
