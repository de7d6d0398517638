package discovery

import (
	"context"
	"reflect"
	"slices"
	"time"

	"github.com/ruche-project/ruche/internal/docker"
)

// swarmWish says what to ask a manager for.
type swarmWish int

const (
	askNothing swarmWish = iota
	askSurroundings
	askAll // services and tasks too
)

// swarmAnswer is what a manager answered to one of these.
type swarmAnswer struct {
	wish swarmWish
	// began is the clock when it was asked: the answer says nothing of what came later.
	began    uint64
	err      error
	nodes    []docker.Node
	networks networkList
	own      place
	services []docker.Service
	tasks    []docker.Task
}

// ask asks for the whole, or has the question that is under way followed by another.
func (l *lookout) ask(ctx context.Context, wish swarmWish) {
	if l.asking {
		l.askAgain = max(l.askAgain, wish)
		return
	}
	l.startAsk(ctx, wish, 0)
}

func (l *lookout) startAsk(ctx context.Context, wish swarmWish, delay time.Duration) {
	l.asking = true
	l.clock++
	a := swarmAnswer{wish: wish, began: l.clock}
	l.work.Go(func() {
		if delay > 0 && !sleep(ctx, delay) {
			return
		}
		a.err = a.fill(ctx, l.client, l.ownID)
		select {
		case l.answers <- a:
		case <-ctx.Done():
		}
	})
}

// fill asks. Any failure fails the whole: half an answer would shrink what is known.
func (a *swarmAnswer) fill(ctx context.Context, client *docker.Client, ownID string) (err error) {
	if a.nodes, err = client.Nodes(ctx); err != nil {
		return err
	}
	if a.networks, err = client.Networks(ctx); err != nil {
		return err
	}
	if a.own, err = ownPlace(ctx, client, ownID); err != nil || a.wish == askSurroundings {
		return err
	}
	if a.services, err = client.Services(ctx); err != nil {
		return err
	}
	a.tasks, err = client.WantedTasks(ctx)
	return err
}

// answered takes over the answer to a question for the whole.
func (l *lookout) answered(ctx context.Context, a swarmAnswer) {
	l.asking = false
	again := l.askAgain
	l.askAgain = askNothing
	if a.err != nil {
		if ctx.Err() != nil {
			return
		}
		l.unavailable(a.err)
		l.lookedOnce()
		l.startAsk(ctx, max(a.wish, again), l.backoff)
		l.backoff = min(2*l.backoff, l.timing.maxBackoff)
		return
	}
	l.backoff = l.timing.minBackoff
	l.alarm.clear(swarmSubject, "the Swarm answers again")
	nodes := make(map[string]docker.Node, len(a.nodes))
	for _, n := range a.nodes {
		nodes[n.ID] = n
	}
	arrived := l.hasLooked && !reflect.DeepEqual(l.nodes, nodes)
	moved := arrived || !slices.EqualFunc(l.networks, a.networks, docker.Network.Equal) || !reflect.DeepEqual(l.own, a.own)
	l.nodes, l.networks, l.own = nodes, a.networks, a.own
	changed := map[string]*serviceRecord{}
	if a.wish == askAll {
		changed = l.takeAll(ctx, a)
	}
	if l.findReach() || moved {
		changed = l.services
	}
	l.tellIngress()
	for id, r := range changed {
		if arrived && r.service.Replicas < 0 {
			r.touched = time.Now() // it gets a task on a new node, and loses one with an old
		}
		l.publish(id, r)
		l.schedule(ctx, id, r)
	}
	if a.wish == askAll {
		l.lookedOnce()
	}
	if again != askNothing {
		l.startAsk(ctx, again, l.timing.quick) // nodes that come and go must not have everything asked all the time
	}
}

// takeAll takes over the list of all services and wanted tasks, and returns the services that changed.
func (l *lookout) takeAll(ctx context.Context, a swarmAnswer) map[string]*serviceRecord {
	changed := map[string]*serviceRecord{}
	listed := make(map[string]bool, len(a.services))
	for _, s := range a.services {
		listed[s.ID] = true
		if r, news := l.takeService(s, a.began); news {
			changed[s.ID] = r
		}
	}
	wanted := make(map[string]bool, len(a.tasks))
	for _, t := range a.tasks {
		wanted[t.ID] = true
		if r := l.services[t.Service]; r != nil && r.known && l.takeTask(r, t, a.began) {
			changed[t.Service] = r
		}
	}
	for id, at := range l.removed {
		if at < a.began {
			delete(l.removed, id)
		}
	}
	for id, r := range l.services {
		if !listed[id] && r.seen < a.began && !r.looking {
			l.drop(id)
			delete(changed, id)
			continue
		}
		for task, t := range r.tasks {
			switch {
			case wanted[task] || t.seen >= a.began || r.looking:
			case t.known && t.task.Ended():
				delete(r.tasks, task)
			default:
				l.look(ctx, id, r) // it has ended, or is to
			}
		}
	}
	return changed
}

// takeService takes over what a service is, unless something newer is known. It reports whether that is news.
func (l *lookout) takeService(s docker.Service, began uint64) (*serviceRecord, bool) {
	if at, gone := l.removed[s.ID]; gone && began <= at {
		return nil, false
	}
	r := l.record(s.ID)
	r.seen = max(r.seen, began)
	if r.known && s.Version <= r.service.Version {
		return r, false
	}
	r.service, r.known = s, true
	r.declared = declaredByService(s)
	return r, true
}

// takeTask takes over what a task is, unless something newer is known. It reports whether that is news.
func (l *lookout) takeTask(r *serviceRecord, t docker.Task, began uint64) bool {
	known := r.tasks[t.ID]
	if known == nil {
		if t.Ended() {
			return false
		}
		known = &taskRecord{}
		r.tasks[t.ID] = known
	}
	known.seen = max(known.seen, began)
	if known.known && t.Version <= known.task.Version {
		return false
	}
	if len(t.Ports) == 0 && !t.Wanted() {
		t.Ports = known.task.Ports // the Swarm forgets them as soon as the task is to end, while requests still run
	}
	known.task, known.known = t, true
	r.changed = time.Now()
	return true
}

// reachAnew looks how the edges are published, and chooses again for all services when their networks are others than before.
func (l *lookout) reachAnew() {
	l.tellIngress()
	if l.findReach() {
		for id, r := range l.services {
			l.publish(id, r)
		}
	}
}
