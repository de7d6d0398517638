package daemon

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"reflect"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/certs/dns"
	"github.com/ruche-project/ruche/internal/config"
	"github.com/ruche-project/ruche/internal/health"
)

// issuersAgain is how often the files of issuers are looked at again.
const issuersAgain = 5 * time.Second

// issuers are the CAs that the settings describe, with what stands in files of their own. A file that cannot be used puts its own issuer out of service and nothing else, until it can be.
type issuers struct {
	cfg      *config.Config
	logger   *slog.Logger
	warnings health.Group
	now      []ruche.Issuer // in the order of the settings
}

// look reads the issuers, and reports whether anything has changed. What was good before stays in force: a file that is being replaced is away for a moment.
func (i *issuers) look() (changed bool) {
	next := i.cfg.ReadIssuers()
	resolveProviders(next)
	var warnings []ruche.Warning
	for n, is := range next {
		if is.Problem == "" {
			continue
		}
		w := ruche.Warning{
			Code: ruche.CodeIssuerOutOfService, Severity: ruche.SeverityError, Subject: is.Name,
			Message: fmt.Sprintf("issuer %s is out of service, its certificates are served as they are and none is ordered: %s", is.Name, is.Problem),
			Hint:    is.Hint,
		}
		if i.now != nil && i.now[n].Problem == "" {
			w.Severity, w.Message = ruche.SeverityWarning, fmt.Sprintf("issuer %s goes by what was read before, until the next start: %s", is.Name, is.Problem)
			next[n] = i.now[n]
		}
		warnings = append(warnings, w)
	}
	for _, w := range i.warnings.Stand(warnings) {
		i.logger.Warn(w.Message, slog.String("code", string(w.Code)), slog.String("hint", w.Hint))
	}
	changed = !reflect.DeepEqual(next, i.now)
	i.now = next
	return changed
}

// followIssuers looks at the files of the issuers again and again, and tells what has certificates issued.
func (d *Daemon) followIssuers(ctx context.Context) error {
	again := time.NewTicker(issuersAgain)
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-again.C:
		}
		if d.issuers.look() {
			d.logger.Info("what stands in the files of issuers has changed, and is in force")
			d.issuing.SetIssuers(d.issuers.now)
		}
	}
}

// resolveProviders puts the DNS providers of issuers down by Ruche's names, by whatever names they were given. An issuer whose provider cannot be used has a Problem.
func resolveProviders(issuers []ruche.Issuer) {
	for n, i := range issuers {
		if i.DNS == nil || i.Problem != "" {
			continue
		}
		p, err := dns.Resolve(i.DNS.Name, i.DNS.Settings)
		if err != nil {
			issuers[n].Problem, issuers[n].Hint = fmt.Sprintf("cannot use its DNS provider: %v", err), "correct the settings of the provider: those in a file are read anew, others at the next start"
			continue
		}
		p.Wait = cmp.Or(p.Wait, i.DNS.Wait)
		issuers[n].DNS = &p
	}
}
