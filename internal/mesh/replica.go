package mesh

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ruche-project/ruche"
)

// Following is how a node follows the state.
type Following struct {
	// Control is the address of the control node that is followed; empty when there is none, and then Why says why. Since is when that began.
	Control string
	Why     string
	Since   time.Time
	// Heard is of when what is known is: when a control node that had told all was heard last. It is zero when that was never.
	Heard time.Time
}

// replica is what a node knows of the state: it follows one control node after the other, and keeps what it heard.
type replica struct {
	client *Client
	hub    *hub

	mu      sync.Mutex
	now     Following
	lacking map[string]time.Time // control nodes without quorum, and when they said so

	// What is on the disk; only who loads and keeps it looks at these.
	saved   map[string]written // by file
	contact contact
}

var (
	errSilent   = errors.New("it has said nothing for too long")
	errNoQuorum = errors.New("it has no quorum")
	errRenewed  = errors.New("this node's certificate was renewed")
	errEnded    = errors.New("it has ended the stream")
)

// Following tells how this node follows.
func (c *Client) Following() Following {
	c.replica.mu.Lock()
	defer c.replica.mu.Unlock()
	return c.replica.now
}

// run follows until ctx ends.
func (r *replica) run(ctx context.Context) {
	backoff := r.client.timing.minBackoff
	for ctx.Err() == nil {
		began := time.Now()
		for _, addr := range r.candidates() {
			id, renewed := r.client.keeper.current()
			if id.cert == nil {
				break
			}
			heard, err := r.followAt(ctx, id, renewed, addr)
			if ctx.Err() != nil {
				return
			}
			if unknown(err) {
				r.client.keeper.notKnown(id)
			}
			r.lost(addr, err)
			if heard { // the others are to be tried at once
				backoff, began = r.client.timing.minBackoff, time.Now()
			}
			if errors.Is(err, errSilent) {
				r.client.hangUp(id)
			}
			if errors.Is(err, errRenewed) {
				break
			}
		}
		// At random, since all nodes lose a control node at the same moment. What tries that nobody answered have taken is part of the wait: so as long as the network is cut
		// a second never passes without a packet that would find it healed.
		t := time.NewTimer(backoff/2 + rand.N(backoff/2) - time.Since(began))
		select {
		case <-ctx.Done():
		case <-t.C:
		}
		t.Stop()
		backoff = min(2*backoff, r.client.timing.maxBackoff)
	}
}

// candidates lists the control nodes to try, those that had no quorum a moment ago last.
func (r *replica) candidates() []string {
	list := r.client.addresses()
	r.mu.Lock()
	defer r.mu.Unlock()
	slices.SortStableFunc(list, func(a, b string) int { return r.lacks(a) - r.lacks(b) })
	return list
}

// lacks gives 1 for a control node that had no quorum a moment ago. The caller holds mu.
func (r *replica) lacks(addr string) int {
	if at, ok := r.lacking[addr]; ok && time.Since(at) < r.client.timing.again {
		return 1
	}
	return 0
}

// followAt follows one control node until that fails, or another is to be preferred. It reports whether anything was heard.
func (r *replica) followAt(ctx context.Context, id *identity, renewed <-chan struct{}, addr string) (heard bool, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watchdog := time.AfterFunc(r.client.timing.silence, func() { cancel(errSilent) })
	defer watchdog.Stop()
	go func() {
		select {
		case <-renewed:
			cancel(errRenewed)
		case <-ctx.Done():
		}
	}()
	defer func() {
		if cause := context.Cause(ctx); cause != nil && err != nil {
			err = cause
		}
	}()
	stream, told, err := r.ask(ctx, id, addr)
	if err != nil {
		return false, err
	}
	defer func() { _ = stream.Close() }()
	r.doWithout(addr, told)
	in := bufio.NewReaderSize(stream, 64<<10)
	var u assembly
	for {
		l, n, err := readLine(in)
		if err != nil {
			return heard, err
		}
		watchdog.Reset(r.client.timing.silence)
		heard = true
		if l.Beat != nil {
			err = r.beat(addr, *l.Beat)
		} else {
			err = r.take(&u, l, n)
		}
		if err != nil {
			return heard, err
		}
		if len(u.read) == len(told) { // before, what is known is as old as it was
			r.hear()
		}
	}
}

