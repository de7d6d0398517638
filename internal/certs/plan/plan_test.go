package plan_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/ruche-project/ruche/internal/certs/plan"
)

const day = 24 * time.Hour

func at(d time.Duration) time.Time { return time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC).Add(d) }

// TestDue holds the plan's table: by the life, when a certificate is due, and when the two warnings come.
func TestDue(t *testing.T) {
	for _, tc := range []struct {
		name           string
		life           time.Duration
		due            time.Duration // after NotBefore, give or take a sixtieth of the life
		late, critical time.Duration // before NotAfter, give or take the same
	}{
		{"90 days", 90 * day, 60 * day, 15 * day, 180 * time.Hour},
		{"64 days", 64 * day, 1024 * time.Hour, 256 * time.Hour, 128 * time.Hour},
		{"47 days", 47 * day, 752 * time.Hour, 188 * time.Hour, 94 * time.Hour},
		{"160 hours", 160 * time.Hour, 80 * time.Hour, 40 * time.Hour, 20 * time.Hour},
		{"a day, of our own authority", day, 12 * time.Hour, 6 * time.Hour, 3 * time.Hour},
	} {
		for _, id := range []string{"a", "b", "shop.example-0123456789"} {
			c := plan.Certificate{ID: id, NotBefore: at(0), NotAfter: at(tc.life), Issued: at(0)}
			slack := tc.life / 60
			due := plan.Due(c).Sub(at(0))
			if due > tc.due || due < tc.due-slack {
				t.Errorf("%s, %s: due after %s, want %s or up to %s before", tc.name, id, due, tc.due, slack)
			}
			for _, w := range []struct {
				left time.Duration
				want plan.Level
			}{
				{tc.life - due + time.Minute, plan.Fine}, {tc.life - due - time.Minute, plan.Fine}, {tc.late + slack, plan.Fine}, {tc.late - time.Minute, plan.Late},
				{tc.critical + slack, plan.Late}, {tc.critical - time.Minute, plan.Critical}, {-time.Hour, plan.Critical},
			} {
				if got := plan.LevelAt(c, at(tc.life-w.left)); got != w.want {
					t.Errorf("%s, %s: with %s left the level is %d, want %d", tc.name, id, w.left, got, w.want)
				}
			}
		}
	}
}

func TestDueByOthersWord(t *testing.T) {
	month := plan.Certificate{ID: "x", NotBefore: at(0), NotAfter: at(90 * day), Issued: at(0)}
	window := func(c plan.Certificate, start, end time.Duration) plan.Certificate {
		c.WindowStart, c.WindowEnd = at(start), at(end)
		return c
	}
	renewAfter := func(c plan.Certificate, d time.Duration) plan.Certificate { c.RenewAfter = d; return c }
	imported := month
	imported.Issued = at(80 * day)
	// The clock of this machine is two months ahead: what the CA issues now seems to be almost over.
	ahead := month
	ahead.Issued = at(89 * day)
	expired := month
	expired.Issued = at(100 * day)
	for _, tc := range []struct {
		name     string
		c        plan.Certificate
		min, max time.Duration
	}{
		{"the CA's window", window(month, 55*day, 57*day), 55 * day, 57 * day},
		{"a window that is somewhat later than the rule", window(month, 62*day, 64*day), 62 * day, 64 * day},
		{"a window that is later than is safe", window(month, 85*day, 88*day), 67 * day, 68 * day},
		{"a window in the past: the CA will revoke", window(month, -2*day, -day), 6 * time.Hour, 6 * time.Hour},
		{"a window before a third", window(month, 10*day, 11*day), 10 * day, 11 * day},
		{"a window that ends before it begins", window(month, 50*day, 40*day), 50 * day, 50 * day},
		{"sooner by the owner's wish", renewAfter(month, 45*day), 45 * day, 45 * day},
		{"the owner's wish is before a third", renewAfter(month, day), 30 * day, 30 * day},
		{"the owner's wish is later than the plan", renewAfter(month, 80*day), 58 * day, 60 * day},
		{"the owner's wish is sooner than the window", renewAfter(window(month, 55*day, 57*day), 45*day), 45 * day, 45 * day},
		{"imported when it was due already", imported, 83 * day, 84 * day},
		{"the clock is ahead", ahead, 92 * day, 92 * day},
		{"the clock is ahead by more than a life", expired, 103 * day, 103 * day},
	} {
		if got := plan.Due(tc.c).Sub(at(0)); got < tc.min || got > tc.max {
			t.Errorf("%s: due after %s, want between %s and %s", tc.name, got, tc.min, tc.max)
		}
	}
	asked := window(month, -2*day, -day)
	if got := plan.LevelAt(asked, at(20*time.Hour)); got != plan.Fine {
		t.Errorf("14 hours after the CA's word counts: level %d, want none", got)
	}
	if got := plan.LevelAt(asked, at(31*time.Hour)); got != plan.Late {
		t.Errorf("a day after the CA's word counts: level %d, want late", got)
	}
}

