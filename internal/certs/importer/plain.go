package importer

import (
	"path"
	"strings"
)

// plain reads PEM files of a directory and of those below it: certificates and keys of one directory are looked at together, whatever they are called. So are
// those of nginx-proxy and its acme-companion read, where NAME.crt is a link to BASE/fullchain.pem, and a BASE that begins with _test_ is of a CA for tests.
func (r *reader) plain(dir string, depth int) {
	dirs, _ := r.list(dir)
	for _, d := range dirs {
		switch {
		case strings.HasPrefix(path.Base(d), "_test_"):
			r.skip(d, "acme-companion has these from a CA for tests, which no browser trusts", "nothing is to be done: a real certificate is ordered when its names are published")
		case depth == maxDepth:
			r.skip(d, "the directory is too deep", "name it by itself")
		default:
			r.plain(d, depth+1)
		}
	}
	r.assemble(r.scope(dir), func(held) bool { return true })
}