// ask has a control node tell of the buckets that this node follows, and gives those of which it does: an older one does not know all.
func (r *replica) ask(ctx context.Context, id *identity, addr string) (stream io.ReadCloser, told []string, err error) {
	told = slices.Clone(r.client.cfg.Follow)
	for {
		q := url.Values{"buckets": {strings.Join(told, ",")}}
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+addr+"/v1/follow?"+q.Encode(), nil)
		if err != nil {
			return nil, nil, err
		}
		req.Header.Set(recipientHeader, r.client.box.public())
		resp, err := r.client.client(id).Do(req)
		if err != nil {
			return nil, nil, err
		}
		if resp.StatusCode == http.StatusOK {
			if known := resp.Header.Values(bucketsHeader); len(known) > 0 {
				told = slices.DeleteFunc(told, func(name string) bool { return !slices.Contains(strings.Split(known[0], ","), name) })
			}
			return resp.Body, told, nil
		}
		data := make([]byte, maxReport)
		n, _ := resp.Body.Read(data) // what cannot be read gives a refusal without words
		_ = resp.Body.Close()
		err = refusalOf(resp.StatusCode, data[:n])
		i := refusedBucket(err, told)
		if i < 0 || len(told) == 1 { // who is told of nothing has lost its role
			return nil, nil, err
		}
		told = slices.Delete(told, i, i+1)
	}
}

// refusedBucket gives which of the buckets a refusal is about, -1 for none. Control nodes of older releases refuse a request for all that they do not know, in these words.
func refusedBucket(err error, buckets []string) int {
	var refusal *Refusal
	if !errors.As(err, &refusal) || refusal.Reason != ReasonRole {
		return -1
	}
	return slices.IndexFunc(buckets, func(name string) bool { return refusal.Message == fmt.Sprintf("this node must not follow %.32q", name) })
}

// doWithout notes which of the buckets that this node follows a control node does not tell of. What is known of them stays, and where nothing is, it is as if they were empty:
// nobody waits for them.
func (r *replica) doWithout(addr string, told []string) {
	var missing []string
	for _, name := range r.client.cfg.Follow {
		if !slices.Contains(told, name) {
			missing = append(missing, name)
			r.hub.settle(name)
		}
	}
	health, subject := r.client.cfg.Health, r.client.cfg.Name
	if len(missing) == 0 {
		health.Clear(ruche.CodeControlOlder, subject)
		return
	}
	w := ruche.Warning{
		Code: ruche.CodeControlOlder, Severity: ruche.SeverityWarning, Subject: subject,
		Message: fmt.Sprintf("control node %s is of an older release and does not tell of %s, so this node does without", addr, strings.Join(missing, ", ")),
		Hint:    "upgrade the control nodes; they are to be upgraded before edges and agents",
	}
	if health.Set(w) {
		r.client.logger().Warn(w.Message, slog.String("hint", w.Hint))
	}
}

// hear notes that what is known is of now.
func (r *replica) hear() {
	now := r.client.cfg.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.now.Heard = now
}

// beat takes in how the control node that is followed is.
func (r *replica) beat(addr string, b beat) error {
	c := r.client
	c.learn(b.Control)
	others := c.addresses()
	r.mu.Lock()
	defer r.mu.Unlock()
	if b.Quorum {
		delete(r.lacking, addr)
		c.cfg.Health.Clear(ruche.CodeControlUnreachable, c.cfg.Name)
	} else {
		r.lacking[addr] = time.Now()
		if slices.ContainsFunc(others, func(a string) bool { return r.lacks(a) == 0 }) {
			return errNoQuorum
		}
		// It still tells what it knows, and there is no better one.
		c.cfg.Health.Set(ruche.Warning{
			Code: ruche.CodeControlUnreachable, Severity: ruche.SeverityWarning, Subject: c.cfg.Name,
			Message: "no control node that can be reached has a quorum", Hint: "what is known is served; look whether the control nodes run, and whether they reach one another",
		})
	}
	if r.now.Control == addr {
		return nil
	}
	r.now.Control, r.now.Why, r.now.Since = addr, "", c.cfg.Now()
	c.logger().Info("following a control node", slog.String("address", addr), slog.Bool("quorum", b.Quorum))
	return nil
}

