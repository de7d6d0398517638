package ruche

import "time"

// Member is one member of the cluster that holds the state.
type Member struct {
	// ID is 16 hexadecimal digits at most.
	ID string `json:"id"`
	// Name is the node's; empty until an invited member has come up for the first time.
	Name string `json:"name"`
	// Peer is the URL at which other members reach it; empty when it is alone and nobody does.
	Peer string `json:"peer"`
	// Learner tells that it receives the data but does not vote yet.
	Learner bool `json:"learner"`
	// Leader tells that it leads, as far as the member that was asked knows.
	Leader bool `json:"leader"`
	// Healthy tells that it answered now. The member that was asked is healthy when it knows a leader.
	Healthy bool `json:"healthy"`
}

// StateStatus is how the replicated state is, as one member sees it.
type StateStatus struct {
	// Node is the name of the member that was asked.
	Node string `json:"node"`
	// Quorum tells whether a majority of the members is up, QuorumSince since when that is so.
	Quorum      bool      `json:"quorum"`
	QuorumSince time.Time `json:"quorum_since"`
	// Revision grows with every write.
	Revision int64 `json:"revision"`
	// Size is what the database takes on the disk, in bytes.
	Size    int64    `json:"size"`
	Members []Member `json:"members"`
	// Refused counts connections to this member's peer address that were refused, by reason: "forged", "not-a-member", "no-certificate", "expired",
	// "plain-text", "tls-version", "handshake".
	Refused map[string]int64 `json:"refused"`
}
