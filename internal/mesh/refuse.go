package mesh

import (
	"log/slog"
	"maps"
	"net/http"
	"sync"
	"time"
)

// Reason names why a peer was refused. It is what refusals are counted by.
type Reason string

// The reasons. Those before ReasonUnknownNode end a connection before anything was said on it, or keep it from beginning.
const (
	ReasonTooMany      Reason = "too-many"      // connections of strangers
	ReasonPlainText    Reason = "plain-text"    // it does not speak TLS
	ReasonTLSVersion   Reason = "tls-version"   // below 1.3
	ReasonHandshake    Reason = "handshake"     // TLS failed otherwise, or took too long
	ReasonForged       Reason = "forged"        // a certificate of another authority
	ReasonExpired      Reason = "expired"       // its certificate is
	ReasonNotANode     Reason = "not-a-node"    // a certificate of the authority, but not of a node
	ReasonUnknownNode  Reason = "unknown-node"  // no such node is enrolled
	ReasonSuperseded   Reason = "superseded"    // its name has another key now
	ReasonRole         Reason = "role"          // its roles do not permit that
	ReasonNotOwner     Reason = "not-owner"     // the row is not of its node
	ReasonTooLarge     Reason = "too-large"     // the row has more in it than there is room for
	ReasonToken        Reason = "token"         // there is no such token
	ReasonTokenExpired Reason = "token-expired" //
	ReasonTokenUsed    Reason = "token-used-up" //
	ReasonTokenRole    Reason = "token-role"    // the token does not permit these roles
	ReasonNameInUse    Reason = "name-in-use"   // a node of that name, with another key, is there
	ReasonRate         Reason = "rate"          // too many failed enrolments from there
	ReasonBadRequest   Reason = "bad-request"   //
	ReasonUnavailable  Reason = "unavailable"   // the state cannot be read or written now
)

// reasons lists all of them.
func reasons() []Reason {
	return []Reason{
		ReasonTooMany, ReasonPlainText, ReasonTLSVersion, ReasonHandshake, ReasonForged, ReasonExpired, ReasonNotANode, ReasonUnknownNode, ReasonSuperseded, ReasonRole,
		ReasonNotOwner, ReasonTooLarge, ReasonToken, ReasonTokenExpired, ReasonTokenUsed, ReasonTokenRole, ReasonNameInUse, ReasonRate, ReasonBadRequest, ReasonUnavailable,
	}
}

// status is the HTTP status that goes with a reason.
func (r Reason) status() int {
	switch r {
	case ReasonBadRequest:
		return http.StatusBadRequest
	case ReasonTooLarge:
		return http.StatusRequestEntityTooLarge
	case ReasonNameInUse:
		return http.StatusConflict
	case ReasonRate:
		return http.StatusTooManyRequests
	case ReasonUnavailable:
		return http.StatusServiceUnavailable
	}
	return http.StatusForbidden
}

// Refusal is what a control node answers instead of doing what it was asked.
type Refusal struct {
	Reason Reason `json:"reason"`
	// Message says what is wrong and what to do.
	Message string `json:"message"`
	cause   error  // is not for peers to know
}

func (r *Refusal) Error() string {
	if r.cause != nil {
		return r.Message + ": " + r.cause.Error()
	}
	return r.Message
}

// Unwrap gives what is behind the refusal, on the side that refused.
func (r *Refusal) Unwrap() error { return r.cause }

// refuse makes a refusal.
func refuse(reason Reason, message string) *Refusal {
	return &Refusal{Reason: reason, Message: message}
}

// logEvery is how often refusals for one reason are logged at most.
const logEvery = 10 * time.Second

// refusals counts what was refused and tells of it in the log, without letting strangers fill it.
type refusals struct {
	logger *slog.Logger
	now    func() time.Time

	mu     sync.Mutex
	counts map[Reason]uint64
	logged map[Reason]logged
}

type logged struct {
	at    time.Time
	count uint64 // what counts was then
}

// note counts a refusal. peer is the address it came from, node the name that it claimed, if it did.
func (r *refusals) note(reason Reason, peer, node string, why error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.counts[reason]++
	last, now := r.logged[reason], r.now()
	if !last.at.IsZero() && now.Sub(last.at) < logEvery {
		return
	}
	n := r.counts[reason]
	r.logged[reason] = logged{now, n}
	r.logger.Warn("refused a peer", slog.String("reason", string(reason)), slog.String("peer", peer), slog.String("node", node),
		slog.Any("error", why), slog.Uint64("since_last_logged", n-last.count))
}

func (r *refusals) all() map[Reason]uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.counts)
}
