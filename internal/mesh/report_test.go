package mesh

import (
	"testing"
	"time"

	"github.com/ruche-project/ruche"
)

// A clock that is off is found by whom it reports to; what a network does to a report is none of it, and is not written.
func TestReportsTellOfWrongClocks(t *testing.T) {
	h := newHouse(t)
	c := h.control("c1")
	ahead := newClock()
	ahead.at = h.clock.now().Add(90*time.Second + 30*time.Millisecond)
	h.enrolled("wrong", c, h.token(1, RoleEdge), func(c *ClientConfig) { c.Now = ahead.now })
	h.enrolled("right", c, h.token(1, RoleEdge), func(c *ClientConfig) {
		// It has the control node's clock, and says something of its own.
		c.Status = func() ruche.NodeStatus { return ruche.NodeStatus{Version: "test", ClockOffset: time.Hour} }
	})
	status := bucketOf[ruche.NodeStatus](h.state, "nodestatus")
	for name, want := range map[string]time.Duration{"wrong": 90 * time.Second, "right": 0} {
		eventually(t, name+" has reported", func() bool {
			e, err := status.Get(t.Context(), name)
			return err == nil && e.Value.ClockOffset == want
		})
	}
}

func TestClockOffset(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	for told, want := range map[string]time.Duration{
		"":                               0,
		"noon":                           0,
		"2026-11-22T12:00:00.49Z":        0,
		"2026-11-22T11:59:59.6Z":         0,
		"2026-11-22T12:00:00.74Z":        700 * time.Millisecond,
		"2026-11-22T11:58:00.96Z":        -119 * time.Second,
		"2026-11-22T13:00:31.01+01:00":   31 * time.Second,
		"0001-01-01T00:00:00Z":           -1 << 63,
		"2026-11-22T12:00:00.740000001Z": 700 * time.Millisecond,
	} {
		if got := clockOffset(told, now); got != want {
			t.Errorf("told %q: %v, want %v", told, got, want)
		}
	}
}
