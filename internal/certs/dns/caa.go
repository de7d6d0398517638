package dns

import (
	"context"
	"fmt"
	"slices"
	"strings"

	wire "github.com/miekg/dns"

	"github.com/ruche-project/ruche"
)

// CAA is one record that says which CAs may issue for a name (RFC 8659 section 4.1).
type CAA struct {
	Owner    string // the name that it stands under
	Critical bool   // who does not understand Tag must not issue
	Tag      string // in lower case
	Value    string
}

// String gives the record as zone files have it.
func (c CAA) String() string {
	flags := 0
	if c.Critical {
		flags = 128
	}
	return fmt.Sprintf("%s CAA %d %s %q", c.Owner, flags, c.Tag, c.Value)
}

// CAA gives the records that count for a name: those of the nearest name above it, or of itself, that has any (RFC 8659 section 3). None are no error, and
// let every CA issue. A failed look-up is one; CAs refuse then, too.
func (r *Resolver) CAA(ctx context.Context, name string) ([]CAA, error) {
	for rest := strings.TrimPrefix(plain(name), "*."); rest != ""; _, rest, _ = strings.Cut(rest, ".") {
		answer, err := r.lookup(ctx, rest, wire.TypeCAA)
		if err != nil {
			return nil, err
		}
		var set []CAA
		for _, rr := range answer.Answer {
			if c, ok := rr.(*wire.CAA); ok { // at the end of CNAMEs, it counts for where they begin
				set = append(set, CAA{Owner: plain(c.Hdr.Name), Critical: c.Flag&128 != 0, Tag: strings.ToLower(c.Tag), Value: c.Value})
			}
		}
		if len(set) > 0 {
			return set, nil
		}
	}
	return nil, nil
}

// Request is what a CA is going to be asked for.
type Request struct {
	// Name is a DNS name, or a wildcard.
	Name string
	// CAs are the names by which the CA knows itself in CAA records (caaIdentities of its directory, RFC 8555 section 7.1.1). Without any nothing can be said.
	CAs []string
	// Account is the URL of the account; empty: not known yet.
	Account string
	// Challenges are the ways in which the name may be proved; empty: not known.
	Challenges []ruche.ChallengeType
}

// Forbids says why the CAA records of a name forbid what is going to be asked for, and "" when they do not.
func (r *Resolver) Forbids(ctx context.Context, q Request) (reason string, err error) {
	if len(q.CAs) == 0 {
		return "", nil
	}
	set, err := r.CAA(ctx, q.Name)
	if err != nil {
		return "", err
	}
	return forbids(set, q), nil
}

func forbids(set []CAA, q Request) string {
	if len(set) == 0 {
		return ""
	}
	for _, c := range set {
		if c.Critical && !slices.Contains([]string{"issue", "issuewild", "iodef"}, c.Tag) {
			return fmt.Sprintf("the record %q is critical, and not of a kind that every CA understands", c)
		}
	}
	tag := "issue"
	if strings.HasPrefix(q.Name, "*.") && slices.ContainsFunc(set, func(c CAA) bool { return c.Tag == "issuewild" }) {
		tag = "issuewild"
	}
	var reasons []string
	for _, c := range set {
		if c.Tag != tag {
			continue
		}
		why := unsuitable(c.Value, q)
		if why == "" {
			return ""
		}
		reasons = append(reasons, fmt.Sprintf("%q: %s", c, why))
	}
	if len(reasons) == 0 {
		return "" // none of this tag: no restriction
	}
	return strings.Join(reasons, "; ")
}

// unsuitable says why the value of an issue or issuewild record does not let the request through, and "" when it does (RFC 8657).
func unsuitable(value string, q Request) string {
	v, err := parseIssueValue(value)
	if err != nil {
		return "it lets no CA issue, for it is malformed: " + err.Error()
	}
	if v.issuer == "" {
		return "it lets no CA issue"
	}
	if !slices.ContainsFunc(q.CAs, func(ca string) bool { return plain(ca) == v.issuer }) {
		return fmt.Sprintf("it lets only %s issue, and this CA is %s", v.issuer, strings.Join(q.CAs, " or "))
	}
	if accounts := v.all("accounturi"); len(accounts) > 1 {
		return "it names several accounts, which counts as none"
	} else if len(accounts) == 1 && q.Account != "" && accounts[0] != q.Account {
		return fmt.Sprintf("it lets only the account %s issue, and this is %s", accounts[0], q.Account)
	}
	methods := v.all("validationmethods")
	if len(methods) == 0 || len(q.Challenges) == 0 {
		return ""
	}
	allowed := strings.Split(strings.Join(methods, ","), ",")
	if !slices.ContainsFunc(q.Challenges, func(c ruche.ChallengeType) bool { return slices.Contains(allowed, string(c)) }) {
		return fmt.Sprintf("it lets the name be proved by %s only", strings.Join(allowed, ", "))
	}
	return ""
}
