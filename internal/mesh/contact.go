package mesh

import (
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/ruche-project/ruche/internal/fsx"
)

// contactFile has what a node knows of control nodes, on its disk. It is beside the replica, which is large and may not change for weeks.
const contactFile = "contact.json"

// contact is the content of that file.
type contact struct {
	// Heard is of when what is known is.
	Heard time.Time `json:"heard,omitzero"`
	// Control is where control nodes are, as one of them told last: a node that was off for long finds those of today by it, whatever its settings say.
	Control []string `json:"control"`
}

// heardFor is how far the time on the disk may be behind while nothing else changes.
const heardFor = time.Minute

// loadContact reads what was known before.
func (r *replica) loadContact() {
	file := filepath.Join(r.client.cfg.Dir, contactFile)
	data, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(data, &r.contact)
	}
	if err != nil {
		r.contact = contact{}
		if !errors.Is(err, fs.ErrNotExist) {
			r.client.logger().Warn("cannot use what was known of control nodes", slog.String("file", file), slog.Any("error", err))
		}
		return
	}
	r.client.learn(r.contact.Control)
	r.now.Heard = r.contact.Heard
}

// saveContact writes what has changed, the time alone only once in a while, or at the end.
func (r *replica) saveContact(c contact, last bool) error {
	behind := c.Heard.Sub(r.contact.Heard)
	if slices.Equal(c.Control, r.contact.Control) && behind < heardFor && (behind == 0 || !last) {
		return nil
	}
	data, err := json.Marshal(c)
	if err == nil {
		err = fsx.WriteFile(filepath.Join(r.client.cfg.Dir, contactFile), data, 0o600)
	}
	if err == nil {
		r.contact = c
	}
	return err
}
