package mesh

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/fsx"
)

// What a node knows, on its disk: a line that says what follows, and the content. Certificates are in a file of their own: they are many bytes and change seldom, the rest is
// few and changes often.
const (
	replicaFile      = "replica.json"
	certificatesFile = "certificates.json"
)

// fileOf is where a bucket is kept.
func fileOf(bucket string) string {
	if bucket == bucketCertificates {
		return certificatesFile
	}
	return replicaFile
}

// in gives what tells the buckets of a file.
func in(file string) func(bucket string) bool {
	return func(bucket string) bool { return fileOf(bucket) == file }
}

// written is what is known of a file that was written.
type written struct {
	version uint64    // of the content
	pause   time.Time // it is not written again before
}

// writeShare is what part of the time writing a file may take: the pause after it is so many times longer.
const writeShare = 20

// replicaHead is the first line.
type replicaHead struct {
	Format int    `json:"format"` // 1
	SHA256 string `json:"sha256"` // of the rest
}

// load reads what was known before. What is damaged is as good as missing: it comes again from a control node.
func (r *replica) load() {
	r.loadContact()
	if !r.loadContent() && len(r.client.cfg.Follow) > 0 {
		r.now.Heard = time.Time{} // nothing is known
	}
}

// loadContent reads the content, and reports whether it was there.
func (r *replica) loadContent() bool {
	known := r.loadFile(replicaFile)
	if r.hub.shelves[bucketCertificates] != nil {
		r.loadFile(certificatesFile) // which is not there before this release
	}
	return known
}

func (r *replica) loadFile(name string) bool {
	file := filepath.Join(r.client.cfg.Dir, name)
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return false
	}
	var content map[string]map[string]json.RawMessage
	if err == nil {
		_, content, err = parseReplica(data)
	}
	if err != nil {
		r.client.logger().Warn("cannot use what was known before, beginning with nothing", slog.String("file", file), slog.Any("error", err))
		r.unwritten("what was known before cannot be used: " + err.Error())
		return false
	}
	for bucket := range r.hub.shelves {
		if rows, ok := content[bucket]; ok && fileOf(bucket) == name {
			r.hub.apply(bucket, ruche.Update[json.RawMessage]{Reset: true, Puts: rows})
		}
	}
	return true
}

func parseReplica(data []byte) (head replicaHead, content map[string]map[string]json.RawMessage, err error) {
	first, rest, _ := bytes.Cut(data, []byte("\n"))
	if err := json.Unmarshal(first, &head); err != nil {
		return head, nil, err
	}
	sum := sha256.Sum256(rest)
	switch {
	case head.Format != 1:
		return head, nil, errors.New("its format is another")
	case head.SHA256 != hex.EncodeToString(sum[:]):
		return head, nil, errors.New("it is damaged")
	}
	err = json.Unmarshal(rest, &content)
	return head, content, err
}

// errNotWhole tells that not all of what is followed is known yet.
var errNotWhole = errors.New("not all is known yet")

// keep writes what is known to the disk, at most once in a while, until ctx ends, and then once more.
func (r *replica) keep(ctx context.Context) {
	t := time.NewTicker(r.client.timing.save)
	defer t.Stop()
	for {
		r.save(false)
		select {
		case <-t.C:
		case <-ctx.Done():
			r.save(true)
			return
		}
	}
}

// save writes what is not on the disk yet. last tells that this is the end.
func (r *replica) save(last bool) {
	c := contact{Heard: r.client.Following().Heard, Control: r.client.known()} // before the content, which is at least as new
	content := r.saveContent(last)
	if content != nil {
		c.Heard = r.contact.Heard
	}
	err := r.saveContact(c, last)
	switch {
	case content == nil && err == nil:
		r.client.cfg.Health.Clear(ruche.CodeReplicaUnwritten, r.client.cfg.Name)
	case content != nil && !errors.Is(content, errNotWhole):
		r.unwritten(content.Error())
	case err != nil:
		r.unwritten(err.Error())
	}
}

// saveContent writes the content, as far as it has changed and is whole.
func (r *replica) saveContent(last bool) error {
	err := r.saveFile(replicaFile, last)
	if r.hub.shelves[bucketCertificates] != nil {
		err = cmp.Or(err, r.saveFile(certificatesFile, last))
	}
	return err
}

func (r *replica) saveFile(name string, last bool) error {
	begin := time.Now()
	version := r.hub.version(in(name)) // before the content, which is at least as new
	if w, ok := r.saved[name]; ok && (w.version == version || !last && begin.Before(w.pause)) {
		return nil
	}
	rest, ok := r.hub.encode(in(name))
	if !ok {
		return errNotWhole
	}
	sum := sha256.Sum256(rest)
	head, err := json.Marshal(replicaHead{Format: 1, SHA256: hex.EncodeToString(sum[:])})
	if err == nil {
		err = fsx.WriteFile(filepath.Join(r.client.cfg.Dir, name), append(append(head, '\n'), rest...), 0o600)
	}
	if err == nil {
		r.saved[name] = written{version, time.Now().Add(writeShare * time.Since(begin))}
	}
	return err
}

func (r *replica) unwritten(why string) {
	w := ruche.Warning{
		Code: ruche.CodeReplicaUnwritten, Severity: ruche.SeverityWarning, Subject: r.client.cfg.Name, Message: why,
		Hint: "what is known is in force all the same; look for room on the disk of --data-dir",
	}
	if r.client.cfg.Health.Set(w) {
		r.client.logger().Warn(why)
	}
}
