package daemon

import (
	"context"
	"fmt"
	"time"

	"github.com/ruche-project/ruche"
)

// runStart tells when a node that nobody visits has looked once, or does all that it can do for now.
func (d *Daemon) runStart(ctx context.Context) error {
	look := time.NewTicker(time.Second)
	defer look.Stop()
	ready, found := false, d.found
	for {
		status := ""
		select {
		case <-ctx.Done():
			return nil
		case <-found:
			found, status = nil, "at work"
		case <-look.C:
			if !ready && d.standsAlone() {
				status = d.without()
			}
		}
		if status == "" {
			continue
		}
		d.notify(fmt.Sprintf("READY=1\nSTATUS=%s (version %s)", status, d.version))
		if !ready {
			ready = true
			close(d.inCharge)
		}
	}
}

// cutOff gives the warning that no control node can be asked, where that stands.
func (d *Daemon) cutOff() (ruche.Warning, bool) {
	for _, w := range d.health.List() {
		if w.Code == ruche.CodeControlUnreachable {
			return w, true
		}
	}
	return ruche.Warning{}, false
}

// standsAlone reports whether this node belongs to the installation and cannot ask any control node. An edge serves what it knows then. What an agent declared stands, and its front of the Docker API
// serves by what is on its disk: to take it for broken, and start it again and again, would end that and mend nothing.
func (d *Daemon) standsAlone() bool {
	_, cut := d.cutOff()
	return cut && d.client != nil && d.client.IsEnrolled()
}

// without says of a node that is ready what it does without.
func (d *Daemon) without() string {
	if w, cut := d.cutOff(); cut {
		return "no control node can be asked: what is known and declared stands, changes wait (" + w.Message + ")"
	}
	return ""
}

func (d *Daemon) notReady() []string {
	if d.stopping.Load() {
		return []string{"stopping"}
	}
	var missing []string
	select {
	case <-d.found:
	default:
		if d.standsAlone() {
			return nil
		}
		missing = append(missing, "discovery")
	}
	if d.proxy != nil {
		select {
		case <-d.proxy.Ready():
			return nil
		default:
			missing = append(missing, "proxy")
		}
	}
	return missing
}
