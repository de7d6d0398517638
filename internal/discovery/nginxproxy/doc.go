// Package nginxproxy reads the vocabulary of nginx-proxy: the environment variable VIRTUAL_HOST of a container and those that
// go with it. It is pure: a container in, routes and diagnostics out.
package nginxproxy
