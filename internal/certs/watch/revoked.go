package watch

import (
	"cmp"
	"context"
	"crypto/x509"
	"slices"
	"time"

	"github.com/ruche-project/ruche/internal/certs/probe"
	"github.com/ruche-project/ruche/internal/certs/vault"
)

// Revoked looks stored certificates up in the lists of their CAs, each once a day, and gives those that a list has, by ID. Certificates of the installation's own authority
// are left out, and those that are no use any more.
func (w *Watcher) Revoked(ctx context.Context, records map[string]vault.Record) map[string]vault.Withdrawal {
	type stored struct {
		id, print string
		chain     []*x509.Certificate
	}
	var all []stored
	for id, r := range records {
		if r.Origin == vault.OriginInternal || !r.Retired.IsZero() || !r.Revoked.IsZero() {
			continue
		}
		s := stored{id: id, chain: parse(r.Chain)}
		if len(s.chain) == 0 || len(s.chain[0].CRLDistributionPoints) == 0 || !w.cfg.Now().Before(s.chain[0].NotAfter) {
			continue
		}
		if s.print = vault.Fingerprint(s.chain[0].Raw); w.turn(s.print) {
			all = append(all, s)
		}
	}
	slices.SortFunc(all, func(a, b stored) int {
		return cmp.Or(cmp.Compare(a.chain[0].CRLDistributionPoints[0], b.chain[0].CRLDistributionPoints[0]), cmp.Compare(a.id, b.id))
	})
	lists := probe.Lists{Config: probe.Config{Now: w.cfg.Now}}
	found := make(map[string]vault.Withdrawal)
	for _, s := range all {
		if ctx.Err() != nil {
			break
		}
		at, err := lists.Revoked(ctx, s.chain)
		w.note(s.print, err)
		if !at.IsZero() {
			found[s.id] = vault.Withdrawal{Of: s.print, At: at}
		}
	}
	return found
}

func parse(ders [][]byte) []*x509.Certificate {
	chain := make([]*x509.Certificate, 0, len(ders))
	for _, der := range ders {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil
		}
		chain = append(chain, c)
	}
	return chain
}

// RevokedAgain is how often Revoked is to be called: whose turn it is finds out itself.
const RevokedAgain = time.Hour
