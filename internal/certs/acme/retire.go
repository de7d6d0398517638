package acme

import (
	"context"
	"crypto/sha256"
	"log/slog"
	"maps"
	"time"

	"github.com/ruche-project/ruche/internal/certs/plan"
	"github.com/ruche-project/ruche/internal/certs/vault"
)

const (
	// keepRetired is how long after its end a certificate that nobody wants is kept, to be looked up.
	keepRetired = 30 * 24 * time.Hour
	// dropUnwanted is how old an order has to be that nobody wants any more, to be given up: its names may come back at once.
	dropUnwanted = time.Hour
	sweepEvery   = 10 * time.Minute
)

// retire takes out of service what nobody wants any more, after a while, and takes it back when somebody wants it again.
func (t *term) retire(ctx context.Context, v *view) {
	for id, e := range v.records {
		l, readable := v.leaves[id]
		wanted := v.used[id] || v.keepsItself(id)
		_, own := v.own[id]
		switch since := v.states[id].Value.Unwanted; {
		case wanted || own:
			t.setUnwanted(ctx, id, time.Time{})
			if wanted && !e.Value.Retired.IsZero() {
				t.setRetired(ctx, id, time.Time{})
			}
		case !e.Value.Retired.IsZero():
			if !readable || v.now.After(l.cert.NotAfter.Add(keepRetired)) {
				t.forget(ctx, id)
			}
		case since.IsZero():
			t.setUnwanted(ctx, id, v.now)
			v.at(v.now.Add(t.cfg.Grace))
		case v.now.Before(since.Add(t.cfg.Grace)):
			v.at(since.Add(t.cfg.Grace))
		default:
			t.log.Info("nobody wants a certificate any more, it is not served from now on", slog.String("certificate", id))
			t.setRetired(ctx, id, v.now)
		}
	}
}

// keepsItself reports whether a record stays whether it is used or not: one that was imported serves until its end, or until another one has all its names.
func (v *view) keepsItself(id string) bool {
	rec := v.records[id].Value
	if rec.Origin != vault.OriginImported || !v.usable(id) {
		return false
	}
	if len(rec.Names) == 0 {
		return true
	}
	for other := range v.having(rec.Names[:1]) {
		if r := v.records[other].Value; other != id && v.used[other] && r.Retired.IsZero() && vault.CoversAll(r.Names, rec.Names) {
			return false
		}
	}
	return true
}

func (t *term) setUnwanted(ctx context.Context, id string, since time.Time) {
	if e, ok := t.states.get(id); (!ok && since.IsZero()) || e.Value.Unwanted.Equal(since) {
		return
	}
	err := t.states.change(ctx, id, func(st *vault.State) bool {
		st.Unwanted = since
		return true
	})
	t.complain(ctx, id, err)
}

func (t *term) setRetired(ctx context.Context, id string, at time.Time) {
	err := t.certificates.change(ctx, id, func(r *vault.Record) bool {
		if len(r.Chain) == 0 || r.Retired.Equal(at) {
			return false
		}
		r.Retired = at
		return true
	})
	t.complain(ctx, id, err)
}

// forget removes all that is kept of a certificate.
func (t *term) forget(ctx context.Context, id string) {
	err := t.certificates.delete(ctx, id)
	if err == nil {
		err = t.states.delete(ctx, id)
	}
	t.complain(ctx, id, err)
}

func (t *term) complain(ctx context.Context, id string, err error) {
	if err != nil && !ended(ctx, err) {
		t.log.Warn("the state of a certificate cannot be written", slog.String("certificate", id), slog.Any("error", err))
	}
}

// sweep removes what has run out, now and then.
func (t *term) sweep(ctx context.Context, v *view) {
	if v.now.Before(t.swept.Add(sweepEvery)) {
		return
	}
	t.swept = v.now
	for key, e := range t.challenges.all() {
		if v.now.After(e.Value.Expires) {
			t.complain(ctx, key, t.challenges.delete(ctx, key))
		}
	}
	for key, e := range t.issuances.all() {
		if v.now.After(e.Value.At.Add(plan.Keep)) {
			t.complain(ctx, key, t.issuances.delete(ctx, key))
		}
	}
	for id, e := range t.orders.all() {
		if _, wanted := v.own[id]; wanted || v.now.Before(e.Value.Began.Add(dropUnwanted)) || t.isBusy(id) {
			continue
		}
		terms := t.configured(e.Value.Issuer)
		if terms.Problem != "" {
			continue // DNS records are removed by what stands in its files
		}
		r := &run{term: t, want: Want{ID: id}, terms: terms, journal: e.Value, log: t.log}
		t.complain(ctx, id, r.drop(ctx))
	}
	t.forgetCAs(v)
	for id, e := range v.states {
		_, wanted := v.own[id]
		if _, kept := v.records[id]; !wanted && !kept && len(e.Value.Revoke) == 0 && !t.isBusy(id) {
			t.complain(ctx, id, t.states.delete(ctx, id))
		}
	}
}

// forgetCAs drops what is known of CAs that nothing here refers to any more: workloads can name any number of them, one after the other.
func (t *term) forgetCAs(v *view) {
	used := make(map[string]bool)
	for _, i := range t.issuers() {
		used[i.Directory] = true
	}
	for _, w := range v.wants {
		used[w.Terms.Directory] = true
	}
	for _, e := range v.records {
		used[e.Value.Directory] = true
	}
	for _, e := range t.orders.all() {
		used[e.Value.Directory] = true
	}
	t.Engine.mu.Lock()
	maps.DeleteFunc(t.clients, func(_ [sha256.Size]byte, c caClient) bool {
		return !used[c.wire.url] || time.Since(c.made) > clientLife
	})
	maps.DeleteFunc(t.clocks, func(directory string, _ time.Duration) bool { return !used[directory] })
	t.Engine.mu.Unlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	maps.DeleteFunc(t.down, func(directory string, _ *outage) bool { return !used[directory] })
	maps.DeleteFunc(t.later, func(_ string, at time.Time) bool { return v.now.After(at) })
	maps.DeleteFunc(t.unopened, func(_ string, since time.Time) bool { return v.now.After(since.Add(30 * 24 * time.Hour)) })
	maps.DeleteFunc(t.tried, func(id string, _ int) bool { return v.own[id] == nil })
}
