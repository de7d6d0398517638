package strictyaml

import (
	"reflect"
	"slices"

	"go.yaml.in/yaml/v4"
)

// Decode fills the struct or map that into points to from the one document in data. name is the file's name for error
// messages. Struct fields are filled by the name in their yaml tag; supported are structs, pointers to them, maps with text keys, slices,
// text, bool, whole numbers, and encoding.TextUnmarshaler. An empty document fills nothing. A field with the option alone in its tag
// (yaml:"url,alone") is the one that a plain value fills where it stands in place of the struct's map.
//
// What is wrong is reported as *Error, several mistakes at once where possible: see All. After an
// error, into may be filled in part. Types outside the list above panic.
func Decode(name string, data []byte, into any) error {
	root, err := parse(name, data)
	if err != nil || root == nil {
		return err
	}
	return decodeNode(name, new(int), root, into)
}

func decodeNode(name string, nodes *int, n *yaml.Node, into any) error {
	d := decoder{file: name, nodes: nodes}
	d.decode(n, reflect.ValueOf(into).Elem())
	return result(d.errs)
}

// Item is one item of a list or one value of a map, not decoded yet, so that a mistake in one does not spoil the others.
// The items of one document are not safe for concurrent use.
type Item struct {
	// Line is where the item begins, counted from 1.
	Line  int
	file  string
	nodes *int // shared by the items, so that their aliases are bounded together
	node  *yaml.Node
}

// Decode fills into from the item, under the rules of the function Decode.
func (i Item) Decode(into any) error { return decodeNode(i.file, i.nodes, i.node, into) }

// Lists gives the items of the lists that stand under keys, which must be the only keys of the
// document. A key that the document lacks is not in the map; its items are nil when nothing stands under it, and empty but not nil for the empty list "[]".
func Lists(name string, data []byte, keys ...string) (map[string][]Item, error) {
	root, err := parse(name, data)
	if err != nil || root == nil {
		return nil, err
	}
	d := decoder{file: name, nodes: new(int)}
	lists := map[string][]Item{}
	if root = d.resolve(root); root != nil {
		d.fields(root, func(k, list *yaml.Node) {
			if !slices.Contains(keys, k.Value) {
				d.fail(k, unknownKeyHint(k.Value, keys), "unknown key %q", k.Value)
				return
			}
			lists[k.Value] = d.items(list)
		})
	}
	if err := result(d.errs); err != nil {
		return nil, err
	}
	return lists, nil
}

func (d *decoder) items(list *yaml.Node) []Item {
	if list = d.resolve(list); list == nil || isNull(list) {
		return nil
	}
	if list.Kind != yaml.SequenceNode {
		d.fail(list, `begin each item with "- "`, "expected a list, found %s", describe(list))
		return nil
	}
	items := make([]Item, 0, len(list.Content))
	for _, n := range list.Content {
		items = append(items, d.item(n))
	}
	return items
}

// Pair is one key of a map, with the texts of its value.
type Pair struct {
	Key string
	// Line and Column say where the key stands.
	Line, Column int
	// Values holds the one text, number, true or false, as it was written, or each of a list of them.
	Values []string
	// Item is the value, not decoded yet, where it was asked for; then there are no Values.
	Item Item
}

// Pairs gives the keys of the document in their order. It is for maps whose keys and values the caller knows how to check; of
// unknown keys it knows nothing. The map is flat, but for the keys in items, whose values are given as they are.
func Pairs(name string, data []byte, items ...string) ([]Pair, error) {
	root, err := parse(name, data)
	if err != nil || root == nil {
		return nil, err
	}
	d := decoder{file: name, nodes: new(int)}
	var pairs []Pair
	if root = d.resolve(root); root != nil {
		d.fields(root, func(key, value *yaml.Node) {
			p := Pair{Key: key.Value, Line: key.Line, Column: key.Column}
			if slices.Contains(items, key.Value) {
				p.Item = d.item(value)
			} else {
				p.Values = d.values(value)
			}
			pairs = append(pairs, p)
		})
	}
	return pairs, result(d.errs)
}

// Pairs gives the keys of the map that the item is, in their order, each with its value as an item.
func (i Item) Pairs() ([]Pair, error) {
	d := decoder{file: i.file, nodes: i.nodes}
	var pairs []Pair
	if n := d.resolve(i.node); n != nil {
		d.fields(n, func(key, value *yaml.Node) {
			pairs = append(pairs, Pair{Key: key.Value, Line: key.Line, Column: key.Column, Item: d.item(value)})
		})
	}
	return pairs, result(d.errs)
}

func (d *decoder) item(n *yaml.Node) Item {
	return Item{Line: n.Line, file: d.file, nodes: d.nodes, node: n}
}

func (d *decoder) values(n *yaml.Node) []string {
	if n = d.resolve(n); n == nil {
		return nil
	}
	list := []*yaml.Node{n}
	if n.Kind == yaml.SequenceNode {
		list = n.Content
	}
	values := make([]string, 0, len(list))
	for _, item := range list {
		if item = d.resolve(item); item == nil {
			continue
		}
		if item.Kind != yaml.ScalarNode || isNull(item) {
			d.fail(item, "give it a value, or remove the key", "expected text, found %s", describe(item))
			continue
		}
		values = append(values, item.Value)
	}
	return values
}
