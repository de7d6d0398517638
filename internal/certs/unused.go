package certs

import (
	"fmt"
	"io/fs"
	"strings"

	"github.com/ruche-project/ruche"
)

// noteUnused tells of files that nginx-proxy would use and that have no use here, in one note for all: acme-companion puts them beside every certificate.
func (c *Certs) noteUnused(entries []fs.DirEntry) {
	names := make(map[string]bool, len(entries))
	for _, e := range entries {
		names[strings.ToLower(e.Name())] = true
	}
	var unused []string
	for _, e := range entries {
		for _, ending := range []string{".chain.pem", ".dhparam.pem"} {
			if base, ok := strings.CutSuffix(strings.ToLower(e.Name()), ending); ok && names[base+".crt"] {
				unused = append(unused, e.Name())
			}
		}
	}
	if len(unused) == 0 {
		c.cfg.Health.Clear(ruche.CodeFileUnused, c.cfg.Dir)
		return
	}
	const shown = 3
	list := strings.Join(unused[:min(shown, len(unused))], ", ")
	if len(unused) > shown {
		list += fmt.Sprintf(" and %d more", len(unused)-shown)
	}
	if c.cfg.Health.Set(ruche.Warning{
		Code: ruche.CodeFileUnused, Severity: ruche.SeverityInfo, Subject: c.cfg.Dir,
		Message: "there is no use for " + list + ", and nothing is lost by that: nginx-proxy staples OCSP answers by NAME.chain.pem, which CAs have ended, and NAME.dhparam.pem is for key exchanges that are not offered here",
		Hint:    "nothing is to be done, the files may stay; as with nginx-proxy the whole chain has to be in NAME.crt",
	}) {
		c.cfg.Logger.Info("files of nginx-proxy that have no use here", "dir", c.cfg.Dir, "files", unused)
	}
}
