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

// SealStatus is what is sealed in the state, and with which keys, as one control node sees it. IDs of keys are 8 hexadecimal digits, which tell nothing of them.
type SealStatus struct {
	// Node is the name of the node that was asked, Keys are the IDs of its keys, the one that seals first.
	Node string   `json:"node"`
	Keys []string `json:"keys"`
	// Values are ordered by bucket and key.
	Values []SealCount `json:"values"`
	// Resealed counts what was just sealed anew.
	Resealed int `json:"resealed"`
	// Unopened are the places of what none of the keys opens, of many the first.
	Unopened []string `json:"unopened,omitempty"`
	// Lacking are the control nodes that do not have the first of these keys, as far as is known. Nothing is sealed anew while there are any.
	Lacking []string `json:"lacking,omitempty"`
}

// Total counts what is sealed, what of that is to be sealed anew, and what none of the keys opens.
func (s SealStatus) Total() (all, stale, lost int) {
	for _, c := range s.Values {
		all += c.Count
		switch {
		case !c.Opens:
			lost += c.Count
		case c.Stale:
			stale += c.Count
		}
	}
	return all, stale, lost
}

// SealCount counts the sealed values of a bucket that are alike.
type SealCount struct {
	Bucket string `json:"bucket"`
	// Key is the ID of the key that they are sealed with; empty where that is unknown, and, where Opens is set, of what is in the clear and is to be sealed.
	Key string `json:"key,omitempty"`
	// Opens tells that the node has this key. Stale tells that they are to be sealed anew.
	Opens bool `json:"opens"`
	Stale bool `json:"stale"`
	Count int  `json:"count"`
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
