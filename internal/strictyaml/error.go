package strictyaml

import (
	"errors"
	"fmt"
	"strings"
)

// maxErrors bounds how many mistakes of one document are reported.
const maxErrors = 20

// Error is one mistake in a document.
type Error struct {
	// File is the name that was given to Decode, Lists or Pairs.
	File string
	// Line and Column count from 1; a column is a character. Both are 0 when the place is not known.
	Line, Column int
	// Message says what is wrong; lower case, no period.
	Message string
	// Hint says what to do about it; may be empty.
	Hint string
}

// Error gives place, message and hint in one line.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.File)
	if e.Line > 0 {
		fmt.Fprintf(&b, ":%d", e.Line)
		if e.Column > 0 {
			fmt.Fprintf(&b, ":%d", e.Column)
		}
	}
	b.WriteString(": " + e.Message)
	if e.Hint != "" {
		b.WriteString(" (" + e.Hint + ")")
	}
	return b.String()
}

// errorList is several mistakes of one document, in the order of the document.
type errorList []*Error

func (l errorList) Error() string {
	lines := make([]string, len(l))
	for i, e := range l {
		lines[i] = e.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap lets errors.As find the first mistake.
func (l errorList) Unwrap() []error {
	list := make([]error, len(l))
	for i, e := range l {
		list[i] = e
	}
	return list
}

// result turns collected mistakes into an error: nil, the one, or a list.
func result(list []*Error) error {
	switch len(list) {
	case 0:
		return nil
	case 1:
		return list[0]
	}
	return errorList(list)
}

// All gives every mistake that an error of this package reports, in the order of the document; at most 20 of one
// document are reported. It is nil for other errors.
func All(err error) []*Error {
	var list errorList
	if errors.As(err, &list) {
		return list
	}
	var one *Error
	if errors.As(err, &one) {
		return []*Error{one}
	}
	return nil
}
