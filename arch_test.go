package ruche_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/ruche-project/ruche"
)

const module = "github.com/ruche-project/ruche"

// floor is a layer of the house. A part imports only floors below its own, and never a neighbour
// on the same floor.
type floor int

const (
	ground     floor = iota // tools that every part may use
	leaf                    // each knows one thing outside: the Engine, the state, the settings
	subsystem               // each does one job
	wiring                  // joins the subsystems
	command                 // verbs of the command line
	standalone              // programs and tests that see Ruche from outside
)

// parts puts every directory with Go code on its floor. A part includes its sub-directories.
func parts() map[string]floor {
	return map[string]floor{
		"internal/cgi": ground, "internal/fsx": ground, "internal/h1": ground, "internal/health": ground, "internal/lines": ground, "internal/pebbletest": ground, "internal/strictyaml": ground, "internal/testpki": ground,
		"internal/cluster": leaf, "internal/config": leaf, "internal/docker": leaf, "internal/fastcgi": leaf, "internal/h2": leaf, "internal/handover": leaf, "internal/loop": leaf, "internal/match": leaf, "internal/mesh": leaf, "internal/report": leaf, "internal/uwsgi": leaf,
		"internal/discovery": subsystem, "internal/proxy": subsystem, "internal/certs": subsystem, "internal/ca": subsystem, "internal/dockerfront": subsystem, "internal/metrics": subsystem, "internal/api": subsystem, "internal/doctor": subsystem,
		"internal/daemon": wiring, "internal/stack": wiring,
		"cmd/ruche": command,
		"e2e":       standalone, "bench": standalone, "deploy": standalone,
	}
}

// fence says which packages alone may import a third-party module, and why.
type fence struct {
	module string
	owners []string // parts; none: any part but the root
	tests  bool     // tests of every part may import it too
	why    string
}

func fences() []fence {
	const test = "tests only: the product does not need it"
	return []fence{
		{"go.etcd.io", []string{"internal/cluster"}, false, "what holds the state must be replaceable in one place"},
		{"go.uber.org/zap", []string{"internal/cluster"}, true, "etcd brings it; everything else logs with log/slog, and tests silence with it who logs by it"},
		{"github.com/moby/moby", []string{"internal/docker"}, false, "the Engine's API changes; its changes end in one place"},
		{"github.com/containerd/errdefs", []string{"internal/docker"}, false, "errors of the Engine's client are told apart where it is used"},
		{"go.yaml.in/yaml", []string{"internal/strictyaml"}, false, "every YAML file is read under the same strict rules"},
		{"github.com/fsnotify/fsnotify", []string{"internal/fsx"}, false, "its gaps are filled in one place"},
		{"github.com/prometheus/client_golang", []string{"internal/metrics"}, false, "other parts count in plain numbers, so that metrics stay a view"},
		{"github.com/spf13", []string{"cmd/ruche"}, false, "settings and verbs must not depend on a command line"},
		{"github.com/quic-go/quic-go", []string{"internal/proxy"}, false, "how requests come in is known in one place"},
		{"github.com/pires/go-proxyproto", []string{"internal/proxy"}, false, "who a connection comes from is decided in one place"},
		{"github.com/mholt/acmez", []string{"internal/certs"}, true, "how certificates are ordered is known in one place"},
		{"github.com/letsencrypt/pebble", []string{"internal/pebbletest"}, false, "a CA for tests is set up in one place"},
		{"github.com/miekg/dns", []string{"internal/certs", "internal/pebbletest"}, true, "records are written and looked up in one place"},
		{"github.com/libdns", []string{"internal/certs"}, false, "providers are told apart in one place"},
		{"github.com/caddyserver/certmagic", []string{}, true, test},
		{"github.com/coder/websocket", []string{}, true, test},
		{"go.uber.org/goleak", []string{}, true, test},
		{"github.com/summerwind/h2spec", []string{}, true, test},
		{"github.com/zmap", []string{}, true, test},
		{"golang.org/x", nil, true, "the Go project's own"},
	}
}

// goFile is one file with what it imports.
type goFile struct {
	path    string // relative to the module's root
	dir     string
	test    bool
	doc     bool // it has a package comment
	imports []string
}

func goFiles(t *testing.T) []goFile {
	t.Helper()
	var files []goFile
	err := filepath.WalkDir(".", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name := d.Name(); d.IsDir() && p != "." && (strings.HasPrefix(name, ".") || name == "testdata" || name == "bin" || name == "artifacts") {
			return filepath.SkipDir
		}
		if d.IsDir() || filepath.Ext(p) != ".go" {
			return nil
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), p, nil, parser.ImportsOnly|parser.ParseComments)
		if err != nil {
			return err
		}
		f := goFile{path: filepath.ToSlash(p), dir: path.Dir(filepath.ToSlash(p)), test: strings.HasSuffix(p, "_test.go"), doc: hasDoc(parsed)}
		for _, i := range parsed.Imports {
			name, err := strconv.Unquote(i.Path.Value)
			if err != nil {
				return err
			}
			f.imports = append(f.imports, name)
		}
		files = append(files, f)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 10 {
		t.Fatalf("only %d Go files were found", len(files))
	}
	return files
}

