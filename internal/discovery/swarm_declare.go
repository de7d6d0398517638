package discovery

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/docker"
)

// declaredByService reads what one service declares: by the environment of its containers, by its own labels (deploy.labels), and by those of
// its containers, which yield to them key by key.
func declaredByService(s docker.Service) declared {
	labels := maps.Clone(s.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	for _, key := range slices.Sorted(maps.Keys(s.ContainerLabels)) {
		if _, found := findLabel(s.Labels, key); !found {
			labels[key] = s.ContainerLabels[key]
		}
	}
	maps.DeleteFunc(labels, func(key, _ string) bool { return ofSwarm(key) })
	c := docker.Container{Name: s.Name, Created: s.Created, Image: s.Image, Env: s.Env, Labels: labels}
	for _, p := range s.Ports {
		port := docker.Port{Number: p.Target, Protocol: p.Protocol}
		if !slices.Contains(c.ExposedPorts, port) {
			c.ExposedPorts = append(c.ExposedPorts, port)
		}
	}
	found := readAll(c)
	if s.Job && !found.nothing() {
		return declared{diagnostics: []ruche.Diagnostic{{
			Code: ruche.CodeKeyUnsupported, Severity: ruche.SeverityInfo, Workload: s.Name, Source: "mode",
			Message: "the tasks of a job run to an end; it is not published", Hint: "make it a replicated or global service to publish it",
		}}}
	}
	for i := range found.routes {
		r := &found.routes[i]
		r.Source, r.PortReason = placeOf(s, r.Source), aboutPorts(placeOf(s, r.PortReason))
	}
	for i := range found.certificates {
		spec := &found.certificates[i]
		spec.Source = placeOf(s, spec.Source)
	}
	for i := range found.diagnostics {
		d := &found.diagnostics[i]
		d.Source, d.Message, d.Hint = placeOf(s, d.Source), ofService(d.Message), ofService(d.Hint)
		if d.Code == ruche.CodePortGuessed || d.Code == ruche.CodePortMissing {
			d.Message = aboutPorts(d.Message)
		}
	}
	return found
}

// ofService puts into words that it is the service that declares, for all of its containers.
func ofService(text string) string {
	return strings.NewReplacer("this container", "this service", "the same container", "the same service").Replace(text)
}

// placeOf tells on which of the two a label stands: people write both, and only one is in force.
func placeOf(s docker.Service, source string) string {
	rest, isLabel := strings.CutPrefix(source, "label ")
	if !isLabel {
		return source
	}
	key, _, _ := strings.Cut(rest, ", column ")
	has := func(labels map[string]string) bool {
		_, found := labels[key]
		shown, clipped := strings.CutSuffix(key, "...")
		for k := range labels {
			found = found || clipped && strings.HasPrefix(k, shown)
		}
		return found
	}
	switch {
	case has(s.Labels):
		return "service " + source
	case has(s.ContainerLabels):
		return "container " + source
	}
	return source // one that is missing
}

// aboutPorts says what is known of a service's ports: those that it publishes. What its image exposes is told by no manager, which may not even have the image.
func aboutPorts(text string) string {
	text = strings.Replace(text, "no port is exposed", "the service publishes no port, what its image exposes is not known", 1)
	text = strings.Replace(text, "the container exposes no port", "the service publishes no port (what its image exposes is not known)", 1)
	return strings.Replace(text, "exposed", "published", 1)
}

// swarmLabels are the labels that only a service has a use for. Both forms are Traefik's: of the provider that it has now, and the one that it had.
func swarmLabels() []string {
	return []string{"traefik.swarm.network", "traefik.docker.network", "traefik.swarm.lbswarm", "traefik.docker.lbswarm"}
}

// ofSwarm reports whether a label is read by discovery itself.
func ofSwarm(key string) bool {
	return key == roleLabel || slices.ContainsFunc(swarmLabels(), func(l string) bool { return strings.EqualFold(l, key) })
}

// findLabel finds a label without regard to case; of several that differ in case only, the one that sorts first.
func findLabel(labels map[string]string, key string) (string, bool) {
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		if strings.EqualFold(k, key) {
			return strings.TrimSpace(labels[k]), true
		}
	}
	return "", false
}

// labelOf returns the first of some labels that a service or its containers have, and where it stands.
func labelOf(s docker.Service, keys ...string) (value, place string) {
	for _, key := range keys {
		if v, found := findLabel(s.Labels, key); found {
			return v, "service label " + key
		}
		if v, found := findLabel(s.ContainerLabels, key); found {
			return v, "container label " + key
		}
	}
	return "", ""
}

// networkLabelOf returns the network that a label of the service names.
func networkLabelOf(s docker.Service) (network, place string) {
	return labelOf(s, "traefik.swarm.network", "traefik.docker.network")
}

// lbLabelOf returns the label that asks for the balancing of the Swarm.
func lbLabelOf(s docker.Service) (value, place string) {
	return labelOf(s, "traefik.swarm.lbswarm", "traefik.docker.lbswarm")
}

// wantsVIP reports whether a service asks for its virtual address instead of its tasks.
func wantsVIP(s docker.Service) bool {
	value, _ := lbLabelOf(s)
	wanted, err := strconv.ParseBool(strings.ToLower(value))
	return err == nil && wanted
}
