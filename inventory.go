package ruche

import "time"

// CertificateState says in one word how a certificate is doing.
type CertificateState string

// The certificate states, from good to bad.
const (
	CertificateValid   CertificateState = "valid"   // all is by the plan
	CertificateRetired CertificateState = "retired" // nobody wants it; it is not renewed
	CertificateDue     CertificateState = "due"     // it is being renewed, or should be
	CertificatePending CertificateState = "pending" // it is wanted, and there is none yet; or it is a file that begins to be valid later
	CertificateFailing CertificateState = "failing" // the last tries to get or renew it have failed, or it cannot be ordered as it is asked for; or it is a file that is not for a name which it serves
	CertificateExpired CertificateState = "expired"
	CertificateRevoked CertificateState = "revoked"
)

// CertificateStates are all states, from good to bad.
func CertificateStates() []CertificateState {
	return []CertificateState{
		CertificateValid, CertificateRetired, CertificateDue, CertificatePending, CertificateFailing, CertificateExpired, CertificateRevoked,
	}
}

// CertificateInfo is one certificate of the inventory: stored, or wanted and not there yet, or served from somewhere else.
type CertificateInfo struct {
	// ID is the name by which commands take it: that of the record, or "file:PATH@NODE".
	ID    string           `json:"id"`
	Kind  CertificateKind  `json:"kind"`
	State CertificateState `json:"state"`
	// Names are those that were asked for, of a file those that are served with it.
	Names []string `json:"names"`
	// Source says who wants it, for people: "service shop, env ACME_HOST"; several with "; ".
	Source string `json:"source,omitempty"`
	// Issuer is the configured issuer's name, Directory its URL; CA is the common name in the certificate.
	Issuer    string `json:"issuer,omitempty"`
	Directory string `json:"directory,omitempty"`
	CA        string `json:"ca,omitempty"`
	Profile   string `json:"profile,omitempty"`
	KeyType   string `json:"key_type,omitempty"` // "ECDSA P-256", "RSA 2048"
	// Serial, Fingerprint (SHA-256 of the certificate) and Key (SHA-256 of its public key) are in hexadecimal digits.
	Serial      string    `json:"serial,omitempty"`
	Fingerprint string    `json:"fingerprint,omitempty"`
	Key         string    `json:"key,omitempty"`
	NotBefore   time.Time `json:"not_before,omitzero"`
	NotAfter    time.Time `json:"not_after,omitzero"`
	Issued      time.Time `json:"issued,omitzero"`
	// Wanted tells that somebody wants it here, so that it is ordered and renewed.
	Wanted bool `json:"wanted,omitempty"`
	// Due is when it is to be renewed; WindowStart and WindowEnd are what the CA suggests (RFC 9773), Explanation is where it says why.
	Due         time.Time `json:"due,omitzero"`
	WindowStart time.Time `json:"window_start,omitzero"`
	WindowEnd   time.Time `json:"window_end,omitzero"`
	Explanation string    `json:"explanation,omitempty"`
	// Asked is from when on somebody wants it renewed out of turn, and AskedReason why; zero when nobody does, or it was renewed since.
	Asked       time.Time `json:"asked,omitzero"`
	AskedReason string    `json:"asked_reason,omitempty"`
	// Revocations are those that were asked for and are not done yet, of this certificate or of one that it has replaced.
	Revocations []PendingRevocation `json:"revocations,omitempty"`
	Failures    int                 `json:"failures,omitempty"`
	LastError   string              `json:"last_error,omitempty"`
	NextTry     time.Time           `json:"next_try,omitzero"`
	Retired     time.Time           `json:"retired,omitzero"`
	Revoked     time.Time           `json:"revoked,omitzero"`
	// Withdrawn is when the CA has revoked it by itself.
	Withdrawn time.Time `json:"withdrawn,omitzero"`
	// ServedBy has the edges that serve a name with it.
	ServedBy []string `json:"served_by,omitempty"`
	// Problems are what is wrong with it, each in a sentence.
	Problems []string `json:"problems,omitempty"`
}

