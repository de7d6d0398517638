package docker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/moby/client"
)

// What a Swarm answers when something is not as the caller expects.
var (
	ErrExists   = errors.New("the name is taken already")
	ErrConflict = errors.New("it was changed meanwhile")
)

// SwarmConfig is a config of a Swarm (GET /configs): some bytes, which never change and which every manager can read, and labels.
type SwarmConfig struct {
	ID, Name string
	// Version grows with each change of the labels.
	Version uint64
	Labels  map[string]string
	Data    []byte
	Created time.Time
}

// SwarmConfig returns the config of exactly that name. errors.Is(err, ErrNotFound) tells that the Swarm has none.
func (c *Client) SwarmConfig(ctx context.Context, name string) (SwarmConfig, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	result, err := c.api.ConfigList(ctx, client.ConfigListOptions{Filters: make(client.Filters).Add("name", name)})
	if err != nil {
		return SwarmConfig{}, c.explain("read config "+name, err)
	}
	for _, item := range result.Items { // the filter takes a prefix
		if item.Spec.Name == name {
			return SwarmConfig{
				ID: item.ID, Name: name, Version: item.Version.Index, Labels: item.Spec.Labels, Data: item.Spec.Data, Created: item.CreatedAt.UTC(),
			}, nil
		}
	}
	return SwarmConfig{}, fmt.Errorf("cannot read config %s: %w", name, ErrNotFound)
}

// CreateSwarmConfig creates a config. errors.Is(err, ErrExists) tells that there is one of that name.
func (c *Client) CreateSwarmConfig(ctx context.Context, name string, labels map[string]string, data []byte) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	_, err := c.api.ConfigCreate(ctx, client.ConfigCreateOptions{Spec: swarm.ConfigSpec{Annotations: swarm.Annotations{Name: name, Labels: labels}, Data: data}})
	return c.explainCreate("config "+name, err)
}

// LabelSwarmConfig gives the config these labels in place of those that it has, provided that it is still at cfg.Version: of several callers
// at once one succeeds. For the others errors.Is(err, ErrConflict).
func (c *Client) LabelSwarmConfig(ctx context.Context, cfg SwarmConfig, labels map[string]string) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	_, err := c.api.ConfigUpdate(ctx, cfg.ID, client.ConfigUpdateOptions{
		Version: swarm.Version{Index: cfg.Version},
		Spec:    swarm.ConfigSpec{Annotations: swarm.Annotations{Name: cfg.Name, Labels: maps.Clone(labels)}, Data: cfg.Data},
	})
	return c.explainUpdate("label config "+cfg.Name, err)
}

// explainCreate tells a name that is taken from other failures.
func (c *Client) explainCreate(what string, err error) error {
	switch {
	case err == nil:
		return nil
	case cerrdefs.IsConflict(err) || cerrdefs.IsAlreadyExists(err):
		return fmt.Errorf("cannot create %s: %w", what, ErrExists)
	}
	return c.explain("create "+what, err)
}

// explainUpdate tells a version that is not the last from other failures.
func (c *Client) explainUpdate(op string, err error) error {
	switch {
	case err == nil:
		return nil
	// Engines answer this with status 500, and with these words (swarmkit, manager/state/store, ErrSequenceConflict).
	case strings.Contains(err.Error(), "update out of sequence"):
		return fmt.Errorf("cannot %s: %w", op, ErrConflict)
	}
	return c.explain(op, err)
}
