package strictyaml

import (
	"encoding"
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
)

// maxNodes bounds how many values one document may expand to through aliases.
const maxNodes = 100_000

// decoder fills Go values from one document and collects its mistakes.
type decoder struct {
	file  string
	nodes *int // visited so far in the whole document
	errs  []*Error
	// within holds the alias targets that are being decoded.
	within map[*yaml.Node]bool
	over   bool // more than maxNodes were visited, and that was reported
}

func (d *decoder) fail(n *yaml.Node, hint, format string, args ...any) {
	if len(d.errs) < maxErrors {
		d.errs = append(d.errs, &Error{File: d.file, Line: n.Line, Column: n.Column, Message: fmt.Sprintf(format, args...), Hint: hint})
	}
}

// resolve follows aliases and reports what no Go value can be filled from. It gives nil when the
// mistake is reported.
func (d *decoder) resolve(n *yaml.Node) *yaml.Node {
	*d.nodes++
	if *d.nodes > maxNodes {
		if !d.over {
			d.over = true
			d.fail(n, "use fewer aliases", "the document expands to more than %d values", maxNodes)
		}
		return nil
	}
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if n.Style&yaml.TaggedStyle != 0 {
		d.fail(n, "remove the tag", "the tag %s is not supported", n.ShortTag())
		return nil
	}
	return n
}

// decode fills v, which is settable, from n.
func (d *decoder) decode(n *yaml.Node, v reflect.Value) {
	alias := n
	if n = d.resolve(n); n == nil {
		return
	}
	if alias.Kind == yaml.AliasNode {
		if d.within[n] {
			d.fail(alias, "an alias cannot stand for a value that it is a part of", "the alias *%s contains itself", alias.Value)
			return
		}
		if d.within == nil {
			d.within = make(map[*yaml.Node]bool)
		}
		d.within[n] = true
		defer delete(d.within, n)
		n = relocate(n, alias)
	}
	if v.Kind() == reflect.Pointer {
		if isNull(n) {
			if n.Value == "" {
				d.nothing(n, v.Type().Elem())
			}
			return
		}
		if v.IsNil() {
			v.Set(reflect.New(v.Type().Elem()))
		}
		v = v.Elem()
	}
	if u, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
		d.text(n, func(s string) error { return u.UnmarshalText([]byte(s)) })
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		d.structure(n, v)
	case reflect.Map:
		d.mapping(n, v)
	case reflect.Slice:
		d.slice(n, v)
	default:
		d.scalar(n, v)
	}
}

// nothing reports an optional value that was not given although its key was.
func (d *decoder) nothing(n *yaml.Node, wanted reflect.Type) {
	if wanted.Kind() == reflect.Struct {
		d.fail(n, "give it a value, write {} if all of it may be left out, or remove the key", "expected a map, found nothing")
		return
	}
	d.fail(n, "give it a value, or remove the key", "expected a value, found nothing")
}

// relocate gives n the place of the alias that stands for it, so that a mistake is reported where the value is used.
func relocate(n, alias *yaml.Node) *yaml.Node {
	if n.Kind != yaml.ScalarNode {
		return n
	}
	moved := *n
	moved.Line, moved.Column = alias.Line, alias.Column
	return &moved
}

// fields calls fn for each key of a map, once for each key, and reports keys that are no text or given twice.
func (d *decoder) fields(n *yaml.Node, fn func(key, value *yaml.Node)) {
	if isNull(n) {
		return
	}
	if n.Kind != yaml.MappingNode {
		d.fail(n, `write "key: value" pairs`, "expected a map, found %s", describe(n))
		return
	}
	lines := make(map[string]int, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := d.resolve(n.Content[i])
		if key == nil {
			continue
		}
		switch first, twice := lines[key.Value]; {
		case key.ShortTag() == "!!merge":
			d.fail(key, "write the keys out", `merge keys ("<<") are not supported`)
		case key.Kind != yaml.ScalarNode:
			d.fail(key, "", "expected a key, found %s", describe(key))
		case twice:
			d.fail(key, "keep one of the two", "the key %q is given twice, first on line %d", key.Value, first)
		default:
			lines[key.Value] = key.Line
			fn(key, n.Content[i+1])
		}
	}
}

func (d *decoder) structure(n *yaml.Node, v reflect.Value) {
	if i := alone(v.Type()); i >= 0 && n.Kind == yaml.ScalarNode && !isNull(n) {
		d.decode(n, v.Field(i))
		return
	}
	known := keys(v.Type())
	d.fields(n, func(key, value *yaml.Node) {
		for i, name := range known {
			if name == key.Value && name != "" {
				d.decode(value, v.Field(i))
				return
			}
		}
		d.fail(key, unknownKeyHint(key.Value, written(known)), "unknown key %q", key.Value)
	})
}

