package discovery

import (
	"context"
	"encoding/json"
	"strings"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/cluster"
)

// The buckets that discovery writes.
const (
	BucketDeclarations = "declarations"
	BucketEndpoints    = "endpoints"
	BucketSightings    = "sightings"
	BucketIngress      = "ingress"
	BucketCertSpecs    = "certspecs"
)

// State is where the rows of one owner are written, and read after a start: the cluster's, or that of a control node far away.
type State interface {
	// Load gives the values of the owner's rows, by bucket and key.
	Load(ctx context.Context) (map[string]map[string]json.RawMessage, error)
	// Apply makes all changes or none.
	Apply(ctx context.Context, changes []Change) error
}

// Change is one write to State.
type Change = ruche.Change

// maxChanges is the number of changes that every State takes at once: a transaction of the cluster holds 128.
const maxChanges = 120

// The keys of what belongs to the Swarm as a whole begin with these; all other rows belong to a node.
const (
	servicePrefix = "service/"
	taskPrefix    = "task/"
)

// Owns reports whether a row belongs to a node: what was found on it, but nothing of the Swarm's services.
func Owns(node, bucket, key string, value json.RawMessage) bool {
	if bucket == BucketIngress || strings.HasPrefix(key, servicePrefix) || strings.HasPrefix(key, taskPrefix) {
		return false
	}
	var of struct {
		Node     string          `json:"node"`
		Workload json.RawMessage `json:"workload"`
	}
	if json.Unmarshal(value, &of) != nil {
		return false
	}
	if bucket == BucketDeclarations || bucket == BucketCertSpecs {
		var w ruche.Workload
		return json.Unmarshal(of.Workload, &w) == nil && w.Node == node
	}
	return of.Node == node
}

// ClusterState is the State of a process that is a member of the cluster.
type ClusterState struct {
	cluster *cluster.Cluster
	buckets map[string]*cluster.Bucket[json.RawMessage]
	owns    func(bucket, key string, value json.RawMessage) bool
}

// NodeState gives the rows of a node.
func NodeState(c *cluster.Cluster, node string) *ClusterState {
	return newClusterState(c, func(bucket, key string, value json.RawMessage) bool { return Owns(node, bucket, key, value) })
}

// SwarmState gives the rows of the Swarm: those of its services and tasks, and what it is like.
func SwarmState(c *cluster.Cluster) *ClusterState {
	return newClusterState(c, func(bucket, key string, _ json.RawMessage) bool {
		return bucket == BucketIngress || strings.HasPrefix(key, servicePrefix) || strings.HasPrefix(key, taskPrefix)
	})
}

func newClusterState(c *cluster.Cluster, owns func(bucket, key string, value json.RawMessage) bool) *ClusterState {
	s := &ClusterState{cluster: c, owns: owns, buckets: map[string]*cluster.Bucket[json.RawMessage]{}}
	for _, name := range []string{BucketDeclarations, BucketEndpoints, BucketSightings, BucketIngress, BucketCertSpecs} {
		s.buckets[name] = cluster.NewBucket[json.RawMessage](c, name)
	}
	return s
}

// Load gives the values of the owner's rows, by bucket and key.
func (s *ClusterState) Load(ctx context.Context) (map[string]map[string]json.RawMessage, error) {
	rows := make(map[string]map[string]json.RawMessage, len(s.buckets))
	for name, bucket := range s.buckets {
		all, err := bucket.List(ctx)
		if err != nil {
			return nil, err
		}
		rows[name] = map[string]json.RawMessage{}
		for key, entry := range all {
			if s.owns(name, key, entry.Value) {
				rows[name][key] = entry.Value
			}
		}
	}
	return rows, nil
}

// Apply makes all changes or none.
func (s *ClusterState) Apply(ctx context.Context, changes []Change) error {
	ops := make([]cluster.Op, 0, len(changes))
	for _, c := range changes {
		if c.Value == nil {
			ops = append(ops, s.buckets[c.Bucket].DeleteOp(c.Key))
		} else {
			ops = append(ops, s.buckets[c.Bucket].PutOp(c.Key, c.Value))
		}
	}
	return s.cluster.Apply(ctx, ops...)
}
