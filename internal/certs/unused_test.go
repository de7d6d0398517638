package certs

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ruche-project/ruche"
)

func TestFilesWithoutUseAreNoted(t *testing.T) {
	dir := t.TempDir()
	c := newCerts(t, dir)
	note := func() (notes []ruche.Warning) {
		c.load()
		for _, w := range c.cfg.Health.List() {
			if w.Code == ruche.CodeFileUnused {
				notes = append(notes, w)
			}
		}
		return notes
	}
	writePair(t, dir, "a.example", inAYear())
	write(t, filepath.Join(dir, "b.example.chain.pem"), "of nothing")
	write(t, filepath.Join(dir, "dhparam.pem"), "of nothing")
	if got := note(); len(got) != 0 {
		t.Errorf("without such files there is %+v", got)
	}
	for _, name := range []string{"a.example.chain.pem", "A.example.dhparam.pem"} {
		write(t, filepath.Join(dir, name), "PEM")
	}
	got := note()
	if len(got) != 1 || got[0].Severity != ruche.SeverityInfo || got[0].Subject != dir || !strings.HasPrefix(got[0].Message, "there is no use for A.example.dhparam.pem, a.example.chain.pem, and nothing is lost") {
		t.Errorf("the note is %+v", got)
	}
	for _, name := range []string{"c.example", "d.example"} {
		writePair(t, dir, name, inAYear())
		write(t, filepath.Join(dir, name+".chain.pem"), "PEM")
	}
	if got := note(); len(got) != 1 || !strings.HasPrefix(got[0].Message, "there is no use for A.example.dhparam.pem, a.example.chain.pem, c.example.chain.pem and 1 more, and nothing") {
		t.Errorf("of more files the note is %+v", got)
	}
	for _, pattern := range []string{"*.chain.pem", "*.dhparam.pem"} {
		found, _ := filepath.Glob(filepath.Join(dir, pattern))
		for _, path := range found {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		}
	}
	if got := note(); len(got) != 0 {
		t.Errorf("when they are gone there is %+v", got)
	}
}
