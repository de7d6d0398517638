package discovery

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/ruche-project/ruche/internal/docker"
)

const (
	// parallelLooks bounds how many questions for services are under way at once.
	parallelLooks = 4
	// maxLook bounds how many services one question is for: their IDs go into its URL.
	maxLook = 50
)

// serviceAnswer is what a manager answered about some services and all of their tasks.
type serviceAnswer struct {
	ids      []string
	began    uint64
	took     time.Duration
	err      error
	services []docker.Service
	tasks    []docker.Task
}

// look looks at one service and all of its tasks. Wishes that come while the question is under way are joined to one more.
func (l *lookout) look(ctx context.Context, id string, r *serviceRecord) {
	switch {
	case r.wished:
	case r.looking:
		r.again = true
	default:
		r.looking, r.wished = true, true
		l.wishes = append(l.wishes, id)
		l.askWished(ctx)
	}
}

// askWished asks for what is wished. While as many questions are under way as may be, wishes gather, and the next question is for many of them: a rollout of a
// whole stack is followed as fast as that of a service.
func (l *lookout) askWished(ctx context.Context) {
	for len(l.wishes) > 0 && l.asked < parallelLooks {
		a := serviceAnswer{ids: l.takeWishes()}
		if len(a.ids) == 0 {
			continue
		}
		l.asked++
		l.clock++
		a.began = l.clock
		l.work.Go(func() {
			begin := time.Now()
			a.err = a.fill(ctx, l.client)
			a.took = time.Since(begin)
			select {
			case l.looks <- a:
			case <-ctx.Done():
			}
		})
	}
}

// takeWishes takes the services for the next question. One that could not be asked for is asked for alone: it must not keep the others from being seen.
func (l *lookout) takeWishes() []string {
	var ids []string
	for n, id := range l.wishes {
		r := l.services[id]
		if r != nil && (len(ids) == maxLook || r.failures > 0 && len(ids) > 0) {
			l.wishes = l.wishes[n:]
			return ids
		}
		if r == nil { // removed meanwhile
			continue
		}
		r.wished = false
		ids = append(ids, id)
		if r.failures > 0 {
			l.wishes = l.wishes[n+1:]
			return ids
		}
	}
	l.wishes = nil
	return ids
}

// fill asks. A service that is removed between the two questions fails the second one.
func (a *serviceAnswer) fill(ctx context.Context, client *docker.Client) (err error) {
	for range 3 {
		if a.services, err = client.ServicesOf(ctx, a.ids); err != nil || len(a.services) == 0 {
			return err
		}
		ids := make([]string, len(a.services))
		for i, s := range a.services {
			ids[i] = s.ID
		}
		if a.tasks, err = client.TasksOf(ctx, ids); !errors.Is(err, docker.ErrNotFound) {
			return err
		}
	}
	return err
}

// lookedAt takes over the answer about some services.
func (l *lookout) lookedAt(ctx context.Context, a serviceAnswer) {
	l.asked--
	if ctx.Err() != nil {
		return
	}
	tasks := map[string][]docker.Task{} // by service
	for _, t := range a.tasks {
		tasks[t.Service] = append(tasks[t.Service], t)
	}
	news := false
	var seen []string
	for _, id := range a.ids {
		r := l.services[id]
		if r == nil {
			continue // removed meanwhile
		}
		r.looking = false
		i := slices.IndexFunc(a.services, func(s docker.Service) bool { return s.ID == id })
		switch {
		case a.err != nil:
			l.notLookedAt(ctx, id, r, a.err)
		case i < 0:
			l.drop(id)
		default:
			l.alarm.clear("service "+id, "")
			news = l.takeLook(r, a, a.services[i], tasks[id]) || news
			seen = append(seen, id)
		}
	}
	if news {
		l.reachAnew()
	}
	for _, id := range seen {
		r := l.services[id]
		l.publish(id, r)
		if r.again {
			r.again = false
			l.look(ctx, id, r)
		}
		l.schedule(ctx, id, r) // does nothing while it is looked at
	}
	l.askWished(ctx)
}

