package fakeengine

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Container says how to create a container.
type Container struct {
	Name   string // without the leading slash
	Image  string
	Env    []string // "KEY=value"
	Labels map[string]string
	// Ports are the exposed ports: "80/tcp".
	Ports []string
	// Networks are the names of the networks it joins; nil means "bridge". The network must exist.
	Networks []string
	// NetworkMode is "host", "none", "container:<ID>", or empty for Networks.
	NetworkMode string
	// HealthCheck gives it a health state: starting at each start, then what SetHealth says.
	HealthCheck bool
	StopSignal  string
	StopTimeout int // seconds; 0 is not declared
	// Created defaults to now.
	Created time.Time
}

// Network says how to create a network.
type Network struct {
	Name     string
	Driver   string
	Internal bool
	Ingress  bool
	Subnets  []string // as its IPAM tells them
	// Attachable lets containers in that are no tasks.
	Attachable bool
	// IPv6Only gives containers no IPv4 address.
	IPv6Only bool
}

type container struct {
	Container
	id        string
	status    string
	health    string
	exitCode  int
	startedAt time.Time
	endpoints map[string]endpoint // by network name
}

type endpoint struct{ ipv4, ipv6, gateway string }

type network struct {
	Network
	id     string
	index  int
	serial int
}

// AddNetwork creates a network.
func (e *Engine) AddNetwork(n Network) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.serial++
	e.networks[n.Name] = &network{Network: n, id: id(e.serial), index: len(e.networks)}
}

// Create creates a container without starting it and returns its ID.
func (e *Engine) Create(c Container) string {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.serial++
	if c.Created.IsZero() {
		c.Created = time.Now()
	}
	made := &container{Container: c, id: id(e.serial), status: "created", endpoints: map[string]endpoint{}}
	switch {
	case c.NetworkMode == "host" || c.NetworkMode == "none":
		made.endpoints[c.NetworkMode] = endpoint{}
	case c.NetworkMode != "":
	case c.Networks == nil:
		made.endpoints["bridge"] = endpoint{}
	default:
		for _, name := range c.Networks {
			made.endpoints[name] = endpoint{}
		}
	}
	e.containers[made.id] = made
	e.emit(made, "create", nil)
	return made.id
}

// Run creates a container and starts it.
func (e *Engine) Run(c Container) string {
	id := e.Create(c)
	e.Start(id)
	return id
}

// Start starts a container; its addresses are new ones.
func (e *Engine) Start(id string) {
	e.change(id, func(c *container) {
		c.status, c.startedAt, c.exitCode = "running", time.Now(), 0
		if c.HealthCheck {
			c.health = "starting"
		}
		for name := range c.endpoints {
			c.endpoints[name] = e.address(name)
			e.emitNetwork(c, name, "connect")
		}
		e.emit(c, "start", nil)
	})
}

// Kill sends a signal; the container goes on running until Die.
func (e *Engine) Kill(id string, signal int) {
	e.change(id, func(c *container) {
		e.emit(c, "kill", map[string]string{"signal": strconv.Itoa(signal)})
	})
}

// Die ends a container with an exit code.
func (e *Engine) Die(id string, code int) {
	e.change(id, func(c *container) {
		e.die(c, code)
	})
}

func (e *Engine) die(c *container, code int) {
	c.status, c.exitCode, c.health = "exited", code, ""
	e.emit(c, "die", map[string]string{"exitCode": strconv.Itoa(code)})
	for name := range c.endpoints {
		e.emitNetwork(c, name, "disconnect")
		c.endpoints[name] = endpoint{}
	}
}

// Stop does what docker stop does with a container that ends at once: kill, die, stop.
func (e *Engine) Stop(id string) {
	e.change(id, func(c *container) {
		e.emit(c, "kill", map[string]string{"signal": "15"})
		e.die(c, 0)
		e.emit(c, "stop", nil)
	})
}

// Restarting puts a container in the state between two attempts of its restart policy.
func (e *Engine) Restarting(id string, code int) {
	e.change(id, func(c *container) {
		e.die(c, code)
		c.status = "restarting"
	})
}

// Pause freezes a container.
func (e *Engine) Pause(id string) {
	e.change(id, func(c *container) { c.status = "paused"; e.emit(c, "pause", nil) })
}

// Unpause lets it go on.
func (e *Engine) Unpause(id string) {
	e.change(id, func(c *container) { c.status = "running"; e.emit(c, "unpause", nil) })
}

// SetHealth tells the result of a health check: healthy or unhealthy.
func (e *Engine) SetHealth(id, status string) {
	e.change(id, func(c *container) { c.health = status; e.emit(c, "health_status: "+status, nil) })
}

// Rename gives a container another name.
func (e *Engine) Rename(id, name string) {
	e.change(id, func(c *container) { c.Name = name; e.emit(c, "rename", nil) })
}

// Remove removes a container; one that runs is killed first, as docker rm -f does.
func (e *Engine) Remove(id string) {
	e.change(id, func(c *container) {
		if c.status == "running" {
			e.emit(c, "kill", map[string]string{"signal": "9"})
			e.die(c, 137)
		}
		delete(e.containers, id)
		e.emit(c, "destroy", nil)
	})
}

