package mesh

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/ruche-project/ruche"
)

// The buckets that nodes other than control ones read or write.
const (
	bucketDeclarations = "declarations"
	bucketEndpoints    = "endpoints"
	bucketSightings    = "sightings"
	bucketIngress      = "ingress"
	bucketCertificates = "certificates"
	bucketChallenges   = "challenges"
	bucketTickets      = "tickets"
	bucketECH          = "ech"
	bucketServed       = "served"
	bucketCertSpecs    = "certspecs"
)

// access says who may do what with a bucket. What is not named, nobody may.
type access struct {
	follow []Role
	write  []Role
	// check says what keeps a node from writing a value under a key.
	check func(node, key string, value json.RawMessage) error
	// limit says what keeps a new value from being taken that is the node's to write; nil: nothing does.
	limit func(key string, value json.RawMessage) error
}

func accessTo(bucket string) access {
	switch bucket {
	case bucketDeclarations:
		return access{follow: []Role{RoleEdge}, write: []Role{RoleAgent}, check: checkDeclaration}
	case bucketEndpoints:
		return access{follow: []Role{RoleEdge}, write: []Role{RoleAgent}, check: checkEndpoint}
	case bucketIngress, bucketCertificates, bucketChallenges, bucketTickets, bucketECH:
		return access{follow: []Role{RoleEdge}}
	case ruche.BucketTrust: // nothing in it is secret
		return access{follow: []Role{RoleEdge, RoleAgent}}
	case bucketServed:
		return access{write: []Role{RoleEdge}, check: checkServed, limit: limitServed}
	case bucketSightings:
		return access{write: []Role{RoleAgent}, check: checkSighting}
	case bucketCertSpecs: // an edge never gets them: keys of accounts and of DNS providers may be among them
		return access{write: []Role{RoleAgent}, check: checkCertSpecs}
	}
	return access{}
}

func mayFollow(p Peer, bucket string) bool {
	return slices.ContainsFunc(accessTo(bucket).follow, p.has)
}

// Rows are the values in the state that belong to one node.
type Rows interface {
	// Load gives them by bucket and key.
	Load(ctx context.Context) (map[string]map[string]json.RawMessage, error)
	// Apply makes all changes or none. It is asked only for what the node may change.
	Apply(ctx context.Context, changes []ruche.Change) error
}

// maxChanges is how many changes are made at once.
const maxChanges = 128

// apply makes changes that an agent or an edge asks for, if all of them are of its own rows.
func (s *Server) apply(w http.ResponseWriter, r *http.Request, p Peer) error {
	var changes []ruche.Change
	if err := readBody(w, r, maxBody, &changes); err != nil {
		return err
	}
	if len(changes) > maxChanges {
		return refuse(ReasonBadRequest, fmt.Sprintf("there are %d changes, at most %d are made at once", len(changes), maxChanges))
	}
	if err := s.needQuorum(); err != nil {
		return err
	}
	if err := s.mayWriteAll(r.Context(), p, changes); err != nil {
		return err
	}
	if err := s.cfg.Rows(p.Name).Apply(r.Context(), changes); err != nil {
		return unavailable(err)
	}
	answer(w, struct{}{})
	return nil
}

// mayWriteAll checks all changes at once: each asks a majority of the control nodes for what is there now, and who asks together waits once.
func (s *Server) mayWriteAll(ctx context.Context, p Peer, changes []ruche.Change) error {
	errs := make([]error, len(changes))
	var checks sync.WaitGroup
	for i, c := range changes {
		checks.Go(func() { errs[i] = s.mayWrite(ctx, p, c) })
	}
	checks.Wait()
	return cmp.Or(errs...) // the first
}

// mayWrite checks one change: the new value has to be of the node, and what is there now as well.
func (s *Server) mayWrite(ctx context.Context, p Peer, c ruche.Change) error {
	a := accessTo(c.Bucket)
	if !slices.ContainsFunc(a.write, p.has) {
		return refuse(ReasonRole, fmt.Sprintf("this node must not write %.32q", c.Bucket))
	}
	if c.Value != nil {
		if err := a.check(p.Name, c.Key, c.Value); err != nil {
			return refuse(ReasonNotOwner, fmt.Sprintf("node %s must not write %s %.128q: %v", p.Name, c.Bucket, c.Key, err))
		}
		if a.limit != nil {
			if err := a.limit(c.Key, c.Value); err != nil {
				return refuse(ReasonTooLarge, fmt.Sprintf("node %s must not write %s %.128q: %v", p.Name, c.Bucket, c.Key, err))
			}
		}
	}
	entry, err := s.cfg.Buckets[c.Bucket].Get(ctx, c.Key)
	switch {
	case errors.Is(err, ruche.ErrNotFound):
		return nil
	case err != nil:
		return unavailable(err)
	}
	if err := a.check(p.Name, c.Key, entry.Value); err != nil {
		return refuse(ReasonNotOwner, fmt.Sprintf("node %s must not write %s %.128q, which is another's: %v", p.Name, c.Bucket, c.Key, err))
	}
	return nil
}

// load gives an agent what it wrote, so that it knows after a start.
func (s *Server) load(w http.ResponseWriter, r *http.Request, p Peer) error {
	rows, err := s.cfg.Rows(p.Name).Load(r.Context())
	if err != nil {
		return unavailable(err)
	}
	answer(w, rows)
	return nil
}

// errOthers is about rows that say nothing of a node: those of services and tasks are written by control nodes alone.
var errOthers = errors.New("it is not about this node")

func checkDeclaration(node, key string, value json.RawMessage) error {
	var d ruche.Declaration
	if err := decode(value, &d); err != nil {
		return err
	}
	if d.Workload.Node != node || d.Workload.ID != key || ofSwarm(key) {
		return errOthers
	}
	return nil
}

func checkEndpoint(node, key string, value json.RawMessage) error {
	var e ruche.Endpoint
	if err := decode(value, &e); err != nil {
		return err
	}
	// Requests for a workload must not be drawn to another place by whoever does not declare it.
	if e.Node != node || e.Workload != key || ofSwarm(key) {
		return errOthers
	}
	return nil
}

func checkSighting(node, key string, value json.RawMessage) error {
	var s ruche.Sighting
	if err := decode(value, &s); err != nil {
		return err
	}
	if s.Node != node || s.Task != key {
		return errOthers
	}
	return nil
}

func checkCertSpecs(node, key string, value json.RawMessage) error {
	var s ruche.CertificateSpecs
	if err := decode(value, &s); err != nil {
		return err
	}
	if s.Workload.Node != node || s.Workload.ID != key || ofSwarm(key) {
		return errOthers
	}
	return nil
}

func decode(value json.RawMessage, into any) error {
	if json.Unmarshal(value, into) != nil {
		return errors.New("the value cannot be read")
	}
	return nil
}

func ofSwarm(key string) bool {
	return strings.HasPrefix(key, "service/") || strings.HasPrefix(key, "task/")
}
