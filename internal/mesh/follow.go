package mesh

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// maxStreams is how often a node may follow at once. It needs one, and for a moment two.
const maxStreams = 4

// bucketsHeader has the buckets that a stream tells of: those that were asked for and that the control node knows. Older releases do not send it, and refuse what they do not know.
const bucketsHeader = "Ruche-Buckets"

// follow sends a node the content of the buckets that it asks for, and then what happens in them, for as long as it listens.
func (s *Server) follow(w http.ResponseWriter, r *http.Request, p Peer) error {
	var buckets []string
	for name := range strings.SplitSeq(r.URL.Query().Get("buckets"), ",") {
		if s.hub.shelves[name] == nil {
			continue // a node of a newer release does without
		}
		if !mayFollow(p, name) {
			return refuse(ReasonRole, fmt.Sprintf("the roles of this node do not permit to follow %.32q", name))
		}
		buckets = append(buckets, name)
	}
	if s.count(p.Name, 1); s.streamsOf(p.Name) > maxStreams {
		s.count(p.Name, -1)
		return refuse(ReasonTooMany, "this node follows too often at once")
	}
	defer s.count(p.Name, -1)
	to, err := newRecipient(p.Name, r.Header.Get(recipientHeader))
	if err != nil {
		return refuse(ReasonBadRequest, "the key that values are to be sealed to cannot be used")
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.Header().Set(bucketsHeader, strings.Join(buckets, ","))
	f := &follower{server: s, peer: p, to: to, w: w, control: http.NewResponseController(w), buckets: buckets, seen: make([]uint64, len(buckets))}
	if err := f.run(r.Context()); err != nil {
		s.cfg.Logger.Debug("a node follows no longer", "node", p.Name, "error", err)
		panic(http.ErrAbortHandler) // a stream that merely ends would look whole
	}
	return nil
}

// streamsOf counts the streams of a node.
func (s *Server) streamsOf(name string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.streams[name]
}

func (s *Server) count(name string, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.streams[name] += n; s.streams[name] == 0 {
		delete(s.streams, name)
	}
}

// follower is one stream.
type follower struct {
	server  *Server
	peer    Peer
	to      *Recipient
	w       http.ResponseWriter
	control *http.ResponseController
	buckets []string
	seen    []uint64 // times that were sent, by bucket
	buf     []byte
}

// gather is the least time between two lots that a follower is sent: a burst of changes comes in few lines.
const gather = 10 * time.Millisecond

// run sends until ctx ends, the follower takes nothing any more, or it is a node no longer.
func (f *follower) run(ctx context.Context) error {
	t := time.NewTicker(f.server.timing.beat)
	defer t.Stop()
	pause := time.NewTimer(0)
	defer pause.Stop()
	if err := f.send(f.beat); err != nil {
		return err
	}
	_, nodes := f.server.registry.nodesNow()
	if err := f.stillNode(ctx); err != nil { // it may have ended to be one since it was asked
		return err
	}
	for {
		changed := f.server.hub.wait()
		if err := f.send(f.batches); err != nil {
			return err
		}
		pause.Reset(gather)
		select { // so long nothing is looked at, not even whether the node is still one
		case <-pause.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		case <-nodes:
			_, nodes = f.server.registry.nodesNow()
			if err := f.stillNode(ctx); err != nil {
				return err
			}
		case <-t.C:
			if !f.server.registry.now().Before(f.peer.expires) {
				return errExpired
			}
			if err := f.send(f.beat); err != nil {
				return err
			}
		}
	}
}

// stillNode asks whether the peer is yet what it was when the stream began.
func (f *follower) stillNode(ctx context.Context) error {
	p, err := f.server.registry.authenticate(ctx, f.peer)
	var refusal *Refusal
	if errors.As(err, &refusal) && refusal.Reason == ReasonUnavailable {
		return nil // what is not known is no reason
	}
	if err == nil && slices.ContainsFunc(f.buckets, func(name string) bool { return !mayFollow(p, name) }) {
		err = errRole
	}
	return err
}

// send has something written, and on its way.
func (f *follower) send(write func() (wrote bool, err error)) error {
	wrote, err := write()
	if err == nil && wrote {
		err = f.control.Flush()
	}
	if err == nil {
		err = f.control.SetWriteDeadline(time.Time{}) // it would end the stream also while nothing is written
	}
	return err
}

// Write writes one line, which the follower has to take within a time of its own: all that is to be sent may take long over a slow network.
func (f *follower) Write(line []byte) (int, error) {
	_ = f.control.SetWriteDeadline(time.Now().Add(f.server.timing.write)) // HTTP/2 has deadlines
	return f.w.Write(line)
}

func (f *follower) beat() (bool, error) {
	known, _ := f.server.registry.nodesNow()
	data, err := json.Marshal(line{Beat: &beat{Quorum: f.server.cfg.Quorum(), Control: controlAddresses(known)}})
	if err == nil {
		_, err = f.Write(append(data, '\n'))
	}
	return true, err
}

// delivery is what changes the items of a bucket on their way to this follower; nil: nothing does.
func (f *follower) delivery(bucket string, reset bool) func([]*item) []*item {
	deliver := f.server.cfg.Deliver[bucket]
	if deliver == nil {
		return nil
	}
	return func(items []*item) []*item {
		changed := make([]*item, 0, len(items))
		for _, i := range items {
			n := item{key: i.key, quoted: i.quoted}
			if i.value != nil {
				if value, keep := deliver(f.to, i.key, i.value); keep {
					n.value = value
				}
			}
			if n.value != nil || !reset {
				changed = append(changed, &n)
			}
		}
		return changed
	}
}

// batches writes what is new in all buckets.
func (f *follower) batches() (wrote bool, err error) {
	for i, name := range f.buckets {
		b, now, ok := f.server.hub.since(name, f.seen[i])
		f.seen[i] = now
		if !ok {
			continue
		}
		wrote = true
		if f.buf, err = writeBatch(f, f.buf, name, b, f.delivery(name, b.reset)); err != nil {
			return true, err
		}
	}
	if cap(f.buf) > 2*lineBytes {
		f.buf = nil
	}
	return wrote, nil
}