// Connect attaches a container to a network.
func (e *Engine) Connect(id, name string) {
	e.change(id, func(c *container) {
		c.endpoints[name] = endpoint{}
		if c.status == "running" {
			c.endpoints[name] = e.address(name)
		}
		e.emitNetwork(c, name, "connect")
	})
}

// Disconnect takes a container off a network.
func (e *Engine) Disconnect(id, name string) {
	e.change(id, func(c *container) { delete(c.endpoints, name); e.emitNetwork(c, name, "disconnect") })
}

// Address returns a container's IPv4 address in a network.
func (e *Engine) Address(id, network string) string {
	e.mu.Lock()
	defer e.mu.Unlock()
	if c := e.containers[id]; c != nil {
		return c.endpoints[network].ipv4
	}
	return ""
}

// Quietly changes containers without telling anybody: the events of what f does are lost.
func (e *Engine) Quietly(f func()) {
	e.mu.Lock()
	streams := e.streams
	e.streams = map[*stream]struct{}{}
	e.mu.Unlock()
	f()
	e.mu.Lock()
	defer e.mu.Unlock()
	maps.Copy(e.streams, streams)
}

func (e *Engine) change(id string, f func(*container)) {
	e.t.Helper()
	e.mu.Lock()
	defer e.mu.Unlock()
	c := e.containers[id]
	if c == nil {
		e.t.Errorf("the fake engine has no container %s", id)
		return
	}
	f(c)
}

// address gives the next free address of a network; networks without addresses give none.
func (e *Engine) address(name string) endpoint {
	n := e.networks[name]
	if n == nil || n.Driver == "host" || n.Driver == "null" {
		return endpoint{}
	}
	n.serial++
	host := n.serial + 1
	made := endpoint{
		ipv4:    fmt.Sprintf("10.%d.%d.%d", n.index, host/250, host%250+1),
		gateway: fmt.Sprintf("10.%d.0.1", n.index),
	}
	if n.IPv6Only {
		return endpoint{ipv6: fmt.Sprintf("fd00:%x::%x", n.index, host)}
	}
	return made
}

func (c *container) running() bool {
	return c.status == "running" || c.status == "paused" || c.status == "restarting"
}

func (c *container) summary(networks map[string]*network) map[string]any {
	status := map[string]string{"running": "Up 5 minutes", "paused": "Up 5 minutes (Paused)", "exited": "Exited (0) 1 minute ago"}[c.status]
	if c.health != "" && c.status == "running" {
		status += " (" + strings.Replace(c.health, "starting", "health: starting", 1) + ")"
	}
	return map[string]any{
		"Id": c.id, "Names": []string{"/" + c.Name}, "Image": c.Image, "Created": c.Created.Unix(),
		"Labels": c.Labels, "State": c.status, "Status": status,
		"HostConfig":      map[string]any{"NetworkMode": c.mode()},
		"NetworkSettings": map[string]any{"Networks": c.networkSettings(networks)},
	}
}

func (c *container) inspect(networks map[string]*network) map[string]any {
	exposed, ports := map[string]any{}, map[string]any{}
	for _, p := range c.Ports {
		exposed[p] = struct{}{}
		if c.running() {
			ports[p] = nil
		}
	}
	state := map[string]any{
		"Status": c.status, "Running": c.running(), "Paused": c.status == "paused", "Restarting": c.status == "restarting",
		"ExitCode": c.exitCode, "StartedAt": c.startedAt.UTC().Format(time.RFC3339Nano),
	}
	if c.health != "" {
		state["Health"] = map[string]any{"Status": c.health}
	}
	config := map[string]any{"Image": c.Image, "Env": c.Env, "Labels": c.Labels, "ExposedPorts": exposed, "StopSignal": c.StopSignal}
	if c.StopTimeout > 0 {
		config["StopTimeout"] = c.StopTimeout
	}
	return map[string]any{
		"Id": c.id, "Name": "/" + c.Name, "Created": c.Created.UTC().Format(time.RFC3339Nano), "State": state,
		"HostConfig": map[string]any{"NetworkMode": c.mode()}, "Config": config,
		"NetworkSettings": map[string]any{"Ports": ports, "Networks": c.networkSettings(networks)},
	}
}

func (c *container) mode() string {
	if c.NetworkMode != "" {
		return c.NetworkMode
	}
	names := slices.Sorted(maps.Keys(c.endpoints))
	if len(names) == 0 {
		return "none"
	}
	return names[0]
}

func (c *container) networkSettings(networks map[string]*network) map[string]any {
	settings := map[string]any{}
	for name, e := range c.endpoints {
		entry := map[string]any{"IPAddress": e.ipv4, "Gateway": e.gateway, "GlobalIPv6Address": e.ipv6}
		if n := networks[name]; n != nil {
			entry["NetworkID"] = n.id
		}
		settings[name] = entry
	}
	return settings
}
