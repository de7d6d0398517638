package docker

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/moby/client"
)

// The states of the last update of a service.
const (
	UpdateRunning   = "updating"
	UpdatePaused    = "paused"
	UpdateCompleted = "completed"
)

// ServiceUpdate is how the last update of a service is (Service.UpdateStatus).
type ServiceUpdate struct {
	// State is empty when there was none, and until an update has begun: UpdateRunning, UpdatePaused, UpdateCompleted, or one that begins with "rollback_".
	State string
	// Message says more, such as which task failed.
	Message string
}

func updateFrom(s *swarm.UpdateStatus) ServiceUpdate {
	if s == nil {
		return ServiceUpdate{}
	}
	return ServiceUpdate{State: string(s.State), Message: s.Message}
}

// labelStackImage is where "docker stack deploy" keeps which image the stack's file named, to tell whether that has changed.
const labelStackImage = "com.docker.stack.image"

// SetImage gives a service another image, and begins to update its tasks; of the rest of what it declares nothing changes. errors.Is(err, ErrConflict)
// tells that somebody else changed it at the same time.
func (c *Client) SetImage(ctx context.Context, service, image string) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	result, err := c.api.ServiceInspect(ctx, service, client.ServiceInspectOptions{})
	if err != nil {
		return c.explain("inspect service "+service, err)
	}
	spec := result.Service.Spec
	if spec.TaskTemplate.ContainerSpec == nil {
		return fmt.Errorf("cannot set the image of service %s: its tasks are no containers", spec.Name)
	}
	spec.TaskTemplate.ContainerSpec.Image = image
	if spec.Labels[labelStackImage] != "" {
		spec.Labels[labelStackImage], _, _ = strings.Cut(image, "@")
	}
	_, err = c.api.ServiceUpdate(ctx, result.Service.ID, client.ServiceUpdateOptions{
		Version: result.Service.Version, Spec: spec, RegistryAuthFrom: swarm.RegistryAuthFromSpec,
	})
	return c.explainUpdate("set the image of service "+spec.Name, err)
}

// registryTimeout bounds a question to a registry; without a way to one it may never be answered.
const registryTimeout = 10 * time.Second

// PinImage asks the image's registry, through the Engine, for the digest, and gives the name of the image with it: so all nodes run the same. An image that has a digest
// already is given as it is.
func (c *Client) PinImage(ctx context.Context, image string) (string, error) {
	if strings.Contains(image, "@") {
		return image, nil
	}
	ctx, cancel := context.WithTimeout(ctx, registryTimeout)
	defer cancel()
	result, err := c.api.DistributionInspect(ctx, image, client.DistributionInspectOptions{})
	if err != nil {
		return "", c.explain("learn the digest of image "+image, err)
	}
	return image + "@" + result.Descriptor.Digest.String(), nil
}

// ServicesNamed returns the services of exactly these names, in their order; for names that no service has there is none.
func (c *Client) ServicesNamed(ctx context.Context, names ...string) ([]Service, error) {
	filters := make(client.Filters)
	for _, name := range names {
		filters = filters.Add("name", name)
	}
	list, err := c.services(ctx, filters)
	if err != nil {
		return nil, err
	}
	list = slices.DeleteFunc(list, func(s Service) bool { return !slices.Contains(names, s.Name) }) // the filter takes prefixes
	slices.SortFunc(list, func(a, b Service) int { return slices.Index(names, a.Name) - slices.Index(names, b.Name) })
	return list, nil
}
