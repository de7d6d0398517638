package match

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Rules beyond these bounds are refused: they are attacks or accidents, and the parser recurses.
const (
	maxRule  = 64 << 10
	maxDepth = 100
)

const knownMatchers = "Host, HostRegexp, Path, PathPrefix, PathRegexp"

// ParseRule parses a Traefik router rule. Matchers are Host, HostRegexp, Path, PathPrefix and
// PathRegexp, with one or several strings in backticks or double quotes each; their names are read without regard
// to case. The error is an *Error with the column; it wraps ErrUnsupported when the rule uses a matcher that exists
// in Traefik only.
func ParseRule(s string) (*Rule, error) {
	return parseRule(&parser{text: s})
}

func parseRule(p *parser) (*Rule, error) {
	s := p.text
	if len(s) > maxRule {
		return nil, fail("", "rule has %d bytes, more than %d", len(s), maxRule)
	}
	p.blanks()
	if p.pos == len(s) {
		return nil, fail("write for example "+p.example(), "rule is empty")
	}
	root, err := p.alternatives(0)
	if err != nil {
		return nil, err
	}
	if p.pos < len(s) {
		hint := "join matchers by && or ||"
		if s[p.pos] == ')' {
			hint = "remove the parenthesis, or open it before"
		}
		return nil, p.fail(p.pos, hint, "unexpected %s", p.next())
	}
	rule := &Rule{text: s, root: root}
	rule.hosts, rule.exact = root.hostSet()
	return rule, nil
}

type parser struct {
	text       string
	pos        int
	connection bool // the rule is about connections
}

// example is a matcher for hints.
func (p *parser) example() string {
	if p.connection {
		return "HostSNI(`db.example`)"
	}
	return "Host(`shop.example`)"
}

func (p *parser) fail(at int, hint, format string, args ...any) *Error {
	return &Error{
		Column:  utf8.RuneCountInString(p.text[:at]) + 1,
		Message: fmt.Sprintf(format, args...),
		Hint:    hint,
	}
}

// next names what stands at the current place, for messages.
func (p *parser) next() string {
	if p.pos >= len(p.text) {
		return "end of the rule"
	}
	if word := p.word(); word != "" {
		return quote(word)
	}
	r, _ := utf8.DecodeRuneInString(p.text[p.pos:])
	return strconv.QuoteRune(r)
}

func (p *parser) blanks() {
	for p.pos < len(p.text) && strings.IndexByte(" \t\r\n", p.text[p.pos]) >= 0 {
		p.pos++
	}
}

func (p *parser) take(token string) bool {
	if !strings.HasPrefix(p.text[p.pos:], token) {
		return false
	}
	p.pos += len(token)
	p.blanks()
	return true
}

func (p *parser) word() string {
	end := p.pos
	for end < len(p.text) {
		c := p.text[end] | 0x20
		if (c < 'a' || c > 'z') && (end == p.pos || c < '0' || c > '9') {
			break
		}
		end++
	}
	return p.text[p.pos:end]
}

func (p *parser) alternatives(depth int) (*node, *Error) {
	return p.chain("||", opOr, depth, func() (*node, *Error) {
		return p.chain("&&", opAnd, depth, func() (*node, *Error) { return p.operand(depth) })
	})
}

func (p *parser) chain(token string, op operation, depth int, part func() (*node, *Error)) (*node, *Error) {
	first, err := part()
	if err != nil {
		return nil, err
	}
	nodes := []*node{first}
	for p.take(token) {
		n, err := part()
		if err != nil {
			return nil, err
		}
		nodes = append(nodes, n)
	}
	if len(nodes) == 1 {
		return first, nil
	}
	return &node{op: op, nodes: nodes}, nil
}

func (p *parser) operand(depth int) (*node, *Error) {
	if depth > maxDepth {
		return nil, p.fail(p.pos, "", "rule nests deeper than %d", maxDepth)
	}
	at := p.pos
	switch {
	case p.take("!"):
		n, err := p.operand(depth + 1)
		if err != nil {
			return nil, err
		}
		return &node{op: opNot, nodes: []*node{n}}, nil
	case p.take("("):
		n, err := p.alternatives(depth + 1)
		if err != nil {
			return nil, err
		}
		if !p.take(")") {
			return nil, p.fail(p.pos, fmt.Sprintf("close the parenthesis of column %d", utf8.RuneCountInString(p.text[:at])+1),
				"expected a closing parenthesis, found %s", p.next())
		}
		return n, nil
	}
	return p.matcher()
}

func (p *parser) matcher() (*node, *Error) {
	at := p.pos
	name := p.word()
	if name == "" {
		return nil, p.fail(at, "write a matcher such as "+p.example(), "expected a matcher, found %s", p.next())
	}
	if err := p.known(at, name); err != nil {
		return nil, err
	}
	p.pos += len(name)
	p.blanks()
	if !p.take("(") {
		return nil, p.fail(p.pos, "write "+name+"(`...`)", "expected ( after %s, found %s", name, p.next())
	}
	var nodes []*node
	for {
		start := p.pos
		value, err := p.str()
		if err != nil {
			return nil, err
		}
		read := argument
		if p.connection {
			read = connectionArgument
		}
		n, bad := read(strings.ToLower(name), value)
		if bad != nil {
			return nil, p.fail(start, bad.Hint, "%s: %s", name, bad.Message)
		}
		nodes = append(nodes, n)
		if p.take(")") {
			break
		}
		if !p.take(",") {
			return nil, p.fail(p.pos, "separate strings by commas and close with )", "expected a comma or ), found %s", p.next())
		}
	}
	if len(nodes) == 1 {
		return nodes[0], nil
	}
	return &node{op: opOr, nodes: nodes}, nil
}

func (p *parser) known(at int, name string) *Error {
	if p.connection {
		return p.knownOfConnections(at, name)
	}
	switch strings.ToLower(name) {
	case "host", "hostregexp", "path", "pathprefix", "pathregexp":
		return nil
	case "method", "header", "headers", "headerregexp", "headersregexp", "query", "queryregexp", "clientip":
		err := p.fail(at, "a rule may use "+knownMatchers, "%s: %s", name, ErrUnsupported)
		err.cause = ErrUnsupported
		return err
	case "hostheader":
		return p.fail(at, "write Host", "HostHeader has been replaced")
	case "hostsni", "hostsniregexp", "alpn":
		return p.fail(at, "an HTTP router uses "+knownMatchers, "%s belongs to the rules of TCP routers", name)
	}
	return p.fail(at, "the matchers are "+knownMatchers, "unknown matcher %s", quote(name))
}

// str reads a Go string literal, as Traefik does.
func (p *parser) str() (string, *Error) {
	at := p.pos
	literal, err := strconv.QuotedPrefix(p.text[p.pos:])
	if err != nil || literal[0] == '\'' {
		if at < len(p.text) && (p.text[at] == '`' || p.text[at] == '"') {
			return "", p.fail(at, "close the string; \\ in double quotes must be written \\\\", "string is not closed or has a bad escape")
		}
		return "", p.fail(at, "write the value in backticks", "expected a string, found %s", p.next())
	}
	value, err := strconv.Unquote(literal)
	if err != nil {
		return "", p.fail(at, "write the value in backticks", "string is malformed")
	}
	p.pos += len(literal)
	p.blanks()
	return value, nil
}
