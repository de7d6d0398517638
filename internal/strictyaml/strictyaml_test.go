package strictyaml_test

import (
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"github.com/ruche-project/ruche/internal/strictyaml"
)

type site struct {
	Host      string            `yaml:"host"`
	Port      uint16            `yaml:"port"`
	Weight    int8              `yaml:"weight"`
	Endpoints []string          `yaml:"endpoints"`
	Open      bool              `yaml:"open"`
	Address   netip.Addr        `yaml:"address"`
	Labels    map[string]string `yaml:"labels"`
	Next      *site             `yaml:"next"`
	Short     short             `yaml:"short"`
	Ignored   string
}

type short struct {
	URL    string `yaml:"url,alone"`
	Weight int    `yaml:"weight"`
	Most   *int   `yaml:"most"`
}

type file struct {
	Routes []site `yaml:"routes"`
}

func TestDecode(t *testing.T) {
	for name, tc := range map[string]struct {
		in   string
		want file
	}{
		"empty":         {"", file{}},
		"comments":      {"# nothing\n\n---\n", file{}},
		"empty list":    {"routes:\n", file{}},
		"numbers":       {"routes: [{host: 1.10, port: 65535, weight: -128}]", file{[]site{{Host: "1.10", Port: 65535, Weight: -128}}}},
		"byte order":    {"\xef\xbb\xbfroutes: [{host: a}]", file{[]site{{Host: "a"}}}},
		"quotes":        {`routes: [{host: "*.a", open: true}]`, file{[]site{{Host: "*.a", Open: true}}}},
		"windows lines": {"routes:\r\n- host: a\r\n", file{[]site{{Host: "a"}}}},
		"nested": {"routes:\n- next: {host: b, next: ~}\n  labels: {x: y, z: 1}\n  endpoints:\n  - http://a\n",
			file{[]site{{Next: &site{Host: "b"}, Labels: map[string]string{"x": "y", "z": "1"}, Endpoints: []string{"http://a"}}}}},
		"aliases":          {"routes: [&a {host: x}, *a]", file{[]site{{Host: "x"}, {Host: "x"}}}},
		"a map in full":    {"routes: [{short: {url: a, weight: 2}}]", file{[]site{{Short: short{URL: "a", Weight: 2}}}}},
		"a map in short":   {"routes: [{short: a}]", file{[]site{{Short: short{URL: "a"}}}}},
		"no map":           {"routes: [{short: }]", file{[]site{{}}}},
		"text unmarshaler": {"routes: [{address: 10.0.0.1}]", file{[]site{{Address: netip.MustParseAddr("10.0.0.1")}}}},
		"dates and versions": {"routes: [{host: 2020-01-01}, {host: off}, {host: ~^a}]",
			file{[]site{{Host: "2020-01-01"}, {Host: "off"}, {Host: "~^a"}}}},
	} {
		t.Run(name, func(t *testing.T) {
			var got file
			if err := strictyaml.Decode("f", []byte(tc.in), &got); err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, tc.want) {
				t.Errorf("got %+v, want %+v", got, tc.want)
			}
		})
	}
}

