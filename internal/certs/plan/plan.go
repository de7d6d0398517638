// Package plan says when certificates are to be renewed, when a failed try is repeated, when somebody has to be told, and how much may be asked of a CA. It is
// arithmetic: it reads no clock and keeps nothing.
package plan

import (
	"crypto/sha256"
	"encoding/binary"
	"time"
)

// shortLived is the life below which a certificate is renewed after half of it.
const shortLived = 10 * 24 * time.Hour

// Certificate is what the plan has to know of one.
type Certificate struct {
	// ID spreads certificates that would be due at one moment.
	ID                  string
	NotBefore, NotAfter time.Time
	// Issued is when it came here, by our clock.
	Issued time.Time
	// WindowStart and WindowEnd are the CA's suggestion (RFC 9773); zero when there is none.
	WindowStart, WindowEnd time.Time
	// RenewAfter is when its owner wants it renewed after NotBefore; 0: by the plan.
	RenewAfter time.Duration
}

func (c Certificate) life() time.Duration { return c.NotAfter.Sub(c.NotBefore) }

// Short reports whether a certificate that lives this long is short-lived: it is renewed after half of its life, and its CA asked often.
func Short(life time.Duration) bool { return life < shortLived }

// Due is when to renew: at a moment of the CA's window if there is one, else after two thirds of the life, or half of a short one. A CA that would have it later than
// is safe is not followed. No certificate is due before a third of its life has passed, nor before a third of what was left when it came, whatever its
// owner or a wrong clock say; of a CA that wants it replaced early the word counts after a few hours, so that one with nonsense in its answers is not asked for ever more.
func Due(c Certificate) time.Time {
	life := c.life()
	due := c.NotBefore.Add(ratio(life) - time.Duration(fraction(c.ID, "due")*float64(life/60)))
	if c.RenewAfter > 0 {
		due = earlier(due, c.NotBefore.Add(c.RenewAfter))
	}
	due = later(due, c.floor())
	if c.WindowEnd.IsZero() {
		return due
	}
	// Halfway between the own rule and the first warning.
	latest := c.NotAfter.Add(-(life - ratio(life)) * 3 / 4)
	chosen := later(Selected(c.ID, c.WindowStart, c.WindowEnd), c.Issued.Add(min(life/30, 6*time.Hour)))
	if c.RenewAfter > 0 {
		chosen = earlier(chosen, due)
	}
	return earlier(chosen, later(latest, c.floor()))
}

func ratio(life time.Duration) time.Duration {
	if Short(life) {
		return life / 2
	}
	return life * 2 / 3
}

// floor is the moment before which the own rules let nothing be renewed.
func (c Certificate) floor() time.Time {
	life := c.life()
	left := max(c.NotAfter.Sub(c.Issued), life/10)
	return later(c.NotBefore.Add(life/3), c.Issued.Add(left/3))
}

// Selected is the moment of a window at which the certificate is renewed: anywhere in it by chance, and the same one whenever it is asked for
// (RFC 9773 section 4.2).
func Selected(id string, start, end time.Time) time.Time {
	return start.Add(time.Duration(fraction(id, start.UTC().Format(time.RFC3339)) * float64(max(end.Sub(start), 0))))
}

// Level says how far a renewal is behind its plan.
type Level int

// The levels.
const (
	Fine     Level = iota
	Late           // half of the time between due and the end has passed, or a day after the CA's window
	Critical       // three quarters of it
)

// LevelAt tells how late a certificate is that is still not renewed. For the usual lives the warnings come with a sixth of the life left, or a quarter of a short one.
func LevelAt(c Certificate, now time.Time) Level {
	due := Due(c)
	if now.Before(due) {
		return Fine
	}
	span := max(c.NotAfter.Sub(due), 0)
	switch {
	case !now.Before(due.Add(span * 3 / 4)):
		return Critical
	case !now.Before(due.Add(span / 2)):
		return Late
	case !c.WindowEnd.IsZero() && now.After(later(due, c.WindowEnd).Add(min(24*time.Hour, c.life()/8))):
		return Late
	}
	return Fine
}

// Retry is when to try again after so many failures in a row: a minute, ten, a hundred, then a day later. A certificate that is served is given ten tries at
// least in what is left of its life (notAfter, zero when there is none).
func Retry(id string, failures int, now, notAfter time.Time) time.Time {
	steps := []time.Duration{time.Minute, 10 * time.Minute, 100 * time.Minute, 24 * time.Hour}
	wait := steps[min(max(failures, 1), len(steps))-1]
	if left := notAfter.Sub(now); !notAfter.IsZero() && left > 0 {
		wait = max(min(wait, left/10), time.Minute)
	}
	spread := fraction(id, now.UTC().Format(time.RFC3339))
	return now.Add(wait + time.Duration(spread*float64(wait/5)))
}

// AskAgain is when to ask the CA for its window again: by its own word, but twice a day at least, and every two hours for a short life
// (RFC 9773 section 4.3).
func AskAgain(now time.Time, life time.Duration, retryAfter time.Duration) time.Time {
	most := 12 * time.Hour
	if Short(life) {
		most = min(2*time.Hour, max(life/24, time.Minute))
	}
	if retryAfter <= 0 {
		retryAfter = 6 * time.Hour
	}
	return now.Add(max(min(retryAfter, most), time.Minute))
}

// fraction gives a number from 0 to below 1 that looks like chance and depends on its arguments alone.
func fraction(id, salt string) float64 {
	sum := sha256.Sum256([]byte(id + "\n" + salt))
	return float64(binary.BigEndian.Uint64(sum[:8])>>11) / (1 << 53)
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
