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
	Format  int       `json:"format"` // 1
	SHA256  string    `json:"sha256"` // of the rest
	Heard   time.Time `json:"heard"`
	Control []string  `json:"control"`
}

// load reads what was known before. What is damaged is as good as missing: it comes again from a control node.
func (r *replica) load() {
	file := filepath.Join(r.client.cfg.Dir, replicaFile)
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	var head replicaHead
	var content map[string]map[string]json.RawMessage
	if err == nil {
		head, content, err = parseReplica(data)
	}
	if err != nil {
		r.client.logger().Warn("cannot use what was known before, beginning with nothing", slog.String("file", file), slog.Any("error", err))
		r.unwritten("what was known before cannot be used: " + err.Error())
		return
	}
	for name := range r.hub.shelves {
		if rows, ok := content[name]; ok {
			r.hub.apply(name, ruche.Update[json.RawMessage]{Reset: true, Puts: rows})
		}
	}
	r.client.learn(head.Control)
	r.now.Heard = head.Heard
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

// keep writes what is known to the disk, at most once in a while, until ctx ends, and then once more.
func (r *replica) keep(ctx context.Context) {
	t := time.NewTicker(r.client.timing.save)
	defer t.Stop()
	var saved <-chan struct{} // the change that comes after what was written
	for {
		select {
		case <-saved:
			saved = nil
		default:
		}
		if saved == nil {
			next := r.hub.wait()
			if r.save() {
				saved = next
			}
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			r.save()
			return
		}
	}
}

// save writes what is known, if it is whole. It reports false when that is to be tried again.
func (r *replica) save() bool {
	rest, ok := r.hub.encode()
	if !ok {
		return false
	}
	sum := sha256.Sum256(rest)
	head, err := json.Marshal(replicaHead{Format: 1, SHA256: hex.EncodeToString(sum[:]), Heard: r.client.Following().Heard, Control: r.client.known()})
	if err != nil {
		return false
	}
	if err := fsx.WriteFile(filepath.Join(r.client.cfg.Dir, replicaFile), append(append(head, '\n'), rest...), 0o600); err != nil {
		r.unwritten(err.Error())
		return false
	}
	r.client.cfg.Health.Clear(ruche.CodeReplicaUnwritten, r.client.cfg.Name)
	return true
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
