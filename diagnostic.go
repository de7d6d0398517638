package ruche

import "fmt"

// Severity says what a diagnostic means for what it is about.
type Severity string

// The severities.
const (
	SeverityError   Severity = "error"   // the route, key or file it names is not in force
	SeverityWarning Severity = "warning" // it is in force, but not wholly as written
	SeverityInfo    Severity = "info"    // nothing is wrong; something was decided that people may ask about
)

// Diagnostic is one thing found wrong in, or decided about, what a workload declares.
type Diagnostic struct {
	Code     Code     `json:"code"`
	Severity Severity `json:"severity"`
	// Workload is the name (not the ID) of the workload it is about.
	Workload string `json:"workload,omitempty"`
	// Source is the place: "env VIRTUAL_PORT", "label traefik.http.routers.web.rule, column 7", "site.yaml:12".
	Source string `json:"source,omitempty"`
	// Host is the host that it keeps from being served, where one is known.
	Host string `json:"host,omitempty"`
	// Message says what is wrong, with the offending value; lower case, no period.
	Message string `json:"message"`
	// Hint says what to do next; may be empty for SeverityInfo.
	Hint string `json:"hint,omitempty"`
}

// String gives the diagnostic in one line, without its hint.
func (d Diagnostic) String() string {
	return fmt.Sprintf("%s: %s: %s: %s [%s]", d.Severity, d.Workload, d.Source, d.Message, d.Code)
}

// Code is the stable name of a kind of problem. Each has an entry in docs/errors.md.
type Code string

// Codes of diagnostics: something is wrong with one declaration.
const (
	CodeHostInvalid        Code = "host-invalid"
	CodePathInvalid        Code = "path-invalid"
	CodePortInvalid        Code = "port-invalid"
	CodePortMissing        Code = "port-missing"
	CodePortGuessed        Code = "port-guessed"
	CodeProtoUnsupported   Code = "proto-unsupported"
	CodeValueInvalid       Code = "value-invalid"
	CodeRuleInvalid        Code = "rule-invalid"
	CodeRouterIncomplete   Code = "router-incomplete"
	CodeKeyUnknown         Code = "key-unknown"
	CodeKeyUnsupported     Code = "key-unsupported"
	CodeAccessUnsupported  Code = "access-unsupported"
	CodeNetworkUnreachable Code = "network-unreachable"
	CodeNetworkAmbiguous   Code = "network-ambiguous"
	CodeRouteConflict      Code = "route-conflict"
	CodeRouteShadowed      Code = "route-shadowed"
	CodeFileInvalid        Code = "file-invalid"
	CodeEntryPointUnknown  Code = "entry-point-unknown"
	CodeNameUnserved       Code = "name-unserved"
	CodeHostUncovered      Code = "host-uncovered"
)

// Codes of health warnings: something stands wrong with Ruche itself or its surroundings.
const (
	CodeDockerUnreachable   Code = "docker-unreachable"
	CodeSwarmUnavailable    Code = "swarm-unavailable"
	CodeRoutesDirUnreadable Code = "routes-dir-unreadable"
	CodeCertInvalid         Code = "certificate-invalid"
	CodeCertUnusable        Code = "certificate-unusable"
	CodeCertsDirUnreadable  Code = "certs-dir-unreadable"
	CodeClusterUnavailable  Code = "cluster-unavailable"
	CodeSealKeyMissing      Code = "seal-key-missing"
	CodeAccessLogFailed     Code = "access-log-failed"
	CodeComponentRestarted  Code = "component-restarted"
	CodeConnectionsLimited  Code = "connections-limited"
	CodeIdentityUnavailable Code = "identity-unavailable"
	CodeControlUnreachable  Code = "control-unreachable"
	CodeControlOlder        Code = "control-older"
	CodeServedUntold        Code = "served-untold"
	CodeReplicaUnwritten    Code = "replica-unwritten"
	CodeIngressMesh         Code = "ingress-mesh"
	CodeCertNotRenewed      Code = "certificate-not-renewed"
	CodeCertNotIssued       Code = "certificate-not-issued"
	CodeIssuerUnreachable   Code = "issuer-unreachable"
	CodeIssuerUnknown       Code = "issuer-unknown"
	CodeIssuerOutOfService  Code = "issuer-out-of-service"
	CodeCertNotServed       Code = "certificate-not-served"
	CodeCertNotRevoked      Code = "certificate-not-revoked"
	CodeCertShort           Code = "certificate-short"
	CodeCertRevoked         Code = "certificate-revoked"
	CodeCertElsewhere       Code = "certificate-elsewhere"
	CodeCertUnfit           Code = "certificate-unfit"
	CodeCAAForbids          Code = "caa-forbids"
	CodePersistRecord       Code = "dns-persist-record"
	CodeAccountInvalid      Code = "account-invalid"
	CodeClockWrong          Code = "clock-wrong"

	CodeRevocationListInvalid Code = "revocation-list-invalid"
	CodeFileUnused            Code = "file-unused"

	CodeCARotationOverdue Code = "ca-rotation-overdue"
	CodeCAParentDue       Code = "ca-parent-due"
	CodeCACRLStale        Code = "ca-crl-stale"
	CodeCAKeyUnreadable   Code = "ca-key-unreadable"
	CodeACMEServerFull    Code = "acme-server-full"
	CodeDockerFrontDown   Code = "docker-front-down"
)

// Codes lists every code, for the test that holds docs/errors.md against it.
func Codes() []Code {
	return []Code{
		CodeHostInvalid, CodePathInvalid, CodePortInvalid, CodePortMissing, CodePortGuessed,
		CodeProtoUnsupported, CodeValueInvalid, CodeRuleInvalid, CodeRouterIncomplete,
		CodeKeyUnknown, CodeKeyUnsupported, CodeAccessUnsupported, CodeNetworkUnreachable,
		CodeNetworkAmbiguous, CodeRouteConflict, CodeRouteShadowed, CodeFileInvalid,
		CodeEntryPointUnknown, CodeNameUnserved, CodeHostUncovered,
		CodeDockerUnreachable, CodeSwarmUnavailable, CodeRoutesDirUnreadable, CodeCertInvalid, CodeCertUnusable, CodeCertsDirUnreadable,
		CodeClusterUnavailable, CodeSealKeyMissing, CodeAccessLogFailed, CodeComponentRestarted,
		CodeConnectionsLimited, CodeIdentityUnavailable, CodeControlUnreachable, CodeControlOlder, CodeServedUntold, CodeReplicaUnwritten,
		CodeIngressMesh,
		CodeCertNotRenewed, CodeCertNotIssued, CodeIssuerUnreachable, CodeIssuerUnknown, CodeIssuerOutOfService,
		CodeCertNotServed, CodeCertNotRevoked, CodeCertShort, CodeCertRevoked, CodeCertElsewhere, CodeCertUnfit,
		CodeCAAForbids, CodePersistRecord, CodeAccountInvalid, CodeClockWrong,
		CodeRevocationListInvalid, CodeFileUnused,
		CodeCARotationOverdue, CodeCAParentDue, CodeCACRLStale, CodeCAKeyUnreadable, CodeACMEServerFull, CodeDockerFrontDown,
	}
}

// Warning is a standing health warning.
type Warning struct {
	Code     Code     `json:"code"`
	Severity Severity `json:"severity"`
	// Subject tells warnings of one code apart: a file, a route, a component.
	Subject string `json:"subject,omitempty"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
}
