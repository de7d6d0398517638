// Package h2 reads and writes the frames of HTTP/2 on the server's side (RFC 9113), with header blocks (RFC 7541): no I/O, no goroutine, and no
// allocation per request as long as clients repeat their fields. It is strict about what a client may send, and bounds all that a client can make long.
package h2

import "fmt"

// Code says why a stream or a connection ends (RFC 9113 section 7).
type Code uint32

// The codes.
const (
	NoError Code = iota
	ProtocolError
	InternalError
	FlowControlError
	SettingsTimeout
	StreamClosed
	FrameSizeError
	RefusedStream
	Cancel
	CompressionError
	ConnectError
	EnhanceYourCalm
	InadequateSecurity
	HTTP11Required
)

// String returns the name that the RFC has for it.
func (c Code) String() string {
	names := [...]string{
		"NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT", "STREAM_CLOSED", "FRAME_SIZE_ERROR", "REFUSED_STREAM",
		"CANCEL", "COMPRESSION_ERROR", "CONNECT_ERROR", "ENHANCE_YOUR_CALM", "INADEQUATE_SECURITY", "HTTP_1_1_REQUIRED",
	}
	if int64(c) < int64(len(names)) {
		return names[c]
	}
	return fmt.Sprintf("code %d", uint32(c))
}

// Error is what a client did wrong. It is a comparable value: var e h2.Error; errors.As(err, &e).
type Error struct {
	Code Code
	// Stream is the one that ends; 0 means that the connection does.
	Stream uint32
	// Reason is short and for people.
	Reason string
	// Rule is the section that is broken, like "RFC 9113 6.5".
	Rule string
}

func (e Error) Error() string { return fmt.Sprintf("%s (%s, %s)", e.Reason, e.Rule, e.Code) }

func broken(code Code, reason, rule string) error {
	return Error{Code: code, Reason: reason, Rule: rule}
}

func brokenStream(stream uint32, code Code, reason, rule string) error {
	return Error{Code: code, Stream: stream, Reason: reason, Rule: rule}
}