func hasDoc(f *ast.File) bool { return f.Doc != nil && strings.TrimSpace(f.Doc.Text()) != "" }

// partOf gives the part that a directory belongs to, "" for the root and for strangers.
func partOf(dir string) string {
	for p := range parts() {
		if dir == p || strings.HasPrefix(dir, p+"/") {
			return p
		}
	}
	return ""
}

func TestImportRule(t *testing.T) {
	for _, f := range goFiles(t) {
		if f.dir != "." && partOf(f.dir) == "" {
			t.Errorf("%s belongs to no part: give its directory a floor in arch_test.go and a line in ARCHITECTURE.md", f.path)
			continue
		}
		for _, i := range f.imports {
			target, ours := strings.CutPrefix(i, module)
			if !ours {
				continue
			}
			if why := refuse(f, strings.TrimPrefix(target, "/")); why != "" {
				t.Errorf("%s imports %s: %s", f.path, i, why)
			}
		}
	}
}

// refuse says why f must not import the directory to, or "".
func refuse(f goFile, to string) string {
	from, target, floors := partOf(f.dir), partOf(to), parts()
	switch {
	case to == "" && f.dir != ".", from != "" && from == target:
		return ""
	case f.dir == ".":
		if f.test && to == "" {
			return ""
		}
		return "the root package holds nouns and stands on the standard library alone"
	case strings.HasSuffix(to, "/docker/fakeengine"):
		if f.test {
			return ""
		}
		return "the fake Engine is for tests"
	case target == "internal/pebbletest":
		if f.test {
			return ""
		}
		return "the CA for tests is for tests"
	case floors[from] == standalone:
		return "it sees Ruche from outside, as people do: through the binary, its API and its files"
	case floors[from] == floors[target] && floors[from] == subsystem:
		return "subsystems never import one another: exchange data through a bucket with a root noun, or declare a one-method interface that the daemon fills"
	case floors[from] == floors[target]:
		return "neighbours on one floor never import one another: move what both need to a floor below"
	case floors[from] < floors[target]:
		return "imports point downwards: cmd, daemon, subsystems, leaves, root"
	case floors[from] == command && floors[target] == subsystem && target != "internal/api":
		return "subsystems meet in the daemon only; of them a command uses internal/api, to ask a running one"
	}
	return ""
}

// TestTheImportRuleBites holds the rule against imports that somebody may be tempted to write.
func TestTheImportRuleBites(t *testing.T) {
	for _, tc := range []struct {
		dir, to string
		test    bool
		want    string // part of the reason, "" when the import is fine
	}{
		{dir: "internal/proxy", to: "internal/cluster"},
		{dir: "internal/proxy", to: "internal/proxy/table"},
		{dir: "internal/proxy/table", to: ""},
		{dir: "internal/cluster", to: "internal/fsx"},
		{dir: "internal/daemon", to: "internal/certs"},
		{dir: "cmd/ruche", to: "internal/daemon"},
		{dir: "cmd/ruche", to: "internal/api"},
		{dir: ".", to: "", test: true},
		{dir: "internal/discovery", to: "internal/docker/fakeengine", test: true},
		{dir: "internal/discovery", to: "internal/docker/fakeengine", want: "for tests"},
		{dir: "internal/certs", to: "internal/pebbletest", test: true},
		{dir: "internal/certs", to: "internal/pebbletest", want: "for tests"},
		{dir: "internal/discovery", to: "internal/proxy", want: "never import one another"},
		{dir: "internal/discovery", to: "internal/proxy/table", test: true, want: "never import one another"},
		{dir: "internal/cluster", to: "internal/config", want: "neighbours"},
		{dir: "internal/fsx", to: "internal/health", want: "neighbours"},
		{dir: "internal/docker", to: "internal/discovery", want: "downwards"},
		{dir: "internal/proxy", to: "internal/daemon", want: "downwards"},
		{dir: "cmd/ruche", to: "internal/proxy", want: "meet in the daemon"},
		{dir: "e2e/lab", to: "internal/docker", want: "from outside"},
		{dir: ".", to: "internal/health", want: "standard library alone"},
	} {
		got := refuse(goFile{dir: tc.dir, test: tc.test}, tc.to)
		if (got == "") != (tc.want == "") || !strings.Contains(got, tc.want) {
			t.Errorf("%s -> %s (test %v): %q, want %q", tc.dir, tc.to, tc.test, got, tc.want)
		}
	}
}

