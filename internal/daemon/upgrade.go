package daemon

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/handover"
)

// succession is what a node knows of the process before it and the one after it.
type succession struct {
	dataDir, version string
	// notify tells the service manager.
	notify  func(state string)
	sockets *handover.Sockets
	// predecessor is the process that this one takes over from; nil when there is none.
	predecessor *handover.Predecessor
	inCharge    chan struct{} // closed when this process alone serves
	handedOver  chan struct{} // closed when another one does
	finish      context.CancelFunc
}

func newSuccession(dataDir, version string) succession {
	return succession{
		dataDir: dataDir, version: version, notify: notifier(os.Getenv("NOTIFY_SOCKET")), sockets: handover.NewSockets(),
		inCharge: make(chan struct{}), handedOver: make(chan struct{}),
	}
}

// takeOver asks the process that uses the data directory, if there is one, to hand over. From then on its store is this one's, but it goes on serving.
func (d *Daemon) takeOver(ctx context.Context) error {
	p, err := handover.Ask(ctx, d.dataDir, d.version)
	if errors.Is(err, handover.ErrNobody) {
		return nil
	}
	if err != nil {
		return err
	}
	d.logger.Info("taking over from " + p.String())
	d.predecessor, d.sockets = p, p.Sockets()
	return nil
}

// endSuccession gives back what is left. The other process, if it waits, learns that this one is none that it can hand over to, so it must come last.
func (d *Daemon) endSuccession() {
	d.sockets.Close()
	if d.predecessor != nil {
		d.predecessor.Close()
	}
}

// notifyStopping tells the service manager that the service ends, unless another process has it.
func (d *Daemon) notifyStopping() {
	select {
	case <-d.handedOver:
	default:
		d.notify("STOPPING=1")
	}
}

// runUpgrades takes charge when the proxy serves, and then waits for processes that want to take over.
func (d *Daemon) runUpgrades(ctx context.Context) error {
	if serving, err := d.takeCharge(ctx); !serving {
		return err
	}
	listener, err := d.sockets.Upgrades(d.dataDir)
	d.sockets.DropUnused()
	d.notify(fmt.Sprintf("READY=1\nMAINPID=%d\nSTATUS=serving (version %s)", os.Getpid(), d.version))
	close(d.inCharge)
	if err != nil {
		d.logger.Warn("this process cannot be upgraded without a pause", "error", err)
		<-ctx.Done()
		return nil
	}
	stop := context.AfterFunc(ctx, func() { _ = listener.Close() })
	defer stop()
	for {
		c, err := listener.AcceptUnix()
		switch {
		case ctx.Err() != nil:
			handover.Remove(d.dataDir)
			return nil
		case err != nil:
			d.logger.Warn("cannot hear from processes that want to take over", "error", err)
			if !pauseFor(ctx, time.Second) {
				handover.Remove(d.dataDir)
				return nil
			}
		case d.meet(ctx, c):
			<-ctx.Done()
			return nil
		}
	}
}

// takeCharge waits until the proxy serves, and has the predecessor let go. It reports false when this process is to end.
func (d *Daemon) takeCharge(ctx context.Context) (bool, error) {
	var aborted <-chan struct{}
	if d.predecessor != nil {
		aborted = d.predecessor.Aborted()
	}
	select {
	case <-ctx.Done():
		return false, nil
	case <-d.proxy.Ready():
	case <-aborted:
	}
	if d.predecessor == nil {
		return true, nil
	}
	err := d.predecessor.Ready(ctx)
	switch {
	case errors.Is(err, handover.ErrGone):
		d.logger.Warn(d.predecessor.String() + " has ended before it could hand over; this process serves alone")
	case ctx.Err() != nil:
		return false, nil
	case err != nil:
		return false, fmt.Errorf("cannot take over: %w", err)
	default:
		d.logger.Info("took over from " + d.predecessor.String())
	}
	d.predecessor.Close()
	return true, nil
}

