// Package handover passes listening sockets from a running process to the one that takes its place, over a unix socket in a
// directory that both know. It knows nothing of what the sockets are for.
package handover
