package stack

import (
	_ "embed"
	"fmt"
	"regexp"
)

// stackFile is deploy/stack.yml, word for word: what cannot be embedded from there is held equal by a test.
//
//go:embed stack.yml
var stackFile string

// variable is one of the stack file, in the form that docker knows: ${NAME:-default}, ${NAME:?what is missing}.
var variable = regexp.MustCompile(`\$\{([A-Z_]+):([-?])([^}]*)\}`)

// plain are values that need no quoting, neither in YAML nor for docker, which looks for variables in the file once more.
var plain = regexp.MustCompile(`^[A-Za-z0-9_./:@,\[\]+-]+$`)

// render fills in the variables of the stack file.
func render(values map[string]string) (string, error) {
	var bad error
	text := variable.ReplaceAllStringFunc(stackFile, func(v string) string {
		part := variable.FindStringSubmatch(v)
		value, given := values[part[1]]
		switch {
		case !given && part[2] == "?":
			bad = fmt.Errorf("cannot write the stack file: %s is missing: %s", part[1], part[3])
		case !given:
			value = part[3]
		case !plain.MatchString(value):
			bad = fmt.Errorf("cannot write the stack file: %q has characters that %s cannot have", value, part[1])
		}
		return value
	})
	return text, bad
}
