package strictyaml

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
)

// parse reads the one document of data. It gives nil when there is nothing but blanks and comments.
func parse(name string, data []byte) (*yaml.Node, error) {
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	if err := checkText(name, data); err != nil {
		return nil, err
	}
	loader, err := yaml.NewLoader(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", name, err)
	}
	var doc yaml.Node
	if err := loader.Load(&doc); errors.Is(err, io.EOF) {
		return nil, nil
	} else if err != nil {
		return nil, syntaxError(name, err)
	}
	var second yaml.Node
	if err := loader.Load(&second); err == nil {
		return nil, &Error{File: name, Line: second.Line, Column: second.Column, Message: "a second document begins here",
			Hint: `one file holds one document: remove the "---" between them, or use two files`}
	} else if !errors.Is(err, io.EOF) {
		return nil, syntaxError(name, err)
	}
	if len(doc.Content) != 1 {
		return nil, nil
	}
	return doc.Content[0], nil
}

// checkText refuses what the YAML library would refuse too, but without telling where.
func checkText(name string, data []byte) error {
	line, column := 1, 1
	for i := 0; i < len(data); {
		r, size := utf8.DecodeRune(data[i:])
		switch {
		case r == utf8.RuneError && size <= 1:
			return &Error{File: name, Line: line, Column: column, Message: "the file is not UTF-8 text", Hint: "save it in UTF-8"}
		case r < ' ' && r != '\t' && r != '\n' && r != '\r', r == 0x7f:
			return &Error{File: name, Line: line, Column: column, Message: fmt.Sprintf("control character %U", r), Hint: "remove it"}
		case r == '\n':
			line, column = line+1, 0
		}
		i += size
		column++
	}
	return nil
}

// syntaxError puts the library's error into our form.
func syntaxError(name string, err error) error {
	var load *yaml.LoadError
	if !errors.As(err, &load) {
		return &Error{File: name, Message: strings.TrimPrefix(err.Error(), "yaml: ")}
	}
	e := &Error{File: name, Line: load.Mark.Line, Column: load.Mark.Column, Message: load.Message}
	if load.ContextMsg != "" && load.ContextMark.Line > 0 && load.ContextMark.Line != load.Mark.Line {
		e.Message += fmt.Sprintf(" (%s that began on line %d)", load.ContextMsg, load.ContextMark.Line)
	}
	switch m := load.Message; {
	case strings.Contains(m, "mapping values are not allowed"):
		e.Hint = `quote a value that contains ": ", and indent keys of one map alike`
	case strings.Contains(m, "cannot start any token"):
		e.Hint = `indent with spaces, not tabs, and quote a value that begins with one of @ % or a backquote`
	case strings.Contains(m, "anchor") || strings.Contains(m, "alias"):
		e.Hint = `quote a value that begins with "*" or "&"`
	}
	return e
}
