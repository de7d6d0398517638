package plan

import (
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/publicsuffix"

	"github.com/ruche-project/ruche/internal/certs/vault"
)

// limit is a rate limit as Let's Encrypt keeps them: burst at once, and one more whenever window/burst has passed.
type limit struct {
	burst  int
	window time.Duration
}

// Let's Encrypt's limits (https://letsencrypt.org/docs/rate-limits/). That of accounts does not matter: there is one.
const (
	ordersBurst, ordersWindow       = 300, 3 * time.Hour
	domainBurst, domainWindow       = 50, 7 * 24 * time.Hour
	exactBurst, exactWindow         = 5, 7 * 24 * time.Hour
	failuresBurst, failuresWindow   = 5, time.Hour
	letsEncryptHost, letsEncryptTry = "letsencrypt.org", "staging"
)

// Keep is how long issuances count.
const Keep = 8 * 24 * time.Hour

// Next is when an order may be made by what was ordered before: now or earlier when it may be at once. why says which limit it waits for, and is empty when it
// does not. The ledger may be in any order, and has the orders that are under way as well. Only of Let's Encrypt the limits are known; what others refuse, they say.
func Next(now time.Time, ledger []vault.Issuance, order vault.Issuance) (at time.Time, why string) {
	if !limited(order.Directory) {
		return now, ""
	}
	at = now
	wait := func(l limit, reason string, counts func(vault.Issuance) bool) {
		if free := l.free(now, ledger, func(i vault.Issuance) bool { return i.Directory == order.Directory && counts(i) }); free.After(at) {
			at, why = free, reason
		}
	}
	for _, name := range order.Names {
		wait(limit{failuresBurst, failuresWindow}, fmt.Sprintf("Let's Encrypt takes %d failed validations of %s an hour", failuresBurst, name),
			func(i vault.Issuance) bool { return i.Failed && i.Account == order.Account && i.FailedName == name })
	}
	if order.Replaces { // exempt from all others
		return at, why
	}
	set := setOf(order.Names)
	wait(limit{exactBurst, exactWindow}, fmt.Sprintf("Let's Encrypt issues %d certificates a week for the same names", exactBurst),
		func(i vault.Issuance) bool { return !i.Failed && setOf(i.Names) == set })
	if order.Renewal {
		return at, why
	}
	wait(limit{ordersBurst, ordersWindow}, fmt.Sprintf("Let's Encrypt takes %d orders of one account in three hours", ordersBurst),
		func(i vault.Issuance) bool { return i.Account == order.Account && !i.Replaces && !i.Renewal })
	for _, domain := range registered(order.Names) {
		wait(limit{domainBurst, domainWindow}, fmt.Sprintf("Let's Encrypt issues %d new certificates a week for %s", domainBurst, domain),
			func(i vault.Issuance) bool {
				return !i.Failed && !i.Replaces && !i.Renewal && slices.Contains(registered(i.Names), domain)
			})
	}
	return at, why
}

func limited(directory string) bool {
	u, err := url.Parse(directory)
	if err != nil {
		return false
	}
	host := u.Hostname()
	ours := host == letsEncryptHost || strings.HasSuffix(host, "."+letsEncryptHost)
	return ours && !strings.Contains(host, letsEncryptTry)
}

// free is when the limit has room again, by the generic cell rate algorithm. What is yet to come was written by a clock that was ahead, and counts as of now: else one such order would keep all
// others waiting for that time.
func (l limit) free(now time.Time, ledger []vault.Issuance, counts func(vault.Issuance) bool) time.Time {
	var times []time.Time
	for _, i := range ledger {
		if counts(i) {
			times = append(times, earlier(i.At, now))
		}
	}
	slices.SortFunc(times, time.Time.Compare)
	each := l.window / time.Duration(l.burst)
	var full time.Time
	for _, t := range times {
		full = later(full, t).Add(each)
	}
	return full.Add(each - l.window)
}

func setOf(names []string) string {
	sorted := slices.Clone(names)
	slices.Sort(sorted)
	return strings.Join(slices.Compact(sorted), ",")
}

// registered gives the registered domains of names, each once: what a registry sells, or an address.
func registered(names []string) []string {
	var all []string
	for _, n := range names {
		all = append(all, Registered(n))
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// Registered is the registered domain of a name: the name below the public suffix. An address, and a name that is a public suffix itself, stand for themselves.
func Registered(name string) string {
	name = strings.TrimPrefix(name, "*.")
	if _, err := netip.ParseAddr(name); err == nil {
		return name
	}
	domain, err := publicsuffix.EffectiveTLDPlusOne(name)
	if err != nil {
		return name
	}
	return domain
}
