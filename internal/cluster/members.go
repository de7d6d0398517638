package cluster

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"go.etcd.io/etcd/client/pkg/v3/transport"
	clientv3 "go.etcd.io/etcd/client/v3"
	etcderrors "go.etcd.io/etcd/server/v3/etcdserver/errors"

	"github.com/ruche-project/ruche"
)

// Member is one member of the cluster.
type Member = ruche.Member

// Invitation lets one further member join.
type Invitation struct {
	// Members holds name and peer URL of each member, without the new one.
	Members map[string]string
}

// cluster is the list of members in etcd's form.
func (i *Invitation) cluster(name, peer string) string {
	list := []string{name + "=" + peer}
	for n, p := range i.Members {
		list = append(list, n+"="+p)
	}
	return strings.Join(list, ",")
}

// probeTimeout is how long a member may take to answer before it counts as not healthy.
const probeTimeout = time.Second

// Members lists the members, in the order of their IDs. It needs no majority.
func (c *Cluster) Members(ctx context.Context) ([]Member, error) {
	own, err := c.held()
	if err != nil {
		return nil, fmt.Errorf("cannot list members: %w", err)
	}
	resp, err := own.client.MemberList(ctx, clientv3.WithSerializable())
	if err != nil {
		return nil, fmt.Errorf("cannot list members: %w", err)
	}
	rt, err := transport.NewTransport(c.cfg.PeerTLS.info(), probeTimeout)
	if err != nil {
		return nil, fmt.Errorf("cannot list members: %w", err)
	}
	defer rt.CloseIdleConnections()
	leader := uint64(own.etcd.Server.Leader())
	list := make([]Member, len(resp.Members))
	done := make(chan struct{})
	for i, m := range resp.Members {
		go func() {
			defer func() { done <- struct{}{} }()
			list[i] = Member{
				ID: strconv.FormatUint(m.ID, 16), Name: m.Name, Peer: peerOf(m),
				Learner: m.IsLearner, Leader: m.ID == leader, Healthy: c.healthy(ctx, rt, m),
			}
		}()
	}
	for range resp.Members {
		<-done
	}
	return list, nil
}

// peerOf is the address of a member, "" for one that is alone.
func peerOf(m *etcdserverpb.Member) string {
	if len(m.PeerURLs) == 0 || isAlone(m.PeerURLs[0]) {
		return ""
	}
	return m.PeerURLs[0]
}

// Status tells how the state is, as this member sees it. It needs no majority.
func (c *Cluster) Status(ctx context.Context) (ruche.StateStatus, error) {
	members, err := c.Members(ctx)
	if err != nil {
		return ruche.StateStatus{}, err
	}
	own, err := c.held()
	if err != nil {
		return ruche.StateStatus{}, fmt.Errorf("cannot look at the state: %w", err)
	}
	now, err := own.get(ctx, "/ruche/", clientv3.WithSerializable(), clientv3.WithCountOnly())
	if err != nil {
		return ruche.StateStatus{}, fmt.Errorf("cannot look at the state: %w", err)
	}
	quorum := c.Quorum()
	return ruche.StateStatus{
		Node: c.cfg.Name, Quorum: quorum.OK, QuorumSince: quorum.Since, Revision: now.Header.Revision, Size: own.etcd.Server.Backend().Size(),
		Members: members, Refused: c.Refused(),
	}, nil
}

func (c *Cluster) healthy(ctx context.Context, rt http.RoundTripper, m *etcdserverpb.Member) bool {
	if m.ID == c.current.Load().self {
		return c.leaderKnown()
	}
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	for _, peer := range m.PeerURLs {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, peer+"/version", nil)
		if err != nil {
			continue
		}
		resp, err := rt.RoundTrip(req)
		if err != nil {
			continue
		}
		_ = resp.Body.Close() // only the status is of interest
		if resp.StatusCode == http.StatusOK {
			return true
		}
	}
	return false
}

