package discovery

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/fsx"
	"github.com/ruche-project/ruche/internal/health"
)

const (
	filePrefix = "file/"
	// maxFile bounds a route file, and what it declares, in bytes; the replicated state takes values of 1.5 MB.
	maxFile = 1 << 20
)

// files keeps the declarations of the route files in one directory.
type files struct {
	dir    string
	node   string
	store  *store
	logger *slog.Logger
	health *health.Registry
	looked chan struct{}
	// taken has the sum of what was last read of each file, by name: reading the same again would lead to the same.
	taken map[string][sha256.Size]byte
}

func newFiles(cfg Config, s *store) *files {
	return &files{
		dir: cfg.RoutesDir, node: cfg.Node, store: s, logger: cfg.Logger, health: cfg.Health, looked: make(chan struct{}),
		taken: make(map[string][sha256.Size]byte),
	}
}

// run reads the files now and after each change, until ctx ends.
func (f *files) run(ctx context.Context) {
	if f.dir == "" {
		f.store.dropKind(ruche.KindFile)
		close(f.looked)
		return
	}
	var once sync.Once
	fsx.WatchDir(ctx, f.dir, f.logger, func() {
		f.read()
		once.Do(func() { close(f.looked) })
	})
}

// read takes over what the directory holds now.
func (f *files) read() {
	known := f.store.ids(ruche.KindFile)
	entries, err := os.ReadDir(f.dir)
	if errors.Is(err, fs.ErrNotExist) && len(known) == 0 {
		f.health.Clear(ruche.CodeRoutesDirUnreadable, f.dir)
		f.logger.Info("there is no directory of route files; it is read when it appears", "dir", f.dir)
		return
	}
	if err != nil {
		f.unreadable(err, len(known))
		return
	}
	if f.health.Clear(ruche.CodeRoutesDirUnreadable, f.dir) {
		f.logger.Info("the directory of route files can be read again", "dir", f.dir)
	}
	present := map[string]bool{}
	for _, entry := range entries {
		if isRouteFile(f.dir, entry) {
			present[filePrefix+entry.Name()] = true
			f.readFile(entry.Name())
		}
	}
	// A file that was removed was removed on purpose: unlike a container's, its routes are not kept.
	for _, id := range known {
		if !present[id] {
			delete(f.taken, strings.TrimPrefix(id, filePrefix))
			f.store.set(id, row{})
			f.logger.Info("a route file is gone, and its routes with it", "file", strings.TrimPrefix(id, filePrefix))
		}
	}
}

// unreadable keeps what is known: a directory that cannot be read or has vanished says nothing about its files.
func (f *files) unreadable(err error, known int) {
	w := ruche.Warning{
		Code: ruche.CodeRoutesDirUnreadable, Severity: ruche.SeverityError, Subject: f.dir,
		Message: fmt.Sprintf("route files cannot be read: %v; %d known ones stay in force", err, known),
		Hint:    "check that the directory exists and may be read by the user Ruche runs as; to drop all routes, leave it empty",
	}
	if f.health.Set(w) {
		f.logger.Error("route files cannot be read", "error", err, "kept", known)
	}
}

// isRouteFile leaves out what editors and package managers put next to a file: hidden files, x.yaml~, #x.yaml#, x.yaml.bak.
func isRouteFile(dir string, entry fs.DirEntry) bool {
	name := entry.Name()
	if strings.HasPrefix(name, ".") || strings.HasPrefix(name, "#") {
		return false
	}
	if ext := filepath.Ext(name); ext != ".yaml" && ext != ".yml" {
		return false
	}
	info, err := os.Stat(filepath.Join(dir, name))
	// A link into nowhere is a mistake to be reported, not a file to be ignored.
	return err != nil || info.Mode().IsRegular()
}

func (f *files) readFile(name string) {
	id := filePrefix + name
	data, err := readBounded(filepath.Join(f.dir, name))
	sum := sha256.Sum256(data)
	if before, ok := f.taken[name]; ok && err == nil && before == sum {
		return
	}
	stands := f.store.get(id)
	last := declared{certificates: stands.specs()}
	if stands.declaration != nil {
		last.routes = stands.declaration.Routes
	}
	var found declared
	if err != nil {
		delete(f.taken, name)
		found = keepAll(name, last, []ruche.Diagnostic{{Source: name, Message: "the file cannot be read: " + err.Error()}})
	} else {
		f.taken[name] = sum
		found = parseRouteFile(name, data, last)
	}
	declaration := ruche.Declaration{
		// No creation time: of files that disagree the one wins whose name sorts first, however often it is edited.
		Workload: ruche.Workload{ID: id, Kind: ruche.KindFile, Name: name, Node: f.node},
		Routes:   found.routes, Diagnostics: found.diagnostics,
	}
	if !f.store.set(id, row{declaration: &declaration, certificates: wishes(&declaration, found.certificates)}) {
		return
	}
	problems := slices.DeleteFunc(slices.Clone(found.diagnostics), func(d ruche.Diagnostic) bool { return d.Severity == ruche.SeverityInfo })
	f.logger.Info("route file read", "file", name, "routes", len(found.routes), "certificates", len(found.certificates), "problems", len(problems))
	for _, d := range problems {
		f.logger.Warn(d.Message, "source", d.Source, "hint", d.Hint)
	}
}

func readBounded(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	data, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = fmt.Errorf("it has more than %d bytes", maxFile)
	}
	return data, err
}
