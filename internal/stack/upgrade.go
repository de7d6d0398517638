package stack

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ruche-project/ruche/internal/docker"
)

// parts are the services of the stack, in the order in which they get a new version: the others ask the control nodes.
func parts() []string { return []string{"control", "agent", "edge"} }

// lookEvery is the time between two looks at an update.
const lookEvery = 500 * time.Millisecond

// Upgrade brings an image to the services of the stack of that name, one node after the other, and returns when all run it. Each service is begun when all tasks of the
// one before run and are healthy. say tells what happens. It may be called again, and goes on then.
func Upgrade(ctx context.Context, engine *docker.Client, stack, image string, say func(string)) error {
	return upgradeEvery(ctx, engine, stack, image, say, lookEvery)
}

func upgradeEvery(ctx context.Context, engine *docker.Client, stack, image string, say func(string), every time.Duration) error {
	u := &upgrade{engine: engine, stack: stack, image: image, say: say, every: every}
	services, err := u.look(ctx)
	if err != nil {
		return err
	}
	for _, s := range services {
		if err := u.begin(ctx, s); err != nil {
			return err
		}
		if err := u.wait(ctx, s.Name, s.ID); err != nil {
			return err
		}
	}
	say(fmt.Sprintf("stack %s runs %s", stack, image))
	return nil
}

// upgrade is one run of Upgrade.
type upgrade struct {
	engine       *docker.Client
	stack, image string
	say          func(string)
	every        time.Duration
	pinned       string // the image with its digest, where that is known
}

// look refuses what should not be begun, and gives the services in order.
func (u *upgrade) look(ctx context.Context) ([]docker.Service, error) {
	nodes, err := u.engine.Nodes(ctx)
	if err != nil {
		return nil, err
	}
	for _, m := range managersOf(nodes) {
		if m.Manager.Reachability != "reachable" || m.State != "ready" {
			return nil, hinted{fmt.Errorf("cannot upgrade: manager %s of the Swarm is not reachable, and one more that is away may cost the majority", m.Name),
				"bring it back, or take it out for good: docker node demote " + m.Name}
		}
	}
	names := make([]string, 0, len(parts()))
	for _, p := range parts() {
		names = append(names, u.stack+"_"+p)
	}
	services, err := u.engine.ServicesNamed(ctx, names...)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if !slices.ContainsFunc(services, func(s docker.Service) bool { return s.Name == name }) {
			return nil, hinted{fmt.Errorf("cannot upgrade: the Swarm has no service %s", name), "ruche stack deploy deploys the stack; if it has another name, give it with --stack (docker stack ls)"}
		}
	}
	u.pinned, err = u.engine.PinImage(ctx, u.image)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		u.pinned = u.image
		u.say(fmt.Sprintf("warning: %v: each node takes what it has, or gets, under that name", err))
	}
	return services, nil
}

// begin sets the image of a service, unless it has it already and nothing is in the way.
func (u *upgrade) begin(ctx context.Context, s docker.Service) error {
	if s.PinnedImage == u.pinned && !halted(s.Update) {
		u.say(s.Name + " has the image already")
		return nil
	}
	for {
		err := u.engine.SetImage(ctx, s.ID, u.pinned)
		if err == nil {
			u.say(fmt.Sprintf("%s gets %s (it had %s)", s.Name, u.image, s.Image))
			return nil
		}
		if !errors.Is(err, docker.ErrConflict) { // a manager counted the service anew, or somebody changed it: the next try sees that
			return err
		}
	}
}

// halted tells that the Swarm has stopped an update, or goes back.
func halted(s docker.ServiceUpdate) bool {
	return s.State == docker.UpdatePaused || strings.HasPrefix(s.State, "rollback_")
}

// wait returns when all tasks of a service that are to run do, with the image, and the Swarm calls the update completed.
func (u *upgrade) wait(ctx context.Context, name, id string) error {
	p := progress{name: name, image: u.pinned, say: u.say, told: map[string]string{}}
	for {
		done, err := u.glance(ctx, id, &p)
		switch {
		case done:
			return nil
		case err == nil:
		case errors.Is(err, errHalted):
			return hinted{fmt.Errorf("cannot upgrade %s: %w", name, err), fmt.Sprintf(
				"docker service ps --no-trunc %s tells why; then run this again with an image that works, or go back: docker service rollback %s (what was upgraded before it: %s)",
				name, name, u.before(name))}
		case errors.Is(err, docker.ErrNotFound):
			return fmt.Errorf("cannot upgrade %s: it was removed meanwhile", name)
		case ctx.Err() == nil:
			p.tell("", "the Swarm does not answer, trying on: "+err.Error())
		}
		select {
		case <-time.After(u.every):
		case <-ctx.Done():
			return hinted{fmt.Errorf("stopped watching: the Swarm goes on with the update of %s", name), fmt.Sprintf("ruche stack upgrade %s watches it again, and goes on with the rest", u.image)}
		}
	}
}

// before names the services that were upgraded before this one.
func (u *upgrade) before(name string) string {
	var list []string
	for _, p := range parts() {
		if u.stack+"_"+p == name {
			break
		}
		list = append(list, u.stack+"_"+p)
	}
	if len(list) == 0 {
		return "nothing"
	}
	return strings.Join(list, ", ")
}

// errHalted tells that the Swarm does not go on by itself.
var errHalted = errors.New("the Swarm has stopped the update")

// glance looks once at a service, and tells what has changed.
func (u *upgrade) glance(ctx context.Context, id string, p *progress) (done bool, err error) {
	services, err := u.engine.ServicesOf(ctx, []string{id})
	switch {
	case err != nil:
		return false, err
	case len(services) == 0:
		return false, docker.ErrNotFound
	}
	service := services[0]
	nodes, err := u.engine.Nodes(ctx)
	if err != nil {
		return false, err
	}
	tasks, err := u.engine.TasksOf(ctx, []string{id})
	if err != nil {
		return false, err
	}
	all := p.look(tasks, nodes)
	switch {
	case halted(service.Update):
		return false, fmt.Errorf("%w: it is %s, %s", errHalted, service.Update.State, service.Update.Message)
	case service.PinnedImage != p.image:
		return false, fmt.Errorf("%w: somebody else gave it the image %s meanwhile", errHalted, service.Image)
	}
	return all && !service.Updating, nil
}
