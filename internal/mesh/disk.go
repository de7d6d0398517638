package mesh

import (
	"bytes"
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

// replicaFile is what a node knows, on its disk: a line that says what follows, and the content.
const replicaFile = "replica.json"

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
	file := filepath.Join(r.client.cfg.Dir, replicaFile)
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
	for name := range r.hub.shelves {
		if rows, ok := content[name]; ok {
			r.hub.apply(name, ruche.Update[json.RawMessage]{Reset: true, Puts: rows})
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
	content := r.saveContent()
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

// saveContent writes the content, if it has changed and is whole.
func (r *replica) saveContent() error {
	select {
	case <-r.saved:
		r.saved = nil
	default:
	}
	if r.saved != nil {
		return nil
	}
	next := r.hub.wait()
	rest, ok := r.hub.encode()
	if !ok {
		return errNotWhole
	}
	sum := sha256.Sum256(rest)
	head, err := json.Marshal(replicaHead{Format: 1, SHA256: hex.EncodeToString(sum[:])})
	if err == nil {
		err = fsx.WriteFile(filepath.Join(r.client.cfg.Dir, replicaFile), append(append(head, '\n'), rest...), 0o600)
	}
	if err == nil {
		r.saved = next
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