// successorTime is how long another process may take from getting the store until it serves. Meanwhile nobody follows what changes.
const successorTime = time.Minute

// meet hands over to a process that asks for it, or takes everything back when it fails. It reports whether this one is to end.
func (d *Daemon) meet(ctx context.Context, c *net.UnixConn) bool {
	s, err := handover.Meet(c, d.version)
	if err != nil {
		d.logger.Error("no upgrade", "error", err)
		return false
	}
	defer s.Close()
	d.logger.Info("handing over to " + s.String())
	d.notify(reloading())
	resume := d.pauseDiscovery(ctx)
	if err = d.release(); err != nil {
		s.Refuse(err.Error() + "; stop this process, then start the other")
	} else if err = s.Give(d.sockets); err == nil {
		err = s.Await(ctx, successorTime)
	}
	switch {
	case err == nil:
		d.logger.Info("handed over to " + s.String() + ", ending what runs here")
		d.proxy.Succeeded()
		close(d.handedOver)
		d.finish()
		return true
	case ctx.Err() != nil:
		return true // whoever has the store keeps it
	}
	s.Close()
	d.takeBack(ctx, err)
	close(resume)
	return false
}

// release gives the state free, if this process has it. Two edges may follow the same control nodes.
func (d *Daemon) release() error {
	if d.cluster == nil {
		return nil
	}
	return d.cluster.Release()
}

func (d *Daemon) reopen(ctx context.Context) error {
	if d.cluster == nil {
		return nil
	}
	return d.cluster.Reopen(ctx)
}

// takeBack makes this process the one that uses the data directory again.
func (d *Daemon) takeBack(ctx context.Context, cause error) {
	d.logger.Error("the upgrade failed, this process goes on as before", "error", cause,
		"hint", "the log of the other process says what it failed at; correct that, then start it again")
	const code, subject = ruche.CodeClusterUnavailable, "upgrade"
	for {
		err := d.reopen(ctx)
		if err == nil {
			break
		}
		if d.health.Set(ruche.Warning{
			Code: code, Severity: ruche.SeverityError, Subject: subject,
			Message: fmt.Sprintf("the state cannot be taken back after an upgrade that failed: %v", err),
			Hint:    "end the process that uses the data directory; what is known is served meanwhile, but changes are not followed",
		}) {
			d.logger.Warn("cannot take the state back yet, trying on; what is known is served", "error", err)
		}
		if !pauseFor(ctx, takeBackPause) {
			return
		}
	}
	d.health.Clear(code, subject)
	d.notify("READY=1\nSTATUS=serving (version " + d.version + "); an upgrade failed, see the log")
	d.logger.Info("this process follows changes again")
}

// takeBackPause is the time between two tries.
const takeBackPause = 50 * time.Millisecond

// pauseFor waits, and reports false when ctx ended first.
func pauseFor(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// runAPI serves the admin address from when this process has something to tell, and until another one does.
func (d *Daemon) runAPI(ctx context.Context) error {
	if d.predecessor != nil {
		select {
		case <-d.proxy.Ready():
		case <-ctx.Done():
			return d.api.Close()
		}
	}
	run, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-d.handedOver:
			cancel()
		case <-run.Done():
		}
	}()
	err := d.api.Run(run)
	if err == nil {
		<-ctx.Done()
	}
	return err
}

// pause asks discovery to stop for a while.
type pause struct {
	paused chan struct{} // closed when it has
	resume chan struct{} // closed when it may go on
}

// pauseDiscovery returns when discovery writes nothing any more. It goes on when the channel is closed.
func (d *Daemon) pauseDiscovery(ctx context.Context) (resume chan struct{}) {
	p := pause{make(chan struct{}), make(chan struct{})}
	if d.finder == nil {
		return p.resume
	}
	select {
	case d.finder.pausing <- p:
		select {
		case <-p.paused:
		case <-ctx.Done():
		}
	case <-ctx.Done():
	}
	return p.resume
}