func TestDecodeRefuses(t *testing.T) {
	for name, tc := range map[string]struct{ in, want string }{
		"unknown key":      {"routes:\n  - hoost: a\n", `f.yaml:2:5: unknown key "hoost" (did you mean "host"?)`},
		"far from any key": {"zzzzzz: 1\n", `f.yaml:1:1: unknown key "zzzzzz" (known keys: routes)`},
		"field without tag": {"routes: [{Ignored: a}]",
			`f.yaml:1:11: unknown key "Ignored" (known keys: host, port, weight, endpoints, open, address, labels, next, short)`},
		"key twice":               {"routes:\n- host: a\n  host: b\n", `f.yaml:3:3: the key "host" is given twice, first on line 2 (keep one of the two)`},
		"map for list":            {"routes: {a: b}", `f.yaml:1:9: expected a list, found a map (write "[a, b]", or one "- item" per line)`},
		"text for list":           {"routes: [{endpoints: http://a}]", `f.yaml:1:22: expected a list, found the text "http://a" (write "[a, b]", or one "- item" per line)`},
		"list for map":            {"- a\n", `f.yaml:1:1: expected a map, found a list (write "key: value" pairs)`},
		"list for text":           {"routes: [{host: [::1]}]", `f.yaml:1:17: expected text, found a list (quote it if it is meant as text)`},
		"bool for text":           {"routes: [{host: true}]", `f.yaml:1:17: expected text, found true (quote it if it is meant as text)`},
		"nothing for text":        {"routes:\n- host:\n  port: 1\n", `f.yaml:2:8: expected text, found nothing (give it a value, or remove the key)`},
		"nothing for a map":       {"routes:\n- next:\n  port: 1\n", `f.yaml:2:8: expected a map, found nothing (give it a value, write {} if all of it may be left out, or remove the key)`},
		"nothing for a number":    {"routes:\n- short:\n    most:\n", `f.yaml:3:10: expected a value, found nothing (give it a value, or remove the key)`},
		"bool for a map in short": {"routes: [{short: true}]", `f.yaml:1:18: expected text, found true (quote it if it is meant as text)`},
		"too large":               {"routes: [{port: 65536}]", `f.yaml:1:17: expected a whole number from 0 to 65535, found 65536`},
		"negative":                {"routes: [{port: -1}]", `f.yaml:1:17: expected a whole number from 0 to 65535, found -1`},
		"too small":               {"routes: [{weight: -129}]", `f.yaml:1:19: expected a whole number from -128 to 127, found -129`},
		"hexadecimal":             {"routes: [{port: 0x50}]", `f.yaml:1:17: expected a whole number from 0 to 65535, found 0x50`},
		"quoted number":           {`routes: [{port: "80"}]`, `f.yaml:1:17: expected a whole number from 0 to 65535, found the text "80" (remove the quotes)`},
		"yes":                     {"routes: [{open: yes}]", `f.yaml:1:17: expected true or false, found the text "yes"`},
		"own type":                {"routes: [{address: 10.0.0.256}]", `f.yaml:1:20: ParseAddr("10.0.0.256"): IPv4 field has value >255`},
		"second document":         {"routes: []\n---\nroutes: []\n", `f.yaml:2:1: a second document begins here (one file holds one document: remove the "---" between them, or use two files)`},
		"unquoted wildcard":       {"routes:\n- host: *.a.example\n", `f.yaml:2:9: unknown anchor '.a.example' referenced (quote a value that begins with "*" or "&")`},
		"alias to itself":         {"routes: [&a {next: *a}]", `f.yaml:1:20: the alias *a contains itself (an alias cannot stand for a value that it is a part of)`},
		"tab":                     {"routes:\n\t- host: a\n", `f.yaml:2:1: found character that cannot start any token (indent with spaces, not tabs, and quote a value that begins with one of @ % or a backquote)`},
		"colon in value":          {"routes: a: b\n", `f.yaml:1:10: mapping values are not allowed in this context (quote a value that contains ": ", and indent keys of one map alike)`},
		"bracket not closed":      {"routes: [a\n", `f.yaml:2:1: did not find expected ',' or ']' (while parsing a flow sequence that began on line 1)`},
		"tag":                     {"routes: [{host: !!binary aGk=}]", `f.yaml:1:17: the tag !!binary is not supported (remove the tag)`},
		"merge key":               {"routes: [&a {host: x}, {<<: *a}]", `f.yaml:1:25: merge keys ("<<") are not supported (write the keys out)`},
		"list as key":             {"? [a]\n: b\n", `f.yaml:1:3: expected a key, found a list`},
		"latin-1":                 {"routes:\n- host: caf\xe9\n", `f.yaml:2:12: the file is not UTF-8 text (save it in UTF-8)`},
		"control character":       {"routes: \x01", `f.yaml:1:9: control character U+0001 (remove it)`},
		"several": {"routes:\n- hosts: a\n  port: x\n",
			"f.yaml:2:3: unknown key \"hosts\" (did you mean \"host\"?)\n" +
				`f.yaml:3:9: expected a whole number from 0 to 65535, found the text "x"`},
	} {
		t.Run(name, func(t *testing.T) {
			err := strictyaml.Decode("f.yaml", []byte(tc.in), new(file))
			if err == nil || err.Error() != tc.want {
				t.Fatalf("got  %v\nwant %s", err, tc.want)
			}
			var first *strictyaml.Error
			if !errors.As(err, &first) || first.File != "f.yaml" || first.Line == 0 {
				t.Errorf("errors.As found %+v", first)
			}
			if n := len(strictyaml.All(err)); n != strings.Count(tc.want, "\n")+1 {
				t.Errorf("All found %d errors", n)
			}
		})
	}
}

func TestDecodeBoundsErrors(t *testing.T) {
	err := strictyaml.Decode("f", []byte("routes: ["+strings.Repeat("{x: 1},", 1000)+"]"), new(file))
	if n := len(strictyaml.All(err)); n != 20 {
		t.Errorf("1000 mistakes gave %d errors, want 20", n)
	}
	if strictyaml.All(errors.New("other")) != nil {
		t.Error("All of a foreign error is not nil")
	}
}

