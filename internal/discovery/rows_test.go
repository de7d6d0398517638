package discovery

import (
	"encoding/json"
	"testing"
)

func TestOwnsTellsTheRowsOfANodeFromAllOthers(t *testing.T) {
	for _, tc := range []struct {
		name, bucket, key, value string
		want                     bool
	}{
		{"a container of the node", BucketDeclarations, "container/1", `{"workload":{"id":"container/1","node":"n1"}}`, true},
		{"a container of another node", BucketDeclarations, "container/1", `{"workload":{"id":"container/1","node":"n2"}}`, false},
		{"a container's endpoint", BucketEndpoints, "container/1", `{"workload":"container/1","node":"n1"}`, true},
		{"a service", BucketDeclarations, "service/1", `{"workload":{"id":"service/1"}}`, false},
		{"a service that says to be of the node", BucketDeclarations, "service/1", `{"workload":{"node":"n1"}}`, false},
		{"a task on the node", BucketEndpoints, "task/1", `{"workload":"service/1","node":"n1"}`, false},
		{"a sighting of the node", BucketSightings, "1", `{"task":"1","node":"n1"}`, true},
		{"a sighting of another node", BucketSightings, "1", `{"task":"1","node":"n2"}`, false},
		{"certificates of the node", BucketCertSpecs, "container/1", `{"workload":{"id":"container/1","node":"n1"}}`, true},
		{"certificates of another node", BucketCertSpecs, "container/1", `{"workload":{"id":"container/1","node":"n2"}}`, false},
		{"certificates of a service", BucketCertSpecs, "service/1", `{"workload":{"id":"service/1","node":"n1"}}`, false},
		{"the mesh of the Swarm", BucketIngress, "mesh", `{"node":"n1"}`, false},
		{"nonsense", BucketEndpoints, "container/1", `[]`, false},
	} {
		if got := Owns("n1", tc.bucket, tc.key, json.RawMessage(tc.value)); got != tc.want {
			t.Errorf("%s: Owns = %v, want %v", tc.name, got, tc.want)
		}
	}
}

func TestOnlyWhatDiffersIsWritten(t *testing.T) {
	both := encoded{declaration: "d", endpoint: "e"}
	for _, tc := range []struct {
		name        string
		now, stands encoded
		want        []Change
	}{
		{"nothing", both, both, nil},
		{"a new row", both, encoded{}, []Change{{Bucket: BucketDeclarations, Key: "k", Value: []byte("d")}, {Bucket: BucketEndpoints, Key: "k", Value: []byte("e")}}},
		{"the endpoint went", encoded{declaration: "d"}, both, []Change{{Bucket: BucketEndpoints, Key: "k", Value: nil}}},
		{"certificates are wanted no more", both, encoded{declaration: "d", endpoint: "e", certificates: "c"}, []Change{{Bucket: BucketCertSpecs, Key: "k", Value: nil}}},
		{"all went", encoded{}, both, []Change{{Bucket: BucketDeclarations, Key: "k", Value: nil}, {Bucket: BucketEndpoints, Key: "k", Value: nil}}},
		{"after a failure", encoded{sighting: "s"}, unsure("k"), []Change{{Bucket: BucketDeclarations, Key: "k", Value: nil}, {Bucket: BucketEndpoints, Key: "k", Value: nil}, {Bucket: BucketSightings, Key: "k", Value: []byte("s")}, {Bucket: BucketCertSpecs, Key: "k", Value: nil}}},
		{"after a failure to tell of the mesh", encoded{ingress: "i"}, unsure(ingressKey), []Change{{Bucket: BucketIngress, Key: "k", Value: []byte("i")}}},
	} {
		got, want := tc.now.changes("k", tc.stands), tc.want
		same := len(got) == len(want)
		for i := 0; same && i < len(got); i++ {
			same = got[i].Bucket == want[i].Bucket && got[i].Key == want[i].Key && string(got[i].Value) == string(want[i].Value)
		}
		if !same {
			t.Errorf("%s: %v, want %v", tc.name, got, want)
		}
	}
}
