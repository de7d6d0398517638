package traefik

import (
	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/docker"
)

// Routes reads the labels of one container.
func Routes(_ docker.Container) ([]ruche.Route, []ruche.Diagnostic) { return nil, nil }