// Invite makes room for a further member that will be reached at peer. It is a learner, which receives the data but does
// not vote, until it has caught up: Open with the invitation returns then. Every member must have a peer address.
// While the cluster is not ready for one more, it tries again until ctx ends.
func (c *Cluster) Invite(ctx context.Context, name, peer string) (*Invitation, error) {
	if err := errors.Join(memberName(name), peerError(peer)); err != nil {
		return nil, fmt.Errorf("cannot invite %s: %w", name, err)
	}
	members, err := c.Members(ctx)
	if err != nil {
		return nil, fmt.Errorf("cannot invite %s: %w", name, err)
	}
	for _, m := range members {
		switch {
		case m.Name == name || m.Peer == peer:
			return nil, fmt.Errorf("cannot invite %s: a member of this name or address is there already", name)
		case m.Name == "" || m.Learner:
			return nil, fmt.Errorf("cannot invite %s: the member at %s has not come up yet; wait for it, or remove it", name, m.Peer)
		case m.Peer == "":
			return nil, fmt.Errorf("cannot invite %s: member %s has no peer address", name, m.Name)
		}
	}
	err = c.persist(ctx, func(ctx context.Context, client *clientv3.Client) error {
		_, err := client.MemberAddAsLearner(ctx, []string{peer})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("cannot invite %s: %w", name, err)
	}
	return c.invitation(ctx)
}

// invitation is what a member that was made room for joins with.
func (c *Cluster) invitation(ctx context.Context) (*Invitation, error) {
	members, err := c.Members(ctx)
	if err != nil {
		return nil, err
	}
	inv := &Invitation{Members: make(map[string]string, len(members))}
	for _, m := range members {
		if m.Name != "" { // else it is the one that is invited
			inv.Members[m.Name] = m.Peer
		}
	}
	return inv, nil
}

// Replace is Invite for a member whose data was lost, and that comes back under its name: what stands for it in the cluster is removed first, which Remove
// may refuse. A healthy member is not replaced.
func (c *Cluster) Replace(ctx context.Context, name, peer string) (*Invitation, error) {
	members, err := c.Members(ctx)
	if err != nil {
		return nil, fmt.Errorf("cannot replace %s: %w", name, err)
	}
	for _, m := range members {
		switch {
		case m.Name != name && (m.Name != "" || m.Peer != peer):
			continue
		case m.Healthy:
			return nil, fmt.Errorf("cannot replace %s: it is up", name)
		}
		if err := c.Remove(ctx, m.ID); err != nil {
			return nil, fmt.Errorf("cannot replace %s: %w", name, err)
		}
	}
	return c.Invite(ctx, name, peer)
}

func peerError(peer string) error {
	_, err := peerURL(peer)
	return err
}

// Remove takes the member of this ID out of the cluster; its data stays on its disk but is of no use any more. It refuses to
// when the healthy ones of the remaining members would be no majority, and to remove the last one.
func (c *Cluster) Remove(ctx context.Context, id string) error {
	n, err := strconv.ParseUint(id, 16, 64)
	if err != nil {
		return fmt.Errorf("cannot remove member %q: the ID is not a hexadecimal number", id)
	}
	members, err := c.Members(ctx)
	if err != nil {
		return fmt.Errorf("cannot remove member %s: %w", id, err)
	}
	found, voters, healthy := false, 0, 0
	for _, m := range members {
		switch {
		case m.ID == strconv.FormatUint(n, 16):
			found = true
		case !m.Learner:
			voters++
			if m.Healthy {
				healthy++
			}
		}
	}
	switch {
	case !found:
		return fmt.Errorf("cannot remove member %s: there is no such member", id)
	case voters == 0:
		return fmt.Errorf("cannot remove member %s: it is the last one that votes", id)
	case healthy < voters/2+1:
		return fmt.Errorf("cannot remove member %s: of the %d members that would remain only %d are healthy, and a majority must be; bring the others up first", id, voters, healthy)
	}
	err = c.persist(ctx, func(ctx context.Context, client *clientv3.Client) error {
		_, err := client.MemberRemove(ctx, n)
		return err
	})
	if err != nil {
		return fmt.Errorf("cannot remove member %s: %w", id, err)
	}
	return nil
}

// takePart makes what the cluster knows of this member true: its peer address, and that it votes.
func (c *Cluster) takePart(ctx context.Context, cfg Config) error {
	m, err := c.own(ctx)
	if err != nil {
		return err
	}
	if cfg.Peer != "" && peerOf(m) != cfg.Peer {
		own := c.current.Load()
		if _, err := own.client.MemberUpdate(ctx, own.self, []string{cfg.Peer}); err != nil {
			return fmt.Errorf("cannot change the peer address: %w", err)
		}
	}
	if !m.IsLearner {
		return nil
	}
	err = c.persist(ctx, func(ctx context.Context, client *clientv3.Client) error {
		_, err := client.MemberPromote(ctx, c.current.Load().self)
		return err
	})
	// The leader promotes; word of it reaches this member a moment later.
	for err == nil && m.IsLearner {
		if err = c.pause(ctx); err == nil {
			m, err = c.own(ctx)
		}
	}
	return err
}

// own is what this member's copy of the state tells of itself.
func (c *Cluster) own(ctx context.Context) (*etcdserverpb.Member, error) {
	own, err := c.held()
	if err != nil {
		return nil, err
	}
	resp, err := own.client.MemberList(ctx, clientv3.WithSerializable())
	if err != nil {
		return nil, err
	}
	for _, m := range resp.Members {
		if m.ID == own.self {
			return m, nil
		}
	}
	return nil, ErrRemoved
}

// persist does what the cluster refuses as long as a member is not connected or not caught up.
func (c *Cluster) persist(ctx context.Context, do func(context.Context, *clientv3.Client) error) error {
	for {
		m, err := c.held()
		if err == nil {
			call, done := c.quorum.join(ctx)
			err = because(call, do(call, m.client))
			done()
		}
		if !errors.Is(err, rpctypes.ErrUnhealthy) && !errors.Is(err, rpctypes.ErrMemberNotEnoughStarted) &&
			!errors.Is(err, rpctypes.ErrMemberLearnerNotReady) && !errors.Is(err, etcderrors.ErrLearnerNotReady) {
			return err
		}
		if e := c.pause(ctx); e != nil {
			return fmt.Errorf("%w: %w", err, e)
		}
	}
}
