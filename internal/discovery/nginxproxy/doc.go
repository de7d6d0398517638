// Package nginxproxy reads the vocabulary of nginx-proxy: the environment variable VIRTUAL_HOST of a container and those that
// go with it, and ACME_HOST of its companion for certificates, acme-companion. It is pure: a container in, routes, certificates and diagnostics out.
package nginxproxy