func TestManyAreNotDueAtOnce(t *testing.T) {
	minutes := make(map[time.Time]int)
	for i := range 1000 {
		c := plan.Certificate{ID: fmt.Sprintf("host-%d.example", i), NotBefore: at(0), NotAfter: at(90 * day), Issued: at(0)}
		minutes[plan.Due(c).Truncate(time.Minute)]++
		c.WindowStart, c.WindowEnd = at(58*day), at(60*day)
		if again := c; !plan.Due(c).Equal(plan.Due(again)) {
			t.Fatal("the moment in a window changes from one question to the next")
		}
	}
	for m, n := range minutes {
		if n > 12 {
			t.Errorf("%d of 1000 certificates are due at %s", n, m)
		}
	}
}

func TestRetry(t *testing.T) {
	for _, tc := range []struct {
		name     string
		failures int
		left     time.Duration // 0: there is no certificate
		min      time.Duration
	}{
		{"the first", 1, 0, time.Minute},
		{"the second", 2, 0, 10 * time.Minute},
		{"the third", 3, 0, 100 * time.Minute},
		{"the fourth", 4, 0, day},
		{"the fortieth", 40, 0, day},
		{"with a month left", 7, 30 * day, day},
		{"with 80 hours left", 4, 80 * time.Hour, 8 * time.Hour},
		{"with an hour left", 4, time.Hour, 6 * time.Minute},
		{"with a minute left", 4, time.Minute, time.Minute},
		{"when it is over", 4, -time.Hour, day},
	} {
		var notAfter time.Time
		if tc.left != 0 {
			notAfter = at(tc.left)
		}
		got := plan.Retry("x", tc.failures, at(0), notAfter).Sub(at(0))
		if got < tc.min || got > tc.min*6/5 {
			t.Errorf("%s: after %s, want %s or up to a fifth more", tc.name, got, tc.min)
		}
	}
}

func TestAskAgain(t *testing.T) {
	for _, tc := range []struct {
		name              string
		life, after, want time.Duration
	}{
		{"as the CA says", 90 * day, 6 * time.Hour, 6 * time.Hour},
		{"the CA says nothing", 90 * day, 0, 6 * time.Hour},
		{"twice a day at least", 90 * day, 10 * day, 12 * time.Hour},
		{"not all the time", 90 * day, time.Second, time.Minute},
		{"short-lived", 160 * time.Hour, 6 * time.Hour, 2 * time.Hour},
		{"very short-lived", day, 6 * time.Hour, time.Hour},
	} {
		if got := plan.AskAgain(at(0), tc.life, tc.after).Sub(at(0)); got != tc.want {
			t.Errorf("%s: after %s, want %s", tc.name, got, tc.want)
		}
	}
}

// TestAYear lives through a year of certificates that the CA issues when they are asked for, but for a day of each week when it is down.
func TestAYear(t *testing.T) {
	for _, tc := range []struct {
		name    string
		life    time.Duration
		renewed int // at most
	}{
		{"6 days", 160 * time.Hour, 125},
		{"47 days", 47 * day, 13},
		{"90 days", 90 * day, 7},
	} {
		for _, id := range []string{"a", "b", "c", "d"} {
			c := plan.Certificate{ID: id, NotBefore: at(0), NotAfter: at(tc.life), Issued: at(0)}
			renewed, failures := 0, 0
			next := plan.Due(c)
			for next.Before(at(365 * day)) {
				now := next
				if !now.Before(c.NotAfter) {
					t.Fatalf("%s, %s: a gap at %s", tc.name, id, now)
				}
				if int(now.Sub(at(0))/day)%7 == 3 {
					failures++
					next = plan.Retry(id, failures, now, c.NotAfter)
					continue
				}
				renewed, failures = renewed+1, 0
				c.NotBefore, c.NotAfter, c.Issued = now.Add(-time.Hour), now.Add(tc.life-time.Hour), now
				next = plan.Due(c)
			}
			if renewed > tc.renewed || renewed < tc.renewed*3/4 {
				t.Errorf("%s, %s: renewed %d times in a year, want %d or a few less", tc.name, id, renewed, tc.renewed)
			}
		}
	}
}
