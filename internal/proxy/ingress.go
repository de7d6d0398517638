package proxy

import (
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/health"
)

// meshedFor is how long the warning stands after the last connection from a gateway.
const meshedFor = 10 * time.Minute

// ingress finds out whether clients come over the Swarm's routing mesh: then their addresses are lost, and each connection has that of one of its
// gateways. Its methods are safe for concurrent use; the zero value knows of no mesh.
type ingress struct {
	logger *slog.Logger
	health *health.Registry

	known  atomic.Pointer[ruche.Ingress] // nil while there is none
	last   atomic.Int64                  // when a gateway connected last, in nanoseconds of the Unix epoch
	warned atomic.Bool

	mu    sync.Mutex  // held while the warning is raised or taken back
	timer *time.Timer // to the next look whether the warning still holds; nil while it does not stand
}

// apply takes over what is known of the mesh. What was seen before says nothing of what it is now.
func (g *ingress) apply(u ruche.Update[ruche.Ingress]) {
	var next *ruche.Ingress
	for _, i := range u.Puts { // there is one key
		next = &i
	}
	if next == nil && !u.Reset && len(u.Deletes) == 0 {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if before := g.known.Swap(next); before == nil || next == nil || before.Mend != next.Mend || !slices.Equal(before.Subnets, next.Subnets) {
		g.takeBack()
	}
}

// met reports whether a peer is a gateway of the mesh, and notes that. It is asked about every connection, and so costs nothing where there is no mesh.
func (g *ingress) met(peer netip.Addr) bool {
	known := g.known.Load()
	if known == nil || !slices.ContainsFunc(known.Subnets, func(s netip.Prefix) bool { return s.Contains(peer) }) {
		return false
	}
	g.last.Store(time.Now().UnixNano())
	if !g.warned.Load() {
		g.warn(known, peer)
	}
	return true
}

func (g *ingress) warn(known *ruche.Ingress, peer netip.Addr) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.known.Load() != known || g.warned.Swap(true) {
		return
	}
	w := ruche.Warning{
		Code: ruche.CodeIngressMesh, Severity: ruche.SeverityWarning, Subject: "clients",
		Message: fmt.Sprintf("clients come from %s, a gateway of the Swarm's routing mesh, which hides their addresses: access rules, limits and logs by address see one client", peer),
		Hint:    "publish the ports of this edge on its node: " + known.Mend,
	}
	if known.Mend == "" {
		w.Hint = "publish each port of this edge on its node, such as: docker service update --publish-rm 80 --publish-add mode=host,target=80,published=80 SERVICE; " +
			"and give SERVICE the label ruche.role=edge, so that its ports are known"
	}
	g.health.Set(w)
	g.logger.Warn(w.Message, "code", w.Code, "hint", w.Hint)
	g.timer = time.AfterFunc(meshedFor, g.lookAgain)
}

// lookAgain takes the warning back when no gateway has connected for a while.
func (g *ingress) lookAgain() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.timer == nil {
		return // taken back meanwhile
	}
	if left := meshedFor - time.Since(time.Unix(0, g.last.Load())); left > 0 {
		g.timer.Reset(left)
		return
	}
	g.takeBack()
}

// takeBack ends the warning. The caller holds mu.
func (g *ingress) takeBack() {
	if g.timer == nil {
		return
	}
	g.timer.Stop()
	g.timer = nil
	g.health.Clear(ruche.CodeIngressMesh, "clients")
	g.warned.Store(false)
}
