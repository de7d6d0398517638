package ruche

// Level says what a finding means.
type Level string

// The levels, from good to bad.
const (
	LevelOK      Level = "ok"
	LevelNote    Level = "note"    // it may be meant so
	LevelWarning Level = "warning" // it works, and is weak
	LevelError   Level = "error"   // something does not work
)

// Finding is one thing that was looked at in the installation, and how it is.
type Finding struct {
	// Check is the stable name of what was looked at. Each has an entry in docs/doctor.md.
	Check string `json:"check"`
	Level Level  `json:"level"`
	// Subject is the node, service or address that it is about; empty for the whole installation.
	Subject string `json:"subject,omitempty"`
	// Message says how it is; lower case, no period.
	Message string `json:"message"`
	// Hint says what to do next; may be empty with LevelOK.
	Hint string `json:"hint,omitempty"`
}

// Checkup answers "what is wrong or weak in the installation?".
type Checkup struct {
	// Node is the name of the control node that has looked.
	Node string `json:"node"`
	// Findings are ordered by check; each check has one at least.
	Findings []Finding `json:"findings"`
}

// Count gives how many findings there are of a level.
func (c Checkup) Count(l Level) int {
	n := 0
	for _, f := range c.Findings {
		if f.Level == l {
			n++
		}
	}
	return n
}