func TestThirdPartyFences(t *testing.T) {
	dependencies := readFile(t, "docs/dependencies.md")
	used := make(map[string]bool)
	for _, f := range goFiles(t) {
		for _, i := range f.imports {
			first, _, _ := strings.Cut(i, "/")
			if !strings.Contains(first, ".") || i == module || strings.HasPrefix(i, module+"/") {
				continue
			}
			if f.dir == "." {
				t.Errorf("%s imports %s: the root package stands on the standard library alone", f.path, i)
			}
			n := slices.IndexFunc(fences(), func(fe fence) bool { return i == fe.module || strings.HasPrefix(i, fe.module+"/") })
			if n < 0 {
				t.Errorf("%s imports %s: a new module needs an owner in arch_test.go and a reason in docs/dependencies.md", f.path, i)
				continue
			}
			fe := fences()[n]
			used[fe.module] = true
			if fe.owners != nil && !slices.Contains(fe.owners, partOf(f.dir)) && !(fe.tests && f.test) {
				t.Errorf("%s imports %s, which belongs to %v: %s", f.path, i, fe.owners, fe.why)
			}
		}
	}
	for m := range used {
		if m != "golang.org/x" && m != "go.uber.org/zap" && m != "github.com/containerd/errdefs" && !strings.Contains(dependencies, m) {
			t.Errorf("docs/dependencies.md does not name %s", m)
		}
	}
}

func TestEveryPackageSaysWhatItIs(t *testing.T) {
	documented, designed := make(map[string]bool), func(dir string) bool {
		for ; strings.HasPrefix(dir, "internal/"); dir = path.Dir(dir) {
			if _, err := os.Stat(filepath.Join(dir, "DESIGN.md")); err == nil {
				return true
			}
		}
		return false
	}
	for _, f := range goFiles(t) {
		if !f.test {
			documented[f.dir] = documented[f.dir] || f.doc
		}
	}
	for dir, ok := range documented {
		if !ok {
			t.Errorf("package %s has no package comment: say in a sentence what it is", dir)
		}
		if strings.HasPrefix(dir, "internal/") && !designed(dir) {
			t.Errorf("package %s has no DESIGN.md, nor has a directory above it", dir)
		}
	}
}

func TestArchitectureNamesWhatExists(t *testing.T) {
	text := readFile(t, "ARCHITECTURE.md")
	names := regexp.MustCompile("`([A-Za-z0-9_.*/-]+)`").FindAllStringSubmatch(text, -1)
	links := regexp.MustCompile(`\]\(([A-Za-z0-9_./-]+)\)`).FindAllStringSubmatch(text, -1)
	roots := regexp.MustCompile(`^(cmd|internal|docs|e2e|bench|deploy|scripts|\.ci)(/|$)|^[A-Za-z0-9_]+\.(go|md)$|^Makefile$`)
	checked := 0
	for _, m := range append(names, links...) {
		if !roots.MatchString(m[1]) || m[1] == "DESIGN.md" { // which stands for all of them
			continue
		}
		checked++
		if found, err := filepath.Glob(m[1]); err != nil || len(found) == 0 {
			t.Errorf("ARCHITECTURE.md names %s, which does not exist", m[1])
		}
	}
	if checked < 10 {
		t.Errorf("only %d paths were found in ARCHITECTURE.md", checked)
	}
	for p, on := range parts() {
		if on != standalone && !strings.Contains(text, p) {
			t.Errorf("ARCHITECTURE.md does not name %s", p)
		}
	}
}

// TestEveryCodeIsExplained holds the constants of the source against what docs/errors.md explains, both as they are written.
func TestEveryCodeIsExplained(t *testing.T) {
	explained := explainedCodes(t)
	declared := declaredCodes(t)
	for c := range declared {
		if strings.TrimSpace(explained[c]) == "" {
			t.Errorf(`docs/errors.md has no heading "### %s" with a text below it`, c)
		}
		if !slices.Contains(ruche.Codes(), c) {
			t.Errorf("Codes() has no %q", c)
		}
	}
	for c := range explained {
		if !declared[c] {
			t.Errorf("docs/errors.md explains %q, which is no code", c)
		}
	}
	if len(declared) != len(ruche.Codes()) {
		t.Errorf("Codes() has %d codes, %d are declared", len(ruche.Codes()), len(declared))
	}
}

// explainedCodes gives what docs/errors.md says below the heading of each code. A code has one heading.
func explainedCodes(t *testing.T) map[ruche.Code]string {
	explained := make(map[ruche.Code]string)
	var code ruche.Code
	for line := range strings.Lines(readFile(t, "docs/errors.md")) {
		if heading, ok := strings.CutPrefix(strings.TrimSpace(line), "### "); ok {
			if code = ruche.Code(heading); explained[code] != "" {
				t.Errorf("docs/errors.md explains %q twice", code)
			}
			continue
		}
		if strings.HasPrefix(line, "#") {
			code = ""
		}
		if code != "" {
			explained[code] += line
		}
	}
	return explained
}

// declaredCodes gives the values of the constants of the type Code in the root package.
func declaredCodes(t *testing.T) map[ruche.Code]bool {
	declared := make(map[ruche.Code]bool)
	for _, f := range goFiles(t) {
		if f.dir != "." || f.test {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), f.path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(parsed, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok {
				return true
			}
			if kind, ok := spec.Type.(*ast.Ident); !ok || kind.Name != "Code" {
				return false
			}
			for _, value := range spec.Values {
				text, err := strconv.Unquote(value.(*ast.BasicLit).Value)
				if err != nil {
					t.Fatal(err)
				}
				declared[ruche.Code(text)] = true
			}
			return false
		})
	}
	return declared
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
