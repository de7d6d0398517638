// Package mesh is how the nodes of an installation speak: one port, TLS 1.3 in which both sides prove who they are, certificates of an authority
// of the installation's own, join tokens that let a node in. A control node serves; the others follow what they may read of the state, report
// how they are, and, as agents, write what they see.
package mesh
