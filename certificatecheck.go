package ruche

import (
	"slices"
	"time"
)

// CheckTarget is a server whose certificate is to be looked at.
type CheckTarget struct {
	// Host is a DNS name or IP address, Port a number; Port 0 stands for 443, or for that of StartTLS.
	Host string `json:"host"`
	Port int    `json:"port"`
	// Address is where to connect to, as IP:PORT, instead of where Host leads.
	Address string `json:"address,omitempty"`
	// ServerName is the name that is asked for, and that the certificate has to be good for, instead of Host.
	ServerName string `json:"server_name,omitempty"`
	// StartTLS is the protocol in which TLS begins by a command: "smtp" or "imap"; empty: TLS from the first byte on.
	StartTLS string `json:"starttls,omitempty"`
}

// CertificateCheck answers "is the certificate that a server shows good?".
type CertificateCheck struct {
	Target CheckTarget `json:"target"`
	// Address is where it was looked at; empty where no connection came about.
	Address string    `json:"address,omitempty"`
	At      time.Time `json:"at"`
	// Findings are ordered by check; those of level "ok" say what was looked at and is fine.
	Findings []Finding `json:"findings"`
	// Chain has the certificates in the order in which they were sent, the server's own first; empty where no handshake came about.
	Chain []CheckedCertificate `json:"chain,omitempty"`
	TLS   *CheckedTLS          `json:"tls,omitempty"`
}

// Worst gives the highest level of the findings.
func (c CertificateCheck) Worst() Level {
	worst := 0
	levels := []Level{LevelOK, LevelNote, LevelWarning, LevelError}
	for _, f := range c.Findings {
		worst = max(worst, slices.Index(levels, f.Level))
	}
	return levels[worst]
}

// CheckedCertificate is what is in a certificate.
type CheckedCertificate struct {
	Subject string `json:"subject"`
	Issuer  string `json:"issuer"`
	// Names are those that it is good for; none of a CA's.
	Names     []string  `json:"names,omitempty"`
	NotBefore time.Time `json:"not_before"`
	NotAfter  time.Time `json:"not_after"`
	Key       string    `json:"key"`       // "ECDSA P-256", "RSA 2048"
	Signature string    `json:"signature"` // "ECDSA-SHA384"
	Serial    string    `json:"serial"`    // in hexadecimal digits
	// Fingerprint is its SHA-256, in hexadecimal digits.
	Fingerprint string `json:"fingerprint"`
	// MustStaple tells that clients are to insist on a stapled OCSP answer (RFC 7633); CRLs are the URLs of its CRLs.
	MustStaple bool     `json:"must_staple,omitempty"`
	CRLs       []string `json:"crls,omitempty"`
}

// CheckedTLS is how a server speaks TLS.
type CheckedTLS struct {
	// Versions are those that it accepts, the oldest first: "TLS 1.2". Version, Cipher, KeyExchange and ALPN are what came of a handshake with a client of today.
	Versions    []string `json:"versions"`
	Version     string   `json:"version"`
	Cipher      string   `json:"cipher"`
	KeyExchange string   `json:"key_exchange"` // "X25519MLKEM768"; "RSA" where there is no exchange
	PostQuantum bool     `json:"post_quantum"`
	ALPN        string   `json:"alpn,omitempty"`
	// Resumes tells that a second connection went on with the session of a first one. Stapled tells of an OCSP answer in the handshake.
	Resumes bool `json:"resumes"`
	Stapled bool `json:"stapled"`
	// ClientCertificate tells that it asks for one.
	ClientCertificate bool `json:"client_certificate,omitempty"`
}
