// Package discovery finds out what runs and what it declares: containers of the Docker Engine by list and events, services of a
// Swarm in the same way, and route files. It writes one ruche.Declaration for each of them, and one ruche.Endpoint for each container or
// task that is to take requests. The vocabularies are in packages of their own below it.
package discovery
