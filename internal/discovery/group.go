package discovery

import (
	"cmp"
	"strings"

	"github.com/ruche-project/ruche/internal/docker"
)

const oneOffLabel = "com.docker.compose.oneoff"

// oneOff reports whether a container was made by docker compose run. It carries all that its service declares, but is a shell or a
// task next to the service.
func oneOff(c docker.Container) bool { return strings.EqualFold(c.Labels[oneOffLabel], "true") }

// groupOf is what stays the same when a container is re-created: project, service and number of Compose, service and slot of
// Swarm, else the name.
func groupOf(c docker.Container) string {
	if service := c.Labels["com.docker.swarm.service.name"]; service != "" {
		// A task is called service.slot.ID; of a global service, service.node.ID.
		name := cmp.Or(c.Labels["com.docker.swarm.task.name"], c.Name)
		if end := strings.LastIndexByte(name, '.'); end > len(service) && strings.HasPrefix(name, service+".") {
			return "swarm/" + name[:end]
		}
	}
	project, service := c.Labels["com.docker.compose.project"], c.Labels["com.docker.compose.service"]
	if project == "" || service == "" || oneOff(c) {
		return c.Name
	}
	return project + "/" + service + "/" + c.Labels["com.docker.compose.container-number"]
}
