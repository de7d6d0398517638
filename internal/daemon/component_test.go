package daemon

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/config"
	"github.com/ruche-project/ruche/internal/health"
)

// journal notes what happens in which order.
type journal struct {
	mu    sync.Mutex
	lines []string
}

func (j *journal) note(line string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, line)
}

func (j *journal) read() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.lines)
}

func (j *journal) waiting(name string) func(context.Context) error {
	return func(ctx context.Context) error {
		<-ctx.Done()
		j.note("stop " + name)
		return nil
	}
}

func testSupervisor() *supervisor {
	return &supervisor{logger: slog.New(slog.DiscardHandler), health: &health.Registry{}, backoff: time.Second}
}

func TestComponentsStopInReverseOrder(t *testing.T) {
	var j journal
	table := []component{
		{name: "cluster", roles: config.Control, run: j.waiting("cluster")},
		{name: "discovery", roles: config.Agent, run: j.waiting("discovery")},
		{name: "proxy", roles: config.Edge, run: j.waiting("proxy")},
	}
	cases := map[string]struct {
		roles config.Role
		want  []string
	}{
		"all":  {config.All, []string{"stop proxy", "stop discovery", "stop cluster"}},
		"edge": {config.Edge, []string{"stop proxy"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			j.lines = nil
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if err := testSupervisor().run(ctx, table, c.roles); err != nil {
				t.Fatal(err)
			}
			if got := j.read(); !slices.Equal(got, c.want) {
				t.Errorf("order = %v, want %v", got, c.want)
			}
		})
	}
}

func TestAComponentThatReturnsEarlyEndsTheProcessByName(t *testing.T) {
	boom := errors.New("boom")
	cases := map[string]struct {
		err  error
		want error
	}{
		"with an error":    {boom, boom},
		"without an error": {nil, errReturned},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			var j journal
			table := []component{
				{name: "cluster", roles: config.Control, run: j.waiting("cluster")},
				{name: "proxy", roles: config.Edge, run: func(context.Context) error { return c.err }},
			}
			err := testSupervisor().run(t.Context(), table, config.All)
			if !errors.Is(err, c.want) || !strings.Contains(err.Error(), "component proxy") {
				t.Errorf("run() = %v, want %v with the component's name", err, c.want)
			}
			if got := j.read(); !slices.Equal(got, []string{"stop cluster"}) {
				t.Errorf("the others were not stopped: %v", got)
			}
		})
	}
}

func TestAFailureWhileStoppingIsReported(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	boom := errors.New("boom")
	table := []component{{name: "cluster", roles: config.Control, run: func(ctx context.Context) error {
		<-ctx.Done()
		return boom
	}}}
	if err := testSupervisor().run(ctx, table, config.All); !errors.Is(err, boom) {
		t.Errorf("run() = %v, want the error of the stop", err)
	}
}

func TestAnObserverIsStartedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := testSupervisor()
		runs := 0
		table := []component{{name: "api", roles: config.All, observer: true, run: func(ctx context.Context) error {
			runs++
			if runs == 1 {
				return errors.New("boom")
			}
			<-ctx.Done()
			return nil
		}}}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- s.run(ctx, table, config.All) }()
		<-time.After(2 * time.Second) // of the bubble's clock: no time passes
		synctest.Wait()
		if runs != 2 {
			t.Errorf("the observer ran %d times, want 2", runs)
		}
		if w := s.health.List(); len(w) != 1 || w[0].Code != ruche.CodeComponentRestarted || w[0].Subject != "api" {
			t.Errorf("warnings = %+v, want component-restarted for api", w)
		}
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run() = %v, want nil", err)
		}
	})
}
