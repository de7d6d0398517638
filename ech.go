package ruche

import "time"

// ECHStatus is how Encrypted Client Hello (RFC 9849) is set up, and what DNS tells clients of it.
type ECHStatus struct {
	// PublicName is what clients ask for openly instead of the site's name; empty where it is off.
	PublicName string `json:"public_name"`
	// Config is the ECHConfigList to publish. Rotated is when its key was made, Next when another one follows.
	Config  []byte      `json:"config,omitempty"`
	Rotated time.Time   `json:"rotated,omitzero"`
	Next    time.Time   `json:"next,omitzero"`
	Records []ECHRecord `json:"records"`
}

// ECHRecord is the HTTPS record (RFC 9460) of one published name.
type ECHRecord struct {
	Name string `json:"name"`
	// Record is what to write into the zone.
	Record string `json:"record"`
	// Published is what DNS has now, Problem why that is not known.
	Published ECHPublished `json:"published"`
	Problem   string       `json:"problem,omitempty"`
}

// ECHPublished says what DNS has of a name.
type ECHPublished string

// What DNS may have. With an outdated or a foreign key clients get the newest in the handshake, at the price of a second one.
const (
	ECHCurrent  ECHPublished = "current"  // the newest key
	ECHOutdated ECHPublished = "outdated" // an older key that edges still take
	ECHForeign  ECHPublished = "foreign"  // another key
	ECHMissing  ECHPublished = "missing"  // none
	ECHUnknown  ECHPublished = "unknown"  // DNS does not answer
)
