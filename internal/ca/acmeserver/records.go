package acmeserver

import (
	"context"
	"encoding/json"
	"net/netip"
	"slices"
	"time"

	"github.com/ruche-project/ruche"
)

// The buckets. This package alone writes them, on every control node.
const (
	BucketAccounts = "acmeaccounts" // see Account
	BucketOrders   = "acmeorders"   // ID -> Order
	BucketKeys     = "acmekeys"     // ID -> Key, and the secret that all nodes share
)

// Bucket is a part of the replicated state, with the promises of cluster.Bucket.
type Bucket[T any] interface {
	Get(ctx context.Context, key string) (ruche.Entry[T], error)
	Create(ctx context.Context, key string, v T) (revision int64, err error)
	CompareAndSet(ctx context.Context, key string, v T, revision int64) (int64, error)
	Delete(ctx context.Context, key string) error
	List(ctx context.Context) (map[string]ruche.Entry[T], error)
	Watch(ctx context.Context, fn func(ruche.Update[T])) error
}

// Status is how an account, order, authorization or challenge is doing (RFC 8555 section 7.1.6).
type Status string

// The statuses.
const (
	StatusPending     Status = "pending"
	StatusProcessing  Status = "processing"
	StatusReady       Status = "ready"
	StatusValid       Status = "valid"
	StatusInvalid     Status = "invalid"
	StatusDeactivated Status = "deactivated"
	StatusExpired     Status = "expired"
)

// Account is an account, under its ID; or, under "key/" and the thumbprint of a key, the ID of the account that has the key.
type Account struct {
	// Of is the account that has the key, in entries under "key/" alone; they have nothing else.
	Of string `json:"of,omitempty"`

	Key     json.RawMessage `json:"key,omitempty"` // the public key as a JWK
	Contact []string        `json:"contact,omitempty"`
	// Bound is the ID of the Key by which the account was opened; empty without one.
	Bound  string `json:"bound,omitempty"`
	Status Status `json:"status,omitempty"`
	Terms  bool   `json:"terms,omitempty"` // the terms of service were agreed to
	// From is the address that it was opened from, see clientOf; not known of accounts from before there were shares.
	From netip.Prefix `json:"from,omitzero"`

	Created time.Time `json:"created,omitzero"`
	// Expires is when it is forgotten. It is moved ahead while the account has certificates.
	Expires time.Time `json:"expires,omitzero"`
}

// Order is an order with its authorizations, in one record: what belongs together is written together.
type Order struct {
	Account string    `json:"account"`
	Client  string    `json:"client,omitempty"` // see Account.client
	Status  Status    `json:"status"`
	Created time.Time `json:"created"`
	// Expires is when the order ends if no certificate was issued, and when it is forgotten if one was.
	Expires  time.Time `json:"expires"`
	NotAfter time.Time `json:"not_after,omitzero"` // as it was asked for
	Profile  string    `json:"profile,omitempty"`
	Replaces string    `json:"replaces,omitempty"` // ARI's ID of a certificate (RFC 9773 section 4.1)

	Authorizations []Authorization `json:"authorizations"`

	// Key is the certificate's public key (SubjectPublicKeyInfo), Subject the common name that the request had, Since when it came: an order that
	// has them and no certificate is finished by any node.
	Key     []byte    `json:"key,omitempty"`
	Subject string    `json:"subject,omitempty"`
	Since   time.Time `json:"since,omitzero"`

	Chain  [][]byte `json:"chain,omitempty"` // DER
	Issued bool     `json:"issued,omitempty"`
	Error  *Problem `json:"error,omitempty"`
}

// Authorization is an account's right to a name, or how it is being proven. At most one challenge is tried for it.
type Authorization struct {
	Name   string `json:"name"`
	Status Status `json:"status"`
	// Expires is when a valid one ends.
	Expires time.Time `json:"expires,omitzero"`
	// By is the challenge type that was chosen; empty before that.
	By ruche.ChallengeType `json:"by,omitempty"`
	// Since is when the client said that the challenge can be met; Validated when it was found so.
	Since     time.Time `json:"since,omitzero"`
	Validated time.Time `json:"validated,omitzero"`
	Error     *Problem  `json:"error,omitempty"`
}

// Key is an external account's key (RFC 8555 section 7.3.4), and what the accounts may have that are bound to it.
type Key struct {
	// Names are patterns, see CheckPattern. Profiles are names of profiles; none: all.
	Names    []string  `json:"names,omitempty"`
	Profiles []string  `json:"profiles,omitempty"`
	Comment  string    `json:"comment,omitempty"`
	Created  time.Time `json:"created,omitzero"`
	// Expires ends the key and the rights of its accounts; zero: never.
	Expires time.Time `json:"expires,omitzero"`
	// Secret is the MAC key, sealed.
	Secret []byte `json:"secret"`
}

// names lists those of the order.
func (o *Order) names() []string {
	names := make([]string, 0, len(o.Authorizations))
	for _, a := range o.Authorizations {
		names = append(names, a.Name)
	}
	return names
}

// at is the order as it is now: what is over its time is not pending any more.
func (o Order) at(now time.Time) Order {
	o.Authorizations = slices.Clone(o.Authorizations)
	for i := range o.Authorizations {
		a := &o.Authorizations[i]
		if a.Status == StatusValid && !now.Before(a.Expires) || a.Status == StatusPending && !now.Before(o.Expires) {
			a.Status = StatusExpired
		}
	}
	o.settle()
	if o.open() && !now.Before(o.Expires) {
		o.Status = StatusInvalid
		o.Error = problem(malformed, "the order expired at %s", o.Expires.UTC().Format(time.RFC3339)).kept()
	}
	return o
}

// open tells that the order may still become a certificate.
func (o *Order) open() bool {
	return o.Status == StatusPending || o.Status == StatusReady || o.Status == StatusProcessing
}

// settle derives the status of an order that is being proven from its authorizations.
func (o *Order) settle() {
	if o.Status != StatusPending && o.Status != StatusReady {
		return
	}
	o.Status = StatusReady
	for _, a := range o.Authorizations {
		switch {
		case a.Status == StatusPending || a.Status == StatusProcessing:
			o.Status = StatusPending
		case a.Status != StatusValid:
			o.Status = StatusInvalid
			o.Error = problem(unauthorized, "the authorization for %s is %s", a.Name, a.Status).about(identifierOf(a.Name)).kept()
			return
		}
	}
}
