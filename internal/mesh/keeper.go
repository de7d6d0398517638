package mesh

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/health"
)

// issuer is where a node's certificates come from: a control node, or the state in its own process. request is the certificate request of
// a fresh key.
type issuer interface {
	enrol(ctx context.Context, request []byte) (grant, error)
	renew(ctx context.Context, request []byte) (grant, error)
}

// keeper holds a node's identity and sees to it that there is a good one.
type keeper struct {
	dir    string
	name   string
	roles  []Role
	pin    string // what the root's key has to hash to; empty: any
	safe   Safe
	member *Member // nil on a node that is not control
	issuer issuer
	now    func() time.Time
	timing timing
	logger *slog.Logger
	health *health.Registry

	// urgent asks for a look at once: a control node does not know this one any more.
	urgent chan struct{}

	mu      sync.Mutex
	held    *identity
	refused bool          // a control node has said that the identity held is good no more
	changed chan struct{} // closed when held changes
}

// current is the identity now, which has no certificate before the node is enrolled, and what is closed when there is another.
func (k *keeper) current() (*identity, <-chan struct{}) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.held, k.changed
}

// load reads the identity from the disk. It comes before all else.
func (k *keeper) load() error {
	k.changed, k.urgent = make(chan struct{}), make(chan struct{}, 1)
	if err := errors.Join(os.MkdirAll(k.dir, 0o700), os.Chmod(k.dir, 0o700)); err != nil {
		return fmt.Errorf("cannot make the directory of this node's identity: %w", err)
	}
	id, err := loadIdentity(k.dir, k.safe)
	switch {
	case err == nil && id.cert != nil && k.fits(id):
		k.hold(id)
		save := id.savePeer
		if id.stale {
			save = id.save
		}
		if err := errors.Join(save(k.dir, k.safe), k.member.refresh()); err != nil { // which may be there: a full disk must not keep a node from starting
			k.logger.Warn(err.Error())
		}
		return nil
	case errors.Is(err, ErrSeal) && k.pin == "": // without a token it could not come back
		return err
	case err == nil && id.cert != nil:
		k.logger.Info("this node was enrolled otherwise, enrolling anew", slog.String("was", id.Name), slog.Any("roles", id.Roles))
		id = &identity{key: id.key} // by which it is known
	case err != nil:
		if !errors.Is(err, fs.ErrNotExist) {
			k.logger.Warn("this node's identity is lost, enrolling anew", slog.Any("error", err))
		}
		if id, err = newIdentity(); err != nil {
			return fmt.Errorf("cannot make this node's key: %w", err)
		}
	}
	// Before the key is shown to anybody: a node that loses it could not come back under its name at once.
	if err := id.save(k.dir, k.safe); err != nil {
		return err
	}
	k.hold(id)
	return nil
}

// fits reports whether an identity is of this node as it is now, and of the installation that its token is of.
func (k *keeper) fits(id *identity) bool {
	return id.Name == k.name && slices.Equal(id.Roles, k.roles) && (k.pin == "" || keyHash(id.root.PublicKey) == k.pin)
}

// enrolled waits until there is a certificate. It reports false when ctx ended.
func (k *keeper) enrolled(ctx context.Context) bool {
	for {
		id, changed := k.current()
		if id.cert != nil {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-changed:
		}
	}
}

func (k *keeper) hold(id *identity) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.held, k.refused = id, false
	close(k.changed)
	k.changed = make(chan struct{})
}

// notKnown tells that a control node does not take this identity any more.
func (k *keeper) notKnown(id *identity) {
	k.mu.Lock()
	k.refused = k.refused || k.held == id
	k.mu.Unlock()
	select {
	case k.urgent <- struct{}{}:
	default:
	}
}

// good reports whether there is an identity that others take, and when it is to be renewed.
func (k *keeper) good() (ok bool, renewAt time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	c := k.held.cert
	if c == nil || k.refused || !k.now().Before(c.NotAfter) {
		return false, time.Time{}
	}
	return true, c.NotBefore.Add(c.NotAfter.Sub(c.NotBefore) / 2)
}

