package docker

import (
	"context"
	"fmt"

	"github.com/moby/moby/client"
)

// BindVolume makes a volume of this Engine that is a directory of its host. One that is there already is left as it is, and an error where it is something
// else: for that errors.Is(err, ErrExists).
func (c *Client) BindVolume(ctx context.Context, name, dir string) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	result, err := c.api.VolumeCreate(ctx, client.VolumeCreateOptions{
		Name: name, Driver: "local", DriverOpts: map[string]string{"type": "none", "o": "bind", "device": dir},
	})
	if err != nil {
		return c.explainCreate("volume "+name, err)
	}
	if result.Volume.Options["device"] != dir { // the Engine gives the one that is there
		return fmt.Errorf("cannot make volume %s of %s: %w", name, dir, ErrExists)
	}
	return nil
}
