// Package traefik reads the vocabulary of Traefik's labels. It is pure: a container in, routes and diagnostics out.
package traefik
