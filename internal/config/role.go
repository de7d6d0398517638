package config

// Role is what a node does in the installation. A node may have several.
type Role uint8

// The roles.
const (
	Control Role = 1 << iota // keeps the replicated state, and tells others what it holds
	Agent                    // watches this node's Engine
	Edge                     // faces the internet
	// All is what one host alone does.
	All = Control | Agent | Edge

	every = All // of a setting that every node has
)

// Verb is the command that starts a node of this role.
func (r Role) Verb() string {
	switch r {
	case Control:
		return "control"
	case Agent:
		return "agent"
	case Edge:
		return "edge"
	}
	return "up"
}
