package ruche

import (
	"net/netip"
	"time"
)

// EndpointState says whether an endpoint takes requests, and if not, why.
type EndpointState string

// The endpoint states. Only EndpointReady takes new requests.
const (
	EndpointReady       EndpointState = "ready"
	EndpointStarting    EndpointState = "starting"    // its health check has not passed yet
	EndpointUnhealthy   EndpointState = "unhealthy"   // its health check fails
	EndpointStopping    EndpointState = "stopping"    // the engine has begun to stop it
	EndpointPaused      EndpointState = "paused"      // docker pause
	EndpointStopped     EndpointState = "stopped"     // it is created or exited, not running
	EndpointUnreachable EndpointState = "unreachable" // it runs, but shares no network with Ruche, or its node is cut off
)

// Endpoint is a place where a workload is live: the address of one container. It has an ID of its own, the key of its bucket: for a container
// that declares for itself the workload's, for a task of a service "task/<its ID>", for a service's virtual address the service's.
// The port belongs to the route, so that one container can serve several.
type Endpoint struct {
	// Workload is the ID of the declaring Workload, which may have many endpoints.
	Workload string `json:"workload"`
	// Node is where it runs.
	Node string `json:"node,omitempty"`
	// Address is an IP address without port; empty unless the workload runs on a reachable network.
	Address string `json:"address,omitempty"`
	// Ports has the ports that are found under another number at Address, because they are published there; others are what they are.
	Ports map[uint16]uint16 `json:"ports,omitempty"`
	// Network is the Docker network the address is in, NetworkReason why this one was chosen or none could be.
	Network       string        `json:"network,omitempty"`
	NetworkReason string        `json:"network_reason,omitempty"`
	State         EndpointState `json:"state"`
	// StateReason says what led to State: "health_status: unhealthy", "signal 15", "exit code 137".
	StateReason string    `json:"state_reason,omitempty"`
	Since       time.Time `json:"since,omitzero"`
}

// Sighting is what an agent sees on its own Engine of the container of a Swarm's task. It tells sooner than the Swarm that a container
// is being stopped, or has become healthy.
type Sighting struct {
	// Task and Service are IDs.
	Task    string `json:"task"`
	Service string `json:"service"`
	// Node is the name of the agent's node.
	Node  string        `json:"node"`
	State EndpointState `json:"state"`
	// StateReason says what led to State, as in Endpoint.
	StateReason string    `json:"state_reason,omitempty"`
	Since       time.Time `json:"since,omitzero"`
}

// Ingress is what edges have to know of the Swarm's routing mesh: a connection that comes over it has the address of one of the mesh's gateways, and no more the client's.
type Ingress struct {
	// Subnets are those of its network. Every node has a gateway somewhere in them.
	Subnets []netip.Prefix `json:"subnets"`
	// Mend is the command that has the edges' ports published on their nodes instead; empty when no service is known to need it.
	Mend string `json:"mend,omitempty"`
}

// CertificateQuery asks for the certificate of one TLS handshake.
type CertificateQuery struct {
	// ServerName is the name the client asked for, lower case, without a trailing dot; empty when it named none.
	ServerName string
	// Host is the host pattern of the route that serves ServerName, as it was declared ("*.a.example"), which is what
	// certificate files are named after; empty when no route serves it.
	Host string
	// Declared tells that ServerName itself was declared, not only a pattern that takes it.
	Declared bool
	Mode     TLSMode
	CertName string
}