// lost notes that a control node is not followed.
func (r *replica) lost(addr string, err error) {
	c := r.client
	if err == nil {
		err = errEnded
	}
	why := fmt.Sprintf("cannot follow control node %s: %v", addr, err)
	r.mu.Lock()
	if r.now.Control != "" || r.now.Since.IsZero() {
		r.now.Control, r.now.Since = "", c.cfg.Now()
		c.logger().Warn("following no control node", slog.String("address", addr), slog.Any("error", err))
	}
	r.now.Why = why
	since, heard := r.now.Since, r.now.Heard
	r.mu.Unlock()
	if c.cfg.Now().Sub(since) < c.timing.silence {
		return // another one may answer
	}
	known := "nothing is known"
	if !heard.IsZero() {
		known = "what is known is of " + heard.UTC().Format(time.RFC3339)
	}
	c.cfg.Health.Set(ruche.Warning{
		Code: ruche.CodeControlUnreachable, Severity: ruche.SeverityError, Subject: c.cfg.Name, Message: why + "; " + known,
		Hint: "what is known is served; look whether the control nodes run, and whether this node can reach their port",
	})
}

// assembly is an update of which not all lines have come.
type assembly struct {
	bucket string
	update ruche.Update[json.RawMessage]
	bytes  int
	read   []string // the buckets of which the whole content has come
}

// take takes in one line, of n bytes, about a bucket.
func (r *replica) take(a *assembly, l line, n int) error {
	if r.hub.shelves[l.Bucket] == nil {
		return fmt.Errorf("it tells of bucket %.64q, which was not asked for", l.Bucket)
	}
	if a.bucket == "" {
		a.bucket, a.update, a.bytes = l.Bucket, ruche.Update[json.RawMessage]{Reset: l.Reset, Puts: map[string]json.RawMessage{}}, 0
	} else if a.bucket != l.Bucket || l.Reset {
		return errors.New("it tells of something else in the middle of an update")
	}
	if a.bytes += n; a.bytes > maxUpdate {
		return fmt.Errorf("an update has more than %d bytes", maxUpdate)
	}
	for key, v := range l.Puts {
		a.update.Puts[key] = v
	}
	a.update.Deletes = append(a.update.Deletes, l.Deletes...)
	if l.More {
		return nil
	}
	a.update.Revision = l.Revision
	r.hub.apply(a.bucket, a.update)
	if a.update.Reset && !slices.Contains(a.read, a.bucket) {
		a.read = append(a.read, a.bucket)
	}
	a.bucket = ""
	return nil
}

// View is a bucket that a node follows. It can be watched like one of the cluster.
type View[T any] struct {
	client *Client
	bucket string
}

// Follow gives a bucket that the client follows. Another one than those of its config panics.
func Follow[T any](c *Client, bucket string) *View[T] {
	if c.replica.hub.shelves[bucket] == nil {
		panic(fmt.Sprintf("mesh: bucket %q is not followed", bucket))
	}
	return &View[T]{client: c, bucket: bucket}
}

// Watch calls fn with the whole content, once there is any, and then with each change in order, until ctx ends; then it returns nil. Changes that come while
// fn runs are taken together. The content is what this node knows, also while it follows nobody. Values that cannot be decoded are logged and left out. A revision that is
// newer comes also where nothing else is new: so it is known that what was written until then is in force.
func (v *View[T]) Watch(ctx context.Context, fn func(ruche.Update[T])) error {
	var seen uint64
	var revision int64
	for {
		changed := v.client.replica.hub.wait()
		b, now, ok := v.client.replica.hub.since(v.bucket, seen)
		if newer := b.revision > revision; ok || newer {
			if u := v.update(b); u.Reset || newer || len(u.Puts)+len(u.Deletes) > 0 {
				fn(u)
			}
			revision = max(revision, b.revision)
		}
		seen = now
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
	}
}

func (v *View[T]) update(b batch) ruche.Update[T] {
	u := ruche.Update[T]{Reset: b.reset, Puts: make(map[string]T, len(b.items)), Revision: b.revision}
	for _, i := range b.items {
		if i.value == nil {
			u.Deletes = append(u.Deletes, i.key)
			continue
		}
		var value T
		if err := json.Unmarshal(i.value, &value); err != nil {
			v.client.logger().Error("cannot decode a value, ignoring it", slog.String("bucket", v.bucket), slog.String("key", i.key), slog.Any("error", err))
			continue
		}
		u.Puts[i.key] = value
	}
	slices.Sort(u.Deletes)
	return u
}
