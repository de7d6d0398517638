package ruche

import "time"

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
	EndpointUnreachable EndpointState = "unreachable" // it runs, but shares no network with Ruche
)

// Endpoint is where one workload is live: one container's address.
// The port belongs to the route, so that one container can serve several.
type Endpoint struct {
	// Workload is the ID of the declaring Workload.
	Workload string `json:"workload"`
	Node     string `json:"node,omitempty"`
	// Address is an IP address without port; empty unless the workload runs on a reachable network.
	Address string `json:"address,omitempty"`
	// Network is the Docker network the address is in, NetworkReason why this one was chosen or none could be.
	Network       string        `json:"network,omitempty"`
	NetworkReason string        `json:"network_reason,omitempty"`
	State         EndpointState `json:"state"`
	// StateReason says what led to State: "health_status: unhealthy", "signal 15", "exit code 137".
	StateReason string    `json:"state_reason,omitempty"`
	Since       time.Time `json:"since,omitzero"`
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
