package docker

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/client"
)

// Action is what an event tells.
type Action string

// The actions that Subscribe delivers: the first group is about a container, the second about a network. The third is what SubscribeSwarm
// delivers.
const (
	ActionCreate       Action = "create"
	ActionStart        Action = "start"
	ActionKill         Action = "kill"
	ActionDie          Action = "die"
	ActionStop         Action = "stop"
	ActionPause        Action = "pause"
	ActionUnpause      Action = "unpause"
	ActionHealthStatus Action = "health_status"
	ActionRename       Action = "rename"
	ActionDestroy      Action = "destroy"

	ActionNetworkConnect    Action = "network-connect"
	ActionNetworkDisconnect Action = "network-disconnect"

	ActionServiceCreate Action = "service-create"
	ActionServiceUpdate Action = "service-update"
	ActionServiceRemove Action = "service-remove"
	ActionNodeChange    Action = "node-change"
	ActionNetworkChange Action = "network-change"
)

// Event is one thing that happened in the Engine.
type Event struct {
	Action Action
	// Container is the ID of the container it happened to, Service that of the service.
	Container string
	Service   string
	// Network is the name of the network, for the network actions.
	Network string
	// Signal is the signal's number or name, for ActionKill.
	Signal string
	// ExitCode is for ActionDie; -1 when the Engine did not tell.
	ExitCode int
	Time     time.Time
}

// Subscription is a running stream of events.
type Subscription struct {
	decode func(events.Message) (Event, bool)
	events chan Event
	err    error
}

// Events delivers what happens, in order. The channel is closed when the stream ends.
func (s *Subscription) Events() <-chan Event { return s.events }

// Err says why the stream ended; call it after the channel was closed. It is nil when the context ended it.
func (s *Subscription) Err() error { return s.err }

// Subscribe starts a stream of container and network events, which lasts until ctx ends or the Engine goes away. When it
// returns without an error, what happens from now on is delivered: list the containers afterwards and no change is
// missed.
func (c *Client) Subscribe(ctx context.Context) (*Subscription, error) {
	return c.subscribe(ctx, eventFrom, make(client.Filters).
		Add("type", string(events.ContainerEventType), string(events.NetworkEventType)).
		Add("event", "create", "start", "kill", "die", "stop", "pause", "unpause", "health_status", "rename", "destroy",
			"connect", "disconnect"))
}

// SubscribeSwarm is Subscribe for what happens in the Swarm: to services, nodes and networks, and to a container of this Engine that joins or
// leaves one. Only a manager's Engine tells that, and none tells of tasks.
func (c *Client) SubscribeSwarm(ctx context.Context) (*Subscription, error) {
	return c.subscribe(ctx, swarmEventFrom, make(client.Filters).
		Add("type", string(events.ServiceEventType), string(events.NodeEventType), string(events.NetworkEventType)).
		Add("event", "create", "update", "remove", "connect", "disconnect"))
}

func (c *Client) subscribe(ctx context.Context, decode func(events.Message) (Event, bool), filters client.Filters) (*Subscription, error) {
	// A ping first: the library's stream has no way to bound the time until the Engine answers.
	if _, err := c.Ping(ctx); err != nil {
		return nil, err
	}
	options := client.EventsListOptions{Filters: filters}
	if c.Local() {
		// The Engine answers just before it subscribes us; events of that gap come from its buffer. Only with one
		// clock for both, as an old event of a remote Engine would be taken for a new one.
		options.Since = time.Now().Format(time.RFC3339Nano)
	}
	stream := c.api.Events(ctx, options)
	s := &Subscription{events: make(chan Event, 256), decode: decode}
	go c.follow(ctx, stream, s)
	return s, nil
}

func (c *Client) follow(ctx context.Context, stream client.EventsResult, s *Subscription) {
	defer close(s.events)
	for {
		select {
		case message := <-stream.Messages:
			event, ok := s.decode(message)
			if !ok {
				continue
			}
			select {
			case s.events <- event:
			case <-ctx.Done():
				return
			}
		case err := <-stream.Err:
			if ctx.Err() == nil {
				s.err = c.explain("follow the events", err)
			}
			return
		}
	}
}

// swarmEventFrom tells which service changed; of nodes and networks, that one did.
func swarmEventFrom(m events.Message) (Event, bool) {
	e := Event{Time: timeOf(m)}
	if m.Type == events.NetworkEventType && m.Scope != "swarm" {
		return eventFrom(m)
	}
	switch m.Type {
	case events.ServiceEventType:
		e.Action, e.Service = Action("service-"+m.Action), m.Actor.ID
	case events.NodeEventType:
		e.Action = ActionNodeChange
	case events.NetworkEventType:
		e.Action = ActionNetworkChange
	default:
		return Event{}, false
	}
	return e, true
}

func timeOf(m events.Message) time.Time {
	if m.TimeNano != 0 {
		return time.Unix(0, m.TimeNano)
	}
	return time.Unix(m.Time, 0)
}

func eventFrom(m events.Message) (Event, bool) {
	e := Event{Container: m.Actor.ID, Time: timeOf(m), ExitCode: -1}
	action, _, _ := strings.Cut(string(m.Action), ":") // "health_status: healthy"
	e.Action = Action(action)
	switch m.Type {
	case events.NetworkEventType:
		if e.Action != "connect" && e.Action != "disconnect" {
			return Event{}, false
		}
		e.Action = "network-" + e.Action
		e.Network, e.Container = m.Actor.Attributes["name"], m.Actor.Attributes["container"]
	case events.ContainerEventType:
		e.Signal = m.Actor.Attributes["signal"]
		if code, err := strconv.Atoi(m.Actor.Attributes["exitCode"]); err == nil {
			e.ExitCode = code
		}
	default:
		return Event{}, false
	}
	return e, e.Container != ""
}