// PendingRevocation is a certificate that its CA is to revoke and has not yet.
type PendingRevocation struct {
	// Serial is the certificate's, in hexadecimal digits.
	Serial string `json:"serial"`
	// At is from when on it is to be revoked: once its successor is served, where there is to be one.
	At time.Time `json:"at"`
	// Reason is by the names of RFC 5280 section 5.3.1: "keyCompromise", "superseded", ...
	Reason string `json:"reason"`
	// LastError is why it was not revoked when that was tried last; empty before it was.
	LastError string `json:"last_error,omitempty"`
}

// ServedName is one name that is published, or watched, and what it is served with.
type ServedName struct {
	Name string          `json:"name"`
	Kind CertificateKind `json:"kind"`
	// Certificate is the ID of the one that most edges serve it with; empty where that is none of the inventory's.
	Certificate string    `json:"certificate,omitempty"`
	Fingerprint string    `json:"fingerprint,omitempty"`
	NotAfter    time.Time `json:"not_after,omitzero"`
	// CA and Withdrawn are of a certificate that others look after: the common name of its issuer, and when that has revoked it.
	CA        string    `json:"ca,omitempty"`
	Withdrawn time.Time `json:"withdrawn,omitzero"`
	// Edges are those that serve it so, or pass it through; Others, by edge, is what others serve it with, by fingerprint or kind.
	Edges  []string          `json:"edges,omitempty"`
	Others map[string]string `json:"others,omitempty"`
	// Seen is when somebody looked at it from outside, Problem what was wrong then. They are set for names that are passed through or watched.
	Seen    time.Time `json:"seen,omitzero"`
	Problem string    `json:"problem,omitempty"`
}

// CertificateList answers "which certificates are there, and how are they doing?".
type CertificateList struct {
	// Node is the control node that answers.
	Node string `json:"node"`
	// Certificates are ordered by their first name, then by ID; Names by name.
	Certificates []CertificateInfo `json:"certificates"`
	Names        []ServedName      `json:"names"`
	// Silent are the edges that were not heard of lately, and when they were last. What they serve is not in the list.
	Silent   map[string]time.Time `json:"silent,omitempty"`
	Warnings []Warning            `json:"warnings"`
}

// CertificateSelection says which certificates a command is about. The zero value selects none; those that are set have all to fit.
type CertificateSelection struct {
	// IDs or names ("shop.example") of certificates.
	IDs []string `json:"ids,omitempty"`
	// Issuer is the name of a configured issuer, or a part of the CA's common name; Serial, Fingerprint and Key are hexadecimal digits; All selects every one that is not retired.
	Issuer      string `json:"issuer,omitempty"`
	Serial      string `json:"serial,omitempty"`
	Fingerprint string `json:"fingerprint,omitempty"`
	Key         string `json:"key,omitempty"`
	All         bool   `json:"all,omitempty"`
}

// RenewRequest asks for certificates to be renewed out of turn.
type RenewRequest struct {
	CertificateSelection
	// Spread is the time over which the renewals are spread; 0: at once, as far as the CA's limits permit.
	Spread time.Duration `json:"spread,omitempty"`
	// Reason is for the listing; empty: "asked".
	Reason string `json:"reason,omitempty"`
}

// RevokeRequest asks for certificates to be replaced and then revoked.
type RevokeRequest struct {
	CertificateSelection
	// Reason is one that CAs take from subscribers (RFC 5280 section 5.3.1): 0 unspecified, 1 keyCompromise, 4 superseded, 5 cessationOfOperation. Of a certificate that is
	// wanted, a new one with a new key is made and served first.
	Reason int           `json:"reason"`
	Spread time.Duration `json:"spread,omitempty"`
}

// CertificateTask is what became of one certificate of such a request.
type CertificateTask struct {
	ID    string   `json:"id"`
	Names []string `json:"names"`
	// At is when it begins; Error is why it will not, empty when it will. Those that will not stand last where a renewal was asked for.
	At    time.Time `json:"at,omitzero"`
	Error string    `json:"error,omitempty"`
}
