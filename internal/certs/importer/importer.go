// Package importer reads certificates, keys and CA accounts that other products keep: Traefik's acme.json, the directories of nginx-proxy's
// acme-companion, of acme.sh, Caddy and certbot, and plain PEM files. Store keeps what was read. Files are only ever read.
package importer

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/ruche-project/ruche"
)

// Found is what was read.
type Found struct {
	Certificates []ruche.ImportedCertificate
	Problems     []ruche.ImportProblem
}

// Bounds of what is read: far more than any installation has.
const (
	maxFile  = 64 << 20 // acme.json holds everything
	maxPEM   = 1 << 20
	maxFiles = 100_000
	maxDepth = 6
)

// Read reads a file or a directory of the host, whatever product it is of. It gives an error only when there is no such file; everything else that is wrong
// is a problem. now is what certificates must not have ended at.
func Read(name string, now time.Time) (Found, error) {
	info, err := os.Stat(name)
	if err != nil {
		return Found{}, fmt.Errorf("cannot read certificates: %w", err)
	}
	r := &reader{fsys: os.DirFS(name), root: name, now: now}
	if info.IsDir() {
		r.tree()
		return r.found(), nil
	}
	r.fsys, r.root = os.DirFS(filepath.Dir(name)), filepath.Dir(name)
	r.single(filepath.Base(name))
	return r.found(), nil
}

// ReadFS reads a directory, which is called root in messages.
func ReadFS(fsys fs.FS, root string, now time.Time) Found {
	r := &reader{fsys: fsys, root: root, now: now}
	r.tree()
	return r.found()
}

// reader gathers what is found.
type reader struct {
	fsys fs.FS
	root string
	now  time.Time

	certificates []ruche.ImportedCertificate
	accounts     []ruche.ImportedAccount
	problems     []ruche.ImportProblem
	useless      map[string]bool // certificates of which that was said, by what they hold
	files        int
}

// tree finds out what product a directory is of, and reads it.
func (r *reader) tree() {
	if sub, err := fs.Sub(r.fsys, "caddy"); err == nil && !r.isDir("certificates") && r.isDir("caddy/certificates") { // the volume that Caddy's image has at /data
		r.fsys, r.root = sub, path.Join(r.root, "caddy")
	}
	switch {
	case r.isDir("certificates"):
		r.caddy()
	case r.isDir("live") && (r.isDir("renewal") || r.isDir("accounts") || r.isDir("archive")):
		r.certbot()
	case r.isAcmeSh("."):
		r.acmeSh(".")
	case len(r.acmeShHomes()) > 0:
		for _, home := range r.acmeShHomes() {
			r.acmeSh(home)
		}
	case r.isFile("acme.json"):
		r.single("acme.json")
	default:
		r.plain(".", 0)
	}
}

// single reads one file: Traefik's acme.json, or PEM whose key may be in another file beside it.
func (r *reader) single(name string) {
	data, ok := r.read(name, maxFile)
	if !ok {
		return
	}
	if bytes.HasPrefix(bytes.TrimSpace(data), []byte("{")) {
		r.traefik(name, data)
		return
	}
	all := r.scope(path.Dir(name))
	if !slices.ContainsFunc(all.certs, func(c held) bool { return c.place == name }) {
		if slices.Contains(all.broken, name) {
			return // that is said already
		}
		r.skip(name, "there is no certificate in it", "name the file with the certificate; its key is looked for in the same directory")
		return
	}
	r.assemble(all, func(h held) bool { return h.place == name })
}

// found gives what was read: of each certificate one, that of which most is known, and then the accounts.
func (r *reader) found() Found {
	list := Merge(r.certificates)
	for _, a := range r.accounts {
		list = append(list, ruche.ImportedCertificate{Directory: a.Directory, Source: a.Source, Account: &a})
	}
	return Found{Certificates: list, Problems: r.problems}
}

// Merge leaves one of those that are the same certificate: the one whose directory is known before one whose directory is guessed, and of those the one with the longest chain.
func Merge(list []ruche.ImportedCertificate) []ruche.ImportedCertificate {
	certain := func(c ruche.ImportedCertificate) int {
		switch {
		case c.Directory == "":
			return 0
		case c.Guessed:
			return 1
		}
		return 2
	}
	at := make(map[string]int, len(list))
	var merged []ruche.ImportedCertificate
	for _, c := range list {
		if len(c.Chain) == 0 {
			merged = append(merged, c)
			continue
		}
		i, there := at[string(c.Chain[0])]
		if !there {
			at[string(c.Chain[0])] = len(merged)
			merged = append(merged, c)
			continue
		}
		if was := merged[i]; cmp.Or(certain(c)-certain(was), len(c.Chain)-len(was.Chain)) > 0 {
			merged[i] = c
		}
	}
	return merged
}

// place names a file for people.
func (r *reader) place(name string) string { return path.Join(filepath.ToSlash(r.root), name) }

// skip notes what keeps the thing at a place from being imported; warn notes what does not.
func (r *reader) skip(name, message, hint string) {
	r.problems = append(r.problems, ruche.ImportProblem{Place: r.place(name), Message: message, Hint: hint, Skipped: true})
}

func (r *reader) warn(name, message, hint string) {
	r.problems = append(r.problems, ruche.ImportProblem{Place: r.place(name), Message: message, Hint: hint})
}

// read reads a file, or notes why that cannot be done.
func (r *reader) read(name string, most int64) ([]byte, bool) {
	if r.files++; r.files > maxFiles {
		if r.files == maxFiles+1 {
			r.skip(".", fmt.Sprintf("there are more than %d files", maxFiles), "name the directory that has the certificates")
		}
		return nil, false
	}
	file, err := r.fsys.Open(name)
	if err == nil {
		defer func() { _ = file.Close() }()
		var data []byte
		if data, err = io.ReadAll(io.LimitReader(file, most+1)); err == nil && int64(len(data)) <= most {
			return data, true
		}
		if err == nil {
			err = fmt.Errorf("it has more than %d bytes", most)
		}
	}
	if bad := new(fs.PathError); errors.As(err, &bad) {
		err = bad.Err // the place is named already
	}
	r.skip(name, fmt.Sprintf("cannot be read: %v", err), "run this as root, or as a user who may read it")
	return nil, false
}

func (r *reader) isDir(name string) bool {
	info, err := fs.Stat(r.fsys, name)
	return err == nil && info.IsDir()
}

func (r *reader) isFile(name string) bool {
	info, err := fs.Stat(r.fsys, name)
	return err == nil && info.Mode().IsRegular()
}

// list gives the names in a directory, ordered: directories, and files, links to files among them.
func (r *reader) list(dir string) (dirs, files []string) {
	entries, err := fs.ReadDir(r.fsys, dir)
	if err != nil {
		r.skip(dir, "the directory cannot be read", "run this as root, or as a user who may read it")
	}
	for _, e := range entries {
		switch name := path.Join(dir, e.Name()); {
		case strings.HasPrefix(e.Name(), "."):
		case e.IsDir():
			dirs = append(dirs, name)
		default:
			files = append(files, name)
		}
	}
	return dirs, files
}
