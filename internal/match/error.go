package match

import (
	"errors"
	"fmt"
)

// ErrUnsupported is wrapped by the error for a rule that is right, but uses a matcher that Ruche does
// not have.
var ErrUnsupported = errors.New("matcher is not supported")

// Error says what is wrong with a pattern or rule.
type Error struct {
	// Column is where in a rule it is wrong, in characters from 1; 0 when the whole text is meant.
	Column int
	// Message says what is wrong, with the offending value; lower case, without a period.
	Message string
	// Hint says what to write instead; it may be empty.
	Hint string

	cause error
}

// Error returns the column and the message, without the hint.
func (e *Error) Error() string {
	if e.Column > 0 {
		return fmt.Sprintf("column %d: %s", e.Column, e.Message)
	}
	return e.Message
}

// Unwrap returns ErrUnsupported for a matcher that is known but not supported, else nil.
func (e *Error) Unwrap() error { return e.cause }

func fail(hint, format string, args ...any) *Error {
	return &Error{Message: fmt.Sprintf(format, args...), Hint: hint}
}

// quote bounds a value in a message: whatever it is, the message stays a line people can read.
func quote(s string) string {
	const most = 80
	if len(s) <= most {
		return fmt.Sprintf("%q", s)
	}
	return fmt.Sprintf("%q...", s[:most])
}