// run gets and keeps a good identity until ctx ends. load must have gone before.
func (k *keeper) run(ctx context.Context) {
	jitter := time.Duration(rand.Int64N(int64(certificateLifetime / 10)))
	backoff := k.timing.minBackoff
	for ctx.Err() == nil {
		wait := k.timing.look
		ok, renewAt := k.good()
		if !ok || !k.now().Before(renewAt.Add(jitter)) {
			if err := k.obtain(ctx, ok); err != nil {
				k.failed(ctx, ok, err)
				wait, backoff = backoff, min(2*backoff, k.timing.maxBackoff)
			} else {
				k.health.Clear(ruche.CodeIdentityUnavailable, k.name)
				backoff = k.timing.minBackoff
				continue
			}
		}
		if !k.sleep(ctx, wait, ok) {
			return
		}
	}
}

// sleep waits, and less when a look is urgent; but somebody who is not known must not ask without a pause.
func (k *keeper) sleep(ctx context.Context, d time.Duration, wakeable bool) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	urgent := k.urgent
	if !wakeable {
		urgent = nil
	}
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
	case <-urgent:
	}
	return true
}

// obtain gets certificates: for a fresh key if the identity held is good, else for its own.
func (k *keeper) obtain(ctx context.Context, renew bool) error {
	id, _ := k.current()
	ask := k.issuer.enrol
	if renew {
		var err error
		if id, err = newIdentity(); err != nil {
			return err
		}
		ask = k.issuer.renew
	}
	request, err := id.request()
	if err != nil {
		return err
	}
	g, err := ask(ctx, request)
	if err != nil {
		var r *Refusal
		if renew && errors.As(err, &r) && (r.Reason == ReasonUnknownNode || r.Reason == ReasonSuperseded) {
			held, _ := k.current()
			k.notKnown(held)
		}
		return err
	}
	n, err := id.granted(g.Certificate, g.Root, g.Peer)
	if err == nil && !k.fits(n) {
		err = fmt.Errorf("it is of node %q as %v", n.Name, n.Roles)
	}
	if err != nil {
		return fmt.Errorf("cannot use the certificate that was granted: %w", err)
	}
	if err := errors.Join(n.save(k.dir, k.safe), k.member.refresh()); err != nil {
		return err // the control node takes the key of before until the new one is used
	}
	k.hold(n)
	k.logger.Info("this node has a certificate of the mesh", slog.String("node", n.Name), slog.Any("roles", n.Roles), slog.Time("until", n.expires))
	return nil
}

func (k *keeper) failed(ctx context.Context, renewing bool, err error) {
	if ctx.Err() != nil {
		return
	}
	w := ruche.Warning{Code: ruche.CodeIdentityUnavailable, Severity: ruche.SeverityError, Subject: k.name,
		Message: "cannot enrol this node: " + err.Error(), Hint: "what is known is served; it is tried again by itself"}
	if renewing {
		w.Severity, w.Message = ruche.SeverityWarning, "cannot renew this node's certificate: "+err.Error()
	}
	if k.health.Set(w) {
		k.logger.Warn(w.Message)
	}
}

// timing says how the mesh waits.
type timing struct {
	look       time.Duration // between two looks whether the certificate is to be renewed
	minBackoff time.Duration // between two tries of what failed
	maxBackoff time.Duration
	beat       time.Duration // a follower hears something at least this often
	silence    time.Duration // after this it leaves a control node from which it hears nothing
	report     time.Duration // between two reports
	save       time.Duration // between two writes of what is followed to the disk
	handshake  time.Duration // for TLS
	stranger   time.Duration // for all that a peer without certificate may want
	write      time.Duration // for a follower to take what it was sent
	again      time.Duration // a control node without quorum is not tried again before, if there are others
}

func defaultTiming() timing {
	return timing{
		look: time.Minute, minBackoff: 100 * time.Millisecond, maxBackoff: 2 * time.Second,
		beat: 2 * time.Second, silence: 6 * time.Second, report: 5 * time.Second, save: time.Second,
		handshake: 5 * time.Second, stranger: 30 * time.Second, write: 10 * time.Second, again: 10 * time.Second,
	}
}