// laughs is a document of ten levels with ten aliases each.
func laughs() []byte {
	var b strings.Builder
	b.WriteString("routes:\n- &a0 {host: x}\n")
	for i := range 10 {
		fmt.Fprintf(&b, "- &a%d {labels: {}, next: *a%d}\n", i+1, i)
	}
	b.WriteString("lists:\n- &l0 [[], [], [], [], [], [], [], [], [], []]\n")
	for i := range 10 {
		fmt.Fprintf(&b, "- &l%d [%s]\n", i+1, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*l%d, ", i), 10), ", "))
	}
	return []byte(b.String())
}

func TestDecodeBoundsAliases(t *testing.T) {
	var into struct {
		Routes []site   `yaml:"routes"`
		Lists  []deeper `yaml:"lists"`
	}
	err := strictyaml.Decode("f", laughs(), &into)
	if err == nil || !strings.Contains(err.Error(), "expands to more than 100000 values (use fewer aliases)") {
		t.Errorf("error is %.300v", err)
	}

	items, err := itemsOf([]byte("routes:\n- &a [" + strings.Repeat("x,", 1000) + "]\n" + strings.Repeat("- *a\n", 1000)))
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range items {
		if err = i.Decode(new([]string)); err != nil {
			break
		}
	}
	if err == nil {
		t.Error("items expand without bound together")
	}
}

// deeper is a list of lists of any depth.
type deeper []deeper

// itemsOf gives the items of the one list that a document may have.
func itemsOf(data []byte) ([]strictyaml.Item, error) {
	lists, err := strictyaml.Lists("f", data, "routes")
	return lists["routes"], err
}

func TestLists(t *testing.T) {
	lists, err := strictyaml.Lists("f", []byte("b: [1, 2]\na:\n"), "a", "b", "c")
	if a, found := lists["a"]; err != nil || !found || a != nil || len(lists["b"]) != 2 || len(lists) != 2 {
		t.Errorf("lists %+v, %v", lists, err)
	}
	const want = `f:1:1: unknown key "d" (known keys: aa, bbbb)`
	if _, err := strictyaml.Lists("f", []byte("d: []\n"), "aa", "bbbb"); err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestItems(t *testing.T) {
	data := []byte("# sites\nroutes:\n  - host: a\n    port: 1\n\n  - host: b\n    prot: 1\n  - {host: c}\n")
	items, err := itemsOf(data)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, i := range items {
		var s site
		err := i.Decode(&s)
		got = append(got, fmt.Sprint(i.Line, " ", s.Host, " ", err))
	}
	want := []string{"3 a <nil>", `6 b f:7:5: unknown key "prot" (did you mean "port"?)`, "8 c <nil>"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestItemsRefuses(t *testing.T) {
	for name, tc := range map[string]struct{ in, want string }{
		"other key": {"route: []\n", `f:1:1: unknown key "route" (did you mean "routes"?)`},
		"no list":   {"routes: a\n", `f:1:9: expected a list, found the text "a" (begin each item with "- ")`},
		"no map":    {"- a\n", `f:1:1: expected a map, found a list (write "key: value" pairs)`},
		"syntax":    {"routes: [", "f:2:1: did not find expected node content"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := itemsOf([]byte(tc.in)); err == nil || err.Error() != tc.want {
				t.Errorf("got  %v\nwant %s", err, tc.want)
			}
		})
	}
	for in, absent := range map[string]bool{"": true, "#\n": true, "{}\n": true, "routes:\n": true, "routes: []\n": false, "routes: []": false} {
		if items, err := itemsOf([]byte(in)); err != nil || len(items) != 0 || (items == nil) != absent {
			t.Errorf("Items(%q) = %#v, %v", in, items, err)
		}
	}
}

func TestPairs(t *testing.T) {
	got, err := strictyaml.Pairs("f", []byte("# c\nhttp-addr: :80\nno-docker: true\nsize: 10\n\nproxies: [10.0.0.0/8, ::1]\n"))
	want := []strictyaml.Pair{
		{Key: "http-addr", Line: 2, Column: 1, Values: []string{":80"}},
		{Key: "no-docker", Line: 3, Column: 1, Values: []string{"true"}},
		{Key: "size", Line: 4, Column: 1, Values: []string{"10"}},
		{Key: "proxies", Line: 6, Column: 1, Values: []string{"10.0.0.0/8", "::1"}},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v", got, err)
	}
	_, err = strictyaml.Pairs("f", []byte("a: {b: c}\nd:\na: 1\n"))
	const wantErr = "f:1:4: expected text, found a map (give it a value, or remove the key)\n" +
		"f:2:3: expected text, found nothing (give it a value, or remove the key)\n" +
		`f:3:1: the key "a" is given twice, first on line 1 (keep one of the two)`
	if err == nil || err.Error() != wantErr {
		t.Errorf("got\n%v\nwant\n%s", err, wantErr)
	}
}

func TestPairsWithItems(t *testing.T) {
	const text = "a: 1\nsites:\n  x: {host: b}\n  y: {hosts: c}\n"
	pairs, err := strictyaml.Pairs("f", []byte(text), "sites", "other")
	if err != nil || len(pairs) != 2 || pairs[0].Values[0] != "1" || pairs[1].Key != "sites" || pairs[1].Line != 2 {
		t.Fatalf("pairs %+v, %v", pairs, err)
	}
	sites, err := pairs[1].Item.Pairs()
	if err != nil || len(sites) != 2 || sites[0].Key != "x" || sites[1].Line != 4 {
		t.Fatalf("sites %+v, %v", sites, err)
	}
	var s site
	if err := sites[0].Item.Decode(&s); err != nil || s.Host != "b" {
		t.Errorf("x is %+v, %v", s, err)
	}
	const want = `f:4:7: unknown key "hosts" (did you mean "host"?)`
	if err := sites[1].Item.Decode(&s); err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	pairs, err = strictyaml.Pairs("f", []byte("sites: [a]\n"), "sites")
	if err != nil || len(pairs) != 1 {
		t.Fatalf("pairs %+v, %v", pairs, err)
	}
	const noMap = `f:1:8: expected a map, found a list (write "key: value" pairs)`
	if _, err := pairs[0].Item.Pairs(); err == nil || err.Error() != noMap {
		t.Errorf("got %v, want %s", err, noMap)
	}
}

func TestDidYouMean(t *testing.T) {
	known := []string{"http-addr", "https-addr", "data-dir", "RUCHE_LOG_LEVEL"}
	for word, want := range map[string]string{
		"http-adr":                 `did you mean "http-addr"?`,
		"https_addr":               `did you mean "https-addr"?`,
		"DATA-DIR":                 `did you mean "data-dir"?`,
		"dta-dir":                  `did you mean "data-dir"?`,
		"daat-dir":                 `did you mean "data-dir"?`,
		"RUCHE_LOGLEVEL":           `did you mean "RUCHE_LOG_LEVEL"?`,
		"x":                        "",
		"":                         "",
		"something-else-entirely":  "",
		strings.Repeat("http", 50): "",
	} {
		if got := strictyaml.DidYouMean(word, known); got != want {
			t.Errorf("DidYouMean(%q) = %q, want %q", word, got, want)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, s := range []string{"", "routes: [{host: a, port: 80}]", "routes:\n- host: *.a\n", "a: &a [*a]", "? [a]\n: b", "--- \n---\n", "\xef\xbb\xbf", "%YAML 1.2\n---\na: 1", "routes: [{<<: {}}]", "routes: !!set {}"} {
		f.Add([]byte(s))
	}
	f.Add(laughs())
	f.Fuzz(func(t *testing.T, data []byte) {
		var into file
		check := func(err error) {
			for _, e := range strictyaml.All(err) {
				if e.File != "f" || e.Message == "" || e.Line < 0 || e.Line > len(data)+2 {
					t.Errorf("error without a place in the file: %+v", e)
				}
			}
			if err != nil && strictyaml.All(err) == nil {
				t.Errorf("error of another type: %v", err)
			}
		}
		check(strictyaml.Decode("f", data, &into))
		items, err := itemsOf(data)
		check(err)
		for _, i := range items {
			var s site
			check(i.Decode(&s))
		}
		pairs, err := strictyaml.Pairs("f", data, "routes", "a")
		check(err)
		for _, p := range pairs {
			if err == nil && p.Values == nil {
				_, err = p.Item.Pairs()
				check(err)
			}
		}
	})
}

func BenchmarkDecode1000Routes(b *testing.B) {
	data := []byte("routes:\n" + strings.Repeat("- host: a.example\n  port: 80\n  endpoints: [http://127.0.0.1:9100]\n", 1000))
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		if err := strictyaml.Decode("f", data, new(file)); err != nil {
			b.Fatal(err)
		}
	}
}
