package cluster

import (
	"context"
	"errors"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// ErrNotLeading tells that a leader's write was refused because it leads no more.
var ErrNotLeading = errors.New("this member leads no more")

// errCompare tells that the condition of a transaction did not hold.
var errCompare = errors.New("the condition does not hold")

// fence keeps a leader from writing when it leads no more and does not know it yet: its process stood still for longer than its lease, or the write was on its way for as long.
type fence struct {
	key   string // what the leader holds
	token int64  // the revision at which it was created
	end   context.CancelFunc
}

type fenceKey struct{}

// fenced gives a context whose writes are refused once f's leader leads no more. It is in the context, so that no write of a leader can be without it.
func fenced(ctx context.Context, f fence) context.Context {
	return context.WithValue(ctx, fenceKey{}, f)
}

// commit does writes in one transaction, under the condition that is asked for, if any, and under the fence that ctx has, if any. A leader that leads no more has its
// context ended.
func (m *member) commit(ctx context.Context, asked *clientv3.Cmp, writes []clientv3.Op) (revision int64, err error) {
	var conditions []clientv3.Cmp
	var otherwise []clientv3.Op
	if asked != nil {
		conditions = append(conditions, *asked)
	}
	f, led := ctx.Value(fenceKey{}).(fence)
	if led {
		conditions = append(conditions, clientv3.Compare(clientv3.CreateRevision(f.key), "=", f.token))
		otherwise = append(otherwise, clientv3.OpGet(f.key, clientv3.WithKeysOnly()))
	}
	resp, err := m.client.Txn(ctx).If(conditions...).Then(writes...).Else(otherwise...).Commit()
	switch {
	case err != nil:
		return 0, err
	case resp.Succeeded:
		return resp.Header.Revision, nil
	case led && !f.holds(resp.Responses[0].GetResponseRange().Kvs):
		f.end()
		return 0, ErrNotLeading
	}
	return 0, errCompare
}

// holds reports whether the leader's key is the one that it made.
func (f fence) holds(found []*mvccpb.KeyValue) bool {
	return len(found) == 1 && found[0].CreateRevision == f.token
}