// takeLook takes over the answer about one service, and reports whether the service itself is news.
func (l *lookout) takeLook(r *serviceRecord, a serviceAnswer, s docker.Service, tasks []docker.Task) bool {
	r.failures, r.took = 0, a.took
	_, news := l.takeService(s, a.began)
	listed := make(map[string]bool, len(tasks))
	for _, t := range tasks {
		listed[t.ID] = true
		l.takeTask(r, t, a.began)
	}
	for id, t := range r.tasks {
		if !listed[id] && t.seen < a.began {
			delete(r.tasks, id)
			l.store.set(taskPrefix+id, row{})
		}
	}
	return news
}

// notLookedAt keeps what was known of a service, and has it asked for again.
func (l *lookout) notLookedAt(ctx context.Context, id string, r *serviceRecord, err error) {
	l.alarm.raise("service "+id, "a service of the Swarm cannot be looked at: "+err.Error(), docker.Hint(err))
	l.lookLater(ctx, id, r, min(l.timing.minBackoff<<min(r.failures, 10), l.timing.maxBackoff))
	r.failures++
	r.again = false
}

// schedule has a service that is changing looked at again soon: nobody tells of tasks.
func (l *lookout) schedule(ctx context.Context, id string, r *serviceRecord) {
	if r.looking || r.next != nil || !r.known || len(r.routes) == 0 || !l.unsettled(r) {
		return
	}
	// A manager that is slow already is not to be asked all the time, nor one of hundreds of services at once.
	delay := max(l.timing.quick, 20*r.took, time.Duration(l.waiting)*l.timing.quick/50)
	if !r.service.Updating && time.Since(r.changed) > l.timing.restless && time.Since(r.touched) > l.timing.restless {
		delay = max(delay, l.timing.slow) // a task that waits for a node may wait for days
	}
	l.lookLater(ctx, id, r, delay)
}

func (l *lookout) lookLater(ctx context.Context, id string, r *serviceRecord, delay time.Duration) {
	l.cancel(r)
	l.waiting++
	r.next = time.AfterFunc(delay, func() {
		select {
		case l.due <- id:
		case <-ctx.Done():
		}
	})
}

// cancel forgets the next look at a service.
func (l *lookout) cancel(r *serviceRecord) {
	if r.next != nil && r.next.Stop() { // else it is on its way
		l.waiting--
	}
	r.next = nil
}

// unsettled reports whether a service is being updated or was a moment ago, lacks tasks, or one of them is on its way to what is desired.
func (l *lookout) unsettled(r *serviceRecord) bool {
	if r.service.Updating || time.Since(r.touched) < l.timing.fresh {
		return true
	}
	wanted := 0
	for _, t := range r.tasks {
		if t.task.Wanted() && !t.task.Ended() && l.nodes[t.task.Node].State != nodeDown {
			wanted++
		}
		switch {
		case !t.known:
			return true
		case t.task.Ended() || l.nodes[t.task.Node].State == nodeDown:
		case !t.task.Wanted() || t.task.State != docker.TaskRunning:
			return true
		case !alive(l.sightings[t.task.ID].State) && l.sightings[t.task.ID].State != "":
			return true
		}
	}
	return wanted < r.service.Replicas
}

// drop forgets a service that does not exist any more. Its routes are kept for a while.
func (l *lookout) drop(id string) {
	r := l.services[id]
	if r == nil {
		return
	}
	delete(l.services, id)
	l.alarm.clear("service "+id, "")
	l.cancel(r)
	for task := range r.tasks {
		l.store.set(taskPrefix+task, row{})
	}
	l.graves.bury(servicePrefix+id, func(group string) bool {
		for _, other := range l.services {
			if other.known && other.service.Name == group && len(other.routes) > 0 {
				return true
			}
		}
		return false
	})
	l.reachAnew()
}
