// Package cluster holds the state that is replicated between the members of a Ruche cluster, and offers three ideas: buckets of
// typed values that can be watched, leading (run something on one member only), and members. It stands on an
// embedded etcd, of which it is the only importer; nothing of etcd shows in its interface.
package cluster
