package dns

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	wire "github.com/miekg/dns"
)

// persistLabel is where the standing records of dns-persist-01 are (draft-ietf-acme-dns-persist section 4).
const persistLabel = "_validation-persist."

// Standing is what the dns-persist-01 records of a name let happen.
type Standing struct {
	// Good tells that one of them lets the account have the certificate.
	Good bool
	// Until is when that ends; zero: never.
	Until time.Time
	// Reason says why none does.
	Reason string
	// Name and Value are the record that would do.
	Name, Value string
}

// Persist looks whether a standing record lets q.Account have a certificate for q.Name from one of q.CAs (the issuer-domain-names of the challenge) at now.
// A missing record is no error.
func (r *Resolver) Persist(ctx context.Context, q Request, now time.Time) (Standing, error) {
	name := PersistName(q.Name)
	answer, err := r.lookup(ctx, name, wire.TypeTXT)
	if err != nil {
		return Standing{}, err
	}
	s := persist(texts(answer), q, now)
	s.Name = name
	if len(q.CAs) > 0 {
		s.Value = PersistValue(q.CAs[0], q.Account, strings.HasPrefix(q.Name, "*."))
	}
	return s, nil
}

// PersistName is where the record for a name or wildcard stands.
func PersistName(name string) string { return persistLabel + strings.TrimPrefix(plain(name), "*.") }

// PersistValue is the record that lets an account have certificates of a CA for a name; wildcard: for what is below it, too.
func PersistValue(ca, account string, wildcard bool) string {
	value := ca + "; accounturi=" + account
	if wildcard {
		value += "; policy=wildcard"
	}
	return value
}

func persist(records []string, q Request, now time.Time) Standing {
	var best Standing
	var reasons []string
	for _, text := range records {
		v, err := parseIssueValue(text)
		if err == nil && !slices.ContainsFunc(q.CAs, func(ca string) bool { return plain(ca) == v.issuer }) {
			continue // it is for another CA
		}
		until, why := time.Time{}, ""
		if err != nil {
			why = "it is malformed: " + err.Error()
		} else {
			until, why = insufficient(v, q, now)
		}
		if why != "" {
			reasons = append(reasons, fmt.Sprintf("%q: %s", text, why))
			continue
		}
		// Of several that are good the one that holds longest counts.
		if !best.Good || until.IsZero() || (!best.Until.IsZero() && until.After(best.Until)) {
			best = Standing{Good: true, Until: until}
		}
	}
	switch {
	case best.Good:
		return best
	case len(reasons) == 0:
		return Standing{Reason: "there is no record for this CA"}
	}
	return Standing{Reason: strings.Join(reasons, "; ")}
}

// insufficient says when a record of the CA ends, or why it does not let the account have the certificate.
func insufficient(v issueValue, q Request, now time.Time) (time.Time, string) {
	for i, p := range v.params {
		if slices.ContainsFunc(v.params[:i], func(other param) bool { return other.tag == p.tag }) {
			return time.Time{}, "it has " + p.tag + " twice"
		}
	}
	account := strings.Join(v.all("accounturi"), "")
	if account == "" {
		return time.Time{}, "it has no accounturi"
	}
	if account != q.Account {
		return time.Time{}, fmt.Sprintf("it is for the account %s, and this is %s", account, q.Account)
	}
	if policy := strings.Join(v.all("policy"), ""); strings.HasPrefix(q.Name, "*.") && !strings.EqualFold(policy, "wildcard") {
		return time.Time{}, "it is not for wildcards (add policy=wildcard)"
	}
	end := v.all("persistuntil")
	if len(end) == 0 {
		return time.Time{}, ""
	}
	seconds, err := strconv.ParseInt(end[0], 10, 64)
	if err != nil {
		return time.Time{}, "its persistUntil is no time in seconds since 1970"
	}
	until := time.Unix(seconds, 0).UTC()
	if now.After(until) {
		return time.Time{}, "it has ended on " + until.Format(time.DateOnly)
	}
	return until, ""
}
