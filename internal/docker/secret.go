package docker

import (
	"context"
	"errors"
	"fmt"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/moby/client"
)

// ErrInUse tells that something cannot be removed because a service has it.
var ErrInUse = errors.New("a service uses it")

// Secrets returns the names of the Swarm's secrets. What is in them no Engine tells.
func (c *Client) Secrets(ctx context.Context) ([]string, error) {
	list, err := c.secrets(ctx)
	names := make([]string, 0, len(list))
	for _, s := range list {
		names = append(names, s.Spec.Name)
	}
	return names, err
}

func (c *Client) secrets(ctx context.Context) ([]swarm.Secret, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	result, err := c.api.SecretList(ctx, client.SecretListOptions{})
	if err != nil {
		return nil, c.explain("list the secrets", err)
	}
	return result.Items, nil
}

// CreateSecret creates a secret. errors.Is(err, ErrExists) tells that there is one of that name.
func (c *Client) CreateSecret(ctx context.Context, name string, data []byte) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	_, err := c.api.SecretCreate(ctx, client.SecretCreateOptions{Spec: swarm.SecretSpec{Annotations: swarm.Annotations{Name: name}, Data: data}})
	return c.explainCreate("secret "+name, err)
}

// RemoveSecret removes the secret of exactly that name. For one that a service has errors.Is(err, ErrInUse); for one that is not there errors.Is(err, ErrNotFound).
func (c *Client) RemoveSecret(ctx context.Context, name string) error {
	list, err := c.secrets(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	for _, s := range list {
		if s.Spec.Name != name {
			continue
		}
		_, err := c.api.SecretRemove(ctx, s.ID, client.SecretRemoveOptions{})
		switch {
		case err == nil:
			return nil
		case cerrdefs.IsInvalidArgument(err): // "is in use by the following service"
			return fmt.Errorf("cannot remove secret %s: %w: %w", name, ErrInUse, err)
		}
		return c.explain("remove secret "+name, err)
	}
	return fmt.Errorf("cannot remove secret %s: %w", name, ErrNotFound)
}
