package acmeserver

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// problemType is the end of an error's URN (RFC 8555 section 6.7, RFC 9773 section 7.3, draft-ietf-acme-profiles section 6.4).
type problemType string

const (
	accountDoesNotExist     problemType = "accountDoesNotExist"
	alreadyReplaced         problemType = "alreadyReplaced"
	alreadyRevoked          problemType = "alreadyRevoked"
	badCSR                  problemType = "badCSR"
	badNonce                problemType = "badNonce"
	badPublicKey            problemType = "badPublicKey"
	badRevocationReason     problemType = "badRevocationReason"
	badSignatureAlgorithm   problemType = "badSignatureAlgorithm"
	compound                problemType = "compound"
	connectionFailed        problemType = "connection"
	dnsFailed               problemType = "dns"
	externalAccountRequired problemType = "externalAccountRequired"
	incorrectResponse       problemType = "incorrectResponse"
	invalidContact          problemType = "invalidContact"
	invalidProfile          problemType = "invalidProfile"
	malformed               problemType = "malformed"
	orderNotReady           problemType = "orderNotReady"
	rateLimited             problemType = "rateLimited"
	rejectedIdentifier      problemType = "rejectedIdentifier"
	serverInternal          problemType = "serverInternal"
	tlsFailed               problemType = "tls"
	unauthorized            problemType = "unauthorized"
	unsupportedContact      problemType = "unsupportedContact"
	unsupportedIdentifier   problemType = "unsupportedIdentifier"
	userActionRequired      problemType = "userActionRequired"
)

const urn = "urn:ietf:params:acme:error:"

// status is the HTTP status that goes with a problem of the type.
func (t problemType) status() int {
	switch t {
	case unauthorized, orderNotReady, externalAccountRequired, userActionRequired, rejectedIdentifier:
		return http.StatusForbidden
	case rateLimited:
		return http.StatusTooManyRequests
	case alreadyReplaced:
		return http.StatusConflict
	case serverInternal:
		return http.StatusInternalServerError
	}
	return http.StatusBadRequest
}

// Problem is an error as a client gets it (RFC 7807, RFC 8555 section 6.7), and as it is kept with what has failed.
type Problem struct {
	Type        string      `json:"type"`
	Detail      string      `json:"detail,omitempty"`
	Status      int         `json:"status,omitempty"`
	Identifier  *Identifier `json:"identifier,omitempty"` // of a subproblem
	Subproblems []Problem   `json:"subproblems,omitempty"`
	// Algorithms are those that a signature may have (RFC 8555 section 6.2).
	Algorithms []string `json:"algorithms,omitempty"`

	retry time.Duration // when to try again; 0: nothing is said
	terms bool          // the answer links to the terms of service
	// location is where the thing is that stands in the way; empty: nothing is said
	location string
}

func problem(t problemType, format string, args ...any) *Problem {
	return &Problem{Type: urn + string(t), Status: t.status(), Detail: fmt.Sprintf(format, args...)}
}

func (p *Problem) Error() string { return p.Detail }

// about says which identifier the problem is with: in a subproblem, for at the top it must not stand (RFC 8555 section 6.7.1), and some clients fail at that.
func (p *Problem) about(id Identifier) *Problem {
	sub := *p.kept()
	sub.Identifier, sub.Subproblems = &id, nil
	p.Subproblems = []Problem{sub}
	return p
}

func (p *Problem) after(d time.Duration) *Problem {
	p.retry = d
	return p
}

func (p *Problem) is(t problemType) bool { return p.Type == urn+string(t) }

// kept is the problem as a part of an order or authorization, where no HTTP status belongs to it.
func (p *Problem) kept() *Problem {
	q := *p
	q.Status = 0
	return &q
}

// together makes one problem of those with several identifiers.
func together(list []*Problem) *Problem {
	if len(list) == 1 {
		return list[0]
	}
	all := problem(compound, "%d of the identifiers cannot be had; the first: %s", len(list), list[0].Detail)
	all.Type, all.Status = list[0].Type, list[0].Status
	for _, p := range list {
		if p.Type != all.Type {
			all.Type, all.Status = urn+string(compound), compound.status()
		}
		all.Subproblems = append(all.Subproblems, p.Subproblems...)
	}
	return all
}

func (p *Problem) write(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/problem+json")
	if p.retry > 0 {
		w.Header().Set("Retry-After", seconds(p.retry))
	}
	if p.location != "" {
		w.Header().Set("Location", p.location)
	}
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p) // the client has gone: nobody is left to tell
}

// seconds writes a duration for Retry-After: whole, and at least 1.
func seconds(d time.Duration) string {
	return strconv.Itoa(max(1, int((d+time.Second-1)/time.Second)))
}
