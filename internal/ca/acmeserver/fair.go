package acmeserver

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/ruche-project/ruche"
)

// everything is the group of all orders, or all accounts.
const everything = ""

// ordersOf gives the groups of an order: its account, its client.
func ordersOf(_ string, o Order) []string { return []string{everything, o.Account, o.client()} }

// accountsOf gives the groups of an account: the address that it was opened from, its client. The entries of keys are in none.
func accountsOf(_ string, a Account) []string {
	if a.Of != "" {
		return nil
	}
	return []string{everything, "from " + a.From.String(), cmp.Or(a.client(), "unknown")}
}

// client names to whom an account's share belongs: the external account key that it was opened by, else the network that it was opened from; empty where that is not known.
func (a Account) client() string {
	switch {
	case a.Bound != "":
		return "the external account key " + a.Bound
	case a.From.IsValid():
		return "the network " + networkOf(a.From).String()
	}
	return ""
}

func (o Order) client() string { return cmp.Or(o.Client, o.Account) }

// networkOf is the network of an address where one machine may have more of them: 24 bits of IPv4, and the 64 of IPv6 that clientOf leaves.
func networkOf(p netip.Prefix) netip.Prefix {
	if p.Addr().Is4() {
		p = netip.PrefixFrom(p.Addr(), min(p.Bits(), 24)).Masked()
	}
	return p
}

// share is how much of what is bounded for all one client can have.
func share(all int) int { return max(1, all/2) }

// room holds what is kept in all, and of one client, against a limit of all. What is being checked is not counted, which is written when own is its ID.
func room[T any](what string, m *mirror[T], all int, client, own string) error {
	kept, its := m.size(everything), m.size(client)
	if own != "" {
		kept, its = kept-1, its-1
	}
	switch {
	case its >= share(all):
		return problem(rateLimited, "%s has %d %s here, and no more are kept of one client", client, its, what).after(time.Hour)
	case kept >= all:
		return problem(rateLimited, "there are %d %s, and no more are kept", kept, what).after(time.Hour)
	}
	return nil
}

// roomForAccount holds a new account against the limits. own is its ID when it is written, and empty before.
func (s *Server) roomForAccount(a Account, own string) error {
	l, now := s.cfg.Limits, s.now()
	lately, oldest := 0, now
	for _, other := range s.accounts.of("from "+a.From.String(), own) {
		if now.Sub(other.Created) < time.Hour {
			lately++
			oldest = earlier(oldest, other.Created)
		}
	}
	if lately >= l.Accounts {
		return problem(rateLimited, "%d accounts were opened from this address within an hour, and no more can be", lately).after(oldest.Add(time.Hour).Sub(now))
	}
	return room("accounts", s.accounts, l.AllAccounts, cmp.Or(a.client(), "unknown"), own)
}

// behind is how long a node waits until it hears of its own write.
const behind = 5 * time.Second

// held checks something again that was written: then all is known that other nodes have written before, so whatever they let pass at the same moment, no limit is exceeded. What is refused
// is taken away again.
func held[T any](ctx context.Context, m *mirror[T], bucket Bucket[T], id string, check func() error) error {
	waiting, stop := context.WithTimeout(ctx, behind)
	defer stop()
	err := m.arrived(waiting, id)
	if err == nil {
		err = check()
	}
	if err == nil {
		return nil
	}
	// The client may have gone: it must not leave behind what nobody has let pass.
	away, done := context.WithTimeout(context.WithoutCancel(ctx), behind)
	defer done()
	if gone := bucket.Delete(away, id); gone != nil {
		return fmt.Errorf("cannot take back what is beyond a limit: %w", gone)
	}
	return err
}

// maxTold bounds how many clients are told of.
const maxTold = 10

// tell has it stand as health warnings whose share, or what room for all, is used up.
func (s *Server) tell() {
	l := s.cfg.Limits
	var all []ruche.Warning
	for what, of := range map[string]struct {
		limit int
		sizes map[string]int
	}{"orders": {l.AllOrders, s.orders.sizes()}, "accounts": {l.AllAccounts, s.accounts.sizes()}} {
		if of.sizes[everything] >= of.limit {
			all = append(all, full(what, what, ruche.SeverityError, fmt.Sprintf("there are %d %s", of.limit, what), "see in the log (audit=true) whose they are, and whether all of those clients are meant to be there; --ca-require-key lets in who has an external account key alone"))
		}
		told := 0
		for client, n := range of.sizes {
			if n < share(of.limit) || !strings.HasPrefix(client, "the ") || told == maxTold {
				continue
			}
			told++
			all = append(all, full(what, what+" of "+client, ruche.SeverityWarning, fmt.Sprintf("%s has %d %s", client, n, what), "see in the log (audit=true) what that client does; others are not concerned"))
		}
	}
	s.warnings.Stand(all)
}

func full(what, subject string, severity ruche.Severity, text, hint string) ruche.Warning {
	return ruche.Warning{
		Code: ruche.CodeACMEServerFull, Severity: severity, Subject: subject,
		Message: text + " at the ACME server, which is all that are kept: new " + what + " are refused until some are forgotten", Hint: hint,
	}
}
