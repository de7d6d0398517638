package proxy

import (
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/ruche-project/ruche/internal/h1"
	"github.com/ruche-project/ruche/internal/loop"
)

// bodySender has the request's content sent to the endpoint. What did not arrive together with the head is sent by a task of its own, so
// that an endpoint may answer before it has everything.
type bodySender struct {
	x     *exchange
	taken bool   // what has arrived was looked at
	first []byte // what has arrived
	whole bool   // that is everything
	// touched is set when content was asked of the client that an endpoint may have got: no other one can have the request then.
	touched bool
	invited bool  // the client need not wait with its content
	held    int64 // how much of it was gathered
	running bool
	task    task

	mu       sync.Mutex
	err      error     // the client's fault
	endedAt  time.Time // when the endpoint had everything
	gaveUpAt time.Time // when it took no more
	unwanted bool      // the endpoint has answered before that
}

func (b *bodySender) reset(x *exchange) {
	b.letGo()
	b.x, b.taken, b.first, b.whole, b.touched, b.invited, b.running = x, false, nil, false, false, false, false
	b.err, b.endedAt, b.gaveUpAt, b.unwanted = nil, time.Time{}, time.Time{}, false
}

// arrive takes what is here already, once. It may be sent again, to another endpoint. It reports false when that is too much.
func (b *bodySender) arrive() bool {
	if !b.taken {
		b.taken = true
		b.first, b.whole = b.x.client.arrived()
		b.x.received.Store(int64(len(b.first)))
	}
	limit := b.x.proxy.cfg.MaxBodyBytes
	return limit == 0 || int64(len(b.first)) <= limit
}

// maxGathered is how much content whose length the client does not tell is taken for endpoints that have to know it.
const maxGathered = 1 << 20

// maxGatheredByAll bounds that for all requests together.
const maxGatheredByAll = 128 << 20

// gather takes all of the content, if its length is not known, so that it is. It is the client's fault if that fails.
func (b *bodySender) gather() error {
	if b.whole || b.x.req.Framing != h1.Chunked {
		return nil
	}
	b.invite()
	all := append([]byte(nil), b.first...)
	limit := b.x.proxy.cfg.MaxBodyBytes
	for {
		data, err := b.x.client.next()
		if ended(err) {
			b.first, b.whole = all, true
			return nil
		}
		if err != nil {
			return blameClient(err)
		}
		switch total := b.x.received.Add(int64(len(data))); {
		case limit > 0 && total > limit:
			return errBodyTooLarge
		case total > maxGathered, !b.hold(int64(len(data))):
			return errLengthRequired
		}
		all = append(all, data...)
	}
}

// hold reports whether so much more may be gathered. letGo forgets it.
func (b *bodySender) hold(n int64) bool {
	b.held += n
	return b.x.proxy.gathered.Add(n) <= maxGatheredByAll
}

func (b *bodySender) letGo() {
	if b.held > 0 {
		b.x.proxy.gathered.Add(-b.held)
		b.held, b.first = 0, nil
	}
}

// invite has a client that asks before it sends its content do so, for endpoints whose protocol has no way to answer that.
func (b *bodySender) invite() {
	if b.x.req.Expect100 && !b.whole && !b.invited {
		b.invited = true
		_ = b.x.client.inform(http.StatusContinue, nil) // whoever reads the content learns that the client is gone
	}
}

// sendBy sends the rest by a task.
func (b *bodySender) sendBy(l link) {
	b.touched, b.running = true, true
	b.x.ground.spawn(&b.task, func() {
		ended := false
		defer func() {
			if !ended { // by a panic, of which nobody else would know
				l.abort()
			}
		}()
		b.send(l)
		ended = true
	})
}

func (b *bodySender) send(l link) {
	for {
		taken, err := b.pass(l)
		switch {
		case ended(err):
			if b.claimEnd() {
				_ = l.finish(b.x.client.trailer())
			}
			return
		case err != nil:
			b.fail(blameClient(err))
			l.abort()
			return
		case !taken:
			b.giveUp() // whoever reads the answer learns why
			return
		}
	}
}

// pass passes a piece on, and reports whether the endpoint took it. The error is the client's.
func (b *bodySender) pass(l link) (taken bool, err error) {
	if to, from := b.x.plainEnds(l); from != nil && from.spliceable() {
		if taken, err = from.spliceTo(to, b); !errors.Is(err, loop.ErrNoPipe) {
			return taken, err
		}
	}
	data, err := b.x.client.next()
	if err == nil {
		err = b.count(len(data))
	}
	return err == nil && l.send(data) == nil, err
}

// count notes that so much has come, and fails when it is more than may.
func (b *bodySender) count(n int) error {
	limit := b.x.proxy.cfg.MaxBodyBytes
	if total := b.x.received.Add(int64(n)); limit > 0 && total > limit {
		return errBodyTooLarge
	}
	return nil
}

// giveUp notes that the endpoint takes nothing more: all that it can do is answer.
func (b *bodySender) giveUp() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.gaveUpAt = time.Now()
}

// errUnread is returned by a client whose content nobody wants any more.
var errUnread = errors.New("the content is not read any more")

// blameClient says what the client did wrong.
func blameClient(err error) error {
	var refused h1.Error
	switch {
	case errors.Is(err, errBodyTooLarge):
		return err
	case errors.Is(err, os.ErrDeadlineExceeded):
		return errBodyTooSlow
	case errors.As(err, &refused):
		return &malformed{refused}
	case errors.Is(err, errUnread):
		return nil
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed):
		return errClientGone
	}
	return errClientGone
}

// malformed is errBodyMalformed with the reason.
type malformed struct{ cause h1.Error }

func (m *malformed) Error() string        { return errBodyMalformed.Error() + ": " + m.cause.Error() }
func (m *malformed) Is(target error) bool { return target == errBodyMalformed }

func (b *bodySender) fail(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.err = err
}

// failure is what the client did wrong, if it did.
func (b *bodySender) failure() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.err
}

// busy reports whether the endpoint did not have all of the request for the time d yet.
func (b *bodySender) busy(d time.Duration) bool {
	if !b.running {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	over := b.endedAt
	if over.IsZero() {
		over = b.gaveUpAt
	}
	return b.err == nil && (over.IsZero() || time.Since(over) < d)
}

// claimEnd reports whether the endpoint has got all of the content. It has not when somebody read on for the sake of the client's connection alone: then the
// end must not be told, and the link cannot be used again, since the endpoint would take the next request for the rest of this one.
func (b *bodySender) claimEnd() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.unwanted {
		b.endedAt = time.Now()
	}
	return !b.unwanted
}

// whollySent reports whether the endpoint has all of the request.
func (b *bodySender) whollySent() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.unwanted = b.running && b.endedAt.IsZero()
	return !b.unwanted
}

// stop ends the task. What of the content the client has not sent yet is nobody's any more, and an endpoint that does not read what it gets
// must not hold up the client.
func (b *bodySender) stop(l link) {
	if !b.running {
		return
	}
	if !b.whollySent() {
		b.x.client.unread()
		l.abort()
	}
	b.x.ground.await(&b.task)
	b.running = false
}
