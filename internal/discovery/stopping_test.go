package discovery

import (
	"testing"
	"time"

	"github.com/ruche-project/ruche"
)

// settle has the Engine asked about a container, and waits until the answer was taken over.
func (h *house) settle(id, name string) {
	h.t.Helper()
	h.engine.Rename(id, name)
	h.await("the inspection of "+name, func() bool { return h.decls[containerKey(id)].Workload.Name == name })
}

func TestWhoIsStoppedHasTime(t *testing.T) {
	for _, tc := range []struct {
		name, stopSignal string
		signals          []int
		back             bool // it takes requests again after the short time
	}{
		{"TERM", "", []int{15}, false},
		{"the declared signal", "SIGINT", []int{2}, false},
		{"QUIT where it is declared", "SIGQUIT", []int{3}, false},
		{"TERM, then INT", "", []int{15, 2}, false},
		{"INT", "", []int{2}, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := build(t)
			h.timing.ending = time.Millisecond
			if tc.back {
				h.timing.ending = seen
			}
			h.run()
			c := site("shop", "shop.example")
			c.StopSignal = tc.stopSignal
			id := h.engine.Run(c)
			h.awaitState(id, ruche.EndpointReady)
			for _, signal := range tc.signals {
				h.engine.Kill(id, signal)
			}
			if tc.back {
				h.awaitBack(id)
				return
			}
			h.awaitState(id, ruche.EndpointStopping)
			began := time.Now()
			for i := 0; time.Since(began) < 2*h.timing.ending; i++ {
				h.settle(id, "shop"+string(rune('a'+i%26)))
			}
			h.awaitState(id, ruche.EndpointStopping)
		})
	}
}

func TestStoppedForTooLongComesBack(t *testing.T) {
	h := build(t)
	h.timing.stopping = seen
	h.run()
	id := h.engine.Run(site("shop", "shop.example"))
	h.awaitState(id, ruche.EndpointReady)
	h.engine.Kill(id, 15)
	h.awaitBack(id)
}

func TestRestartOfRucheRemembersWhoIsBeingStopped(t *testing.T) {
	h := start(t)
	stopping, again := h.engine.Run(site("stopping", "a.example")), h.engine.Run(site("again", "b.example"))
	for _, id := range []string{stopping, again} {
		h.awaitState(id, ruche.EndpointReady)
		h.engine.Kill(id, 15)
		h.awaitState(id, ruche.EndpointStopping)
	}
	h.stopRun()
	h.engine.Die(again, 0)
	h.engine.Start(again)
	seen := len(h.statesOf(stopping))
	h.run()
	h.awaitState(again, ruche.EndpointReady)
	h.settle(stopping, "renamed")
	e := h.awaitState(stopping, ruche.EndpointStopping)
	if more := h.statesOf(stopping)[seen:]; e.StateReason != "signal 15" || len(more) > 0 && more[0] != ruche.EndpointStopping {
		t.Errorf("endpoint %+v after states %v", e, more)
	}

	h.stopRun()
	h.timing.stopping = time.Millisecond
	h.run()
	h.awaitState(stopping, ruche.EndpointReady)
}

func (h *house) statesOf(id string) []ruche.EndpointState {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.states[containerKey(id)]
}