func (d *decoder) mapping(n *yaml.Node, v reflect.Value) {
	m := reflect.MakeMap(v.Type())
	d.fields(n, func(key, value *yaml.Node) {
		e := reflect.New(v.Type().Elem()).Elem()
		d.decode(value, e)
		m.SetMapIndex(reflect.ValueOf(key.Value).Convert(v.Type().Key()), e)
	})
	if n.Kind == yaml.MappingNode {
		v.Set(m)
	}
}

func (d *decoder) slice(n *yaml.Node, v reflect.Value) {
	if isNull(n) {
		return
	}
	if n.Kind != yaml.SequenceNode {
		d.fail(n, `write "[a, b]", or one "- item" per line`, "expected a list, found %s", describe(n))
		return
	}
	list := reflect.MakeSlice(v.Type(), 0, min(len(n.Content), maxNodes))
	for _, item := range n.Content {
		e := reflect.New(v.Type().Elem()).Elem()
		d.decode(item, e)
		if d.over {
			return
		}
		list = reflect.Append(list, e)
	}
	v.Set(list)
}

func (d *decoder) scalar(n *yaml.Node, v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		d.text(n, func(s string) error {
			v.SetString(s)
			return nil
		})
	case reflect.Bool:
		if n.ShortTag() != "!!bool" || (n.Value != "true" && n.Value != "false") {
			d.fail(n, "", "expected true or false, found %s", describe(n))
			return
		}
		v.SetBool(n.Value == "true")
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		bits := v.Type().Bits()
		i, err := strconv.ParseInt(n.Value, 10, bits)
		if err != nil || n.ShortTag() != "!!int" {
			d.fail(n, quotesHint(n), "expected a whole number from %d to %d, found %s", int64(-1)<<(bits-1), int64(1)<<(bits-1)-1, describe(n))
			return
		}
		v.SetInt(i)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		bits := v.Type().Bits()
		u, err := strconv.ParseUint(n.Value, 10, bits)
		if err != nil || n.ShortTag() != "!!int" {
			d.fail(n, quotesHint(n), "expected a whole number from 0 to %d, found %s", ^uint64(0)>>(64-bits), describe(n))
			return
		}
		v.SetUint(u)
	default:
		panic(fmt.Sprintf("strictyaml: cannot decode into %s", v.Type()))
	}
}

// text hands the text of n to set. Numbers and dates are taken as they are written.
func (d *decoder) text(n *yaml.Node, set func(string) error) {
	if n.Kind != yaml.ScalarNode || isNull(n) {
		hint := "quote it if it is meant as text"
		if n.Kind == yaml.ScalarNode {
			hint = "give it a value, or remove the key"
		}
		d.fail(n, hint, "expected text, found %s", describe(n))
		return
	}
	if n.ShortTag() == "!!bool" {
		d.fail(n, "quote it if it is meant as text", "expected text, found %s", describe(n))
		return
	}
	if err := set(n.Value); err != nil {
		d.fail(n, "", "%s", err)
	}
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

// describe names what stands in the document, for people.
func describe(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.MappingNode:
		return "a map"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case isNull(n):
		return "nothing"
	case n.ShortTag() == "!!str":
		return fmt.Sprintf("the text %q", shorten(n.Value))
	}
	return shorten(n.Value)
}

func shorten(s string) string {
	if r := []rune(s); len(r) > 60 {
		return string(r[:60]) + "..."
	}
	return s
}

func quotesHint(n *yaml.Node) string {
	if n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) == 0 {
		return ""
	}
	if _, err := strconv.Atoi(n.Value); err != nil {
		return ""
	}
	return "remove the quotes"
}

// keys gives the YAML key of each field of a struct type; "" for fields that have none.
func keys(t reflect.Type) []string {
	names := make([]string, t.NumField())
	for i := range names {
		f := t.Field(i)
		if tag, _, _ := strings.Cut(f.Tag.Get("yaml"), ","); f.IsExported() && tag != "-" {
			names[i] = tag
		}
	}
	return names
}

// alone gives the field of a struct type that a plain value fills where no map is given; -1 when there is none.
func alone(t reflect.Type) int {
	for i := range t.NumField() {
		if _, option, _ := strings.Cut(t.Field(i).Tag.Get("yaml"), ","); option == "alone" {
			return i
		}
	}
	return -1
}

// written are the keys that exist.
func written(names []string) []string {
	var list []string
	for _, n := range names {
		if n != "" {
			list = append(list, n)
		}
	}
	return list
}
