package mesh

import (
	"cmp"
	"context"
	"crypto/ecdsa"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ruche-project/ruche"
)

// Node is a node as it is kept in the bucket "nodes", under its name.
type Node struct {
	Roles []Role `json:"roles"`
	// Key is the hash of its public key; OldKey that of the one before, which is good until the new one was used.
	Key    string `json:"key"`
	OldKey string `json:"old_key,omitempty"`
	// Address is where the mesh reaches a control node, as host:port. Other nodes need none.
	Address  string    `json:"address,omitempty"`
	Enrolled time.Time `json:"enrolled"`
}

const (
	// lately is how long a node keeps its name after it was seen.
	lately = time.Minute
	// maxAddress bounds the address of a node.
	maxAddress = 255
	// tokenKept is how long an expired token is kept, so that its use is told apart from a wrong one.
	tokenKept = 30 * 24 * time.Hour
)

// enrolment is what a node asks for with a token.
type enrolment struct {
	Token   string `json:"token"` // its secret alone
	Name    string `json:"name"`
	Roles   []Role `json:"roles"`
	Address string `json:"address,omitempty"`
	Request []byte `json:"request"` // PKCS #10
}

// renewal is what a node asks for with its certificate.
type renewal struct {
	Address string `json:"address,omitempty"`
	Request []byte `json:"request"`
}

// grant is what a node gets.
type grant struct {
	Certificate []byte   `json:"certificate"`
	Root        []byte   `json:"root"`
	Peer        []byte   `json:"peer,omitempty"` // for control nodes: the certificate of a member of the state
	Control     []string `json:"control"`        // addresses of control nodes
}

// Registry decides who is a node of the installation. It is safe for concurrent use.
type Registry struct {
	authority *Authority
	nodes     Bucket[Node]
	tokens    Bucket[Token]
	status    Bucket[ruche.NodeStatus]
	now       func() time.Time

	mu       sync.Mutex
	known    map[string]Node             // what the bucket nodes holds; nil before it was read
	changed  chan struct{}               // closed when known changes
	reported map[string]ruche.NodeStatus // what was written here last
	lastSeen map[string]time.Time        // what the bucket nodestatus says of each
}

// NewRegistry makes the registry of the nodes, tokens and statuses in these buckets ("nodes", "tokens", "nodestatus").
func NewRegistry(a *Authority, nodes Bucket[Node], tokens Bucket[Token], status Bucket[ruche.NodeStatus]) *Registry {
	return &Registry{authority: a, nodes: nodes, tokens: tokens, status: status, now: a.now, changed: make(chan struct{}), reported: map[string]ruche.NodeStatus{}, lastSeen: map[string]time.Time{}}
}

// MakeToken makes a join token for nodes with any of these roles, and gives its text, which is kept nowhere. uses is how many nodes may enrol
// by it, -1 for any number; expires may be zero.
func (r *Registry) MakeToken(ctx context.Context, roles []Role, uses int, expires time.Time) (string, error) {
	roles, err := checkRoles(roles)
	if err == nil && uses != -1 && uses < 1 {
		err = fmt.Errorf("it cannot be used %d times", uses)
	}
	if err != nil {
		return "", fmt.Errorf("cannot make a join token: %w", err)
	}
	r.dropTokens(ctx)
	text, key := newToken(keyHash(r.authority.root.PublicKey))
	if _, err := r.tokens.Create(ctx, key, Token{Roles: roles, Uses: uses, Expires: expires, Created: r.now()}); err != nil {
		return "", fmt.Errorf("cannot make a join token: %w", err)
	}
	return text, nil
}

// tokenID is how many digits of its key name a token.
const tokenID = 8

// Tokens lists the join tokens, the oldest first, without what one could join by.
func (r *Registry) Tokens(ctx context.Context) (ruche.TokenList, error) {
	all, err := r.tokens.List(ctx)
	if err != nil {
		return ruche.TokenList{}, fmt.Errorf("cannot list the join tokens: %w", err)
	}
	list := ruche.TokenList{Tokens: make([]ruche.TokenInfo, 0, len(all))}
	for key, e := range all {
		t := ruche.TokenInfo{ID: key[:min(tokenID, len(key))], Uses: e.Value.Uses, Used: e.Value.LastKey != "", Created: e.Value.Created, Expires: e.Value.Expires}
		for _, role := range e.Value.Roles {
			t.Roles = append(t.Roles, string(role))
		}
		list.Tokens = append(list.Tokens, t)
	}
	slices.SortFunc(list.Tokens, func(a, b ruche.TokenInfo) int { return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.ID, b.ID)) })
	return list, nil
}

// RemoveToken ends a join token, which id names, or more digits of its key do. Nodes that have joined by it stay.
func (r *Registry) RemoveToken(ctx context.Context, id string) error {
	all, err := r.tokens.List(ctx)
	if err != nil {
		return fmt.Errorf("cannot remove join token %q: %w", id, err)
	}
	var found []string
	for key := range all {
		if len(id) >= tokenID && strings.HasPrefix(key, strings.ToLower(id)) {
			found = append(found, key)
		}
	}
	switch len(found) {
	case 0:
		return fmt.Errorf("cannot remove join token %q: %w", id, ruche.ErrNotFound)
	case 1:
		if err := r.tokens.Delete(ctx, found[0]); err != nil {
			return fmt.Errorf("cannot remove join token %q: %w", id, err)
		}
		return nil
	}
	return fmt.Errorf("cannot remove join token %q: %d tokens have an ID that begins so", id, len(found))
}

// dropTokens removes what has been expired for long. That it may fail does no harm.
func (r *Registry) dropTokens(ctx context.Context) {
	all, err := r.tokens.List(ctx)
	if err != nil {
		return
	}
	for key, t := range all {
		if !t.Value.Expires.IsZero() && r.now().Sub(t.Value.Expires) > tokenKept {
			_ = r.tokens.Delete(ctx, key)
		}
	}
}

// Remove makes a node a stranger at once. By a token that is still good it can enrol again.
func (r *Registry) Remove(ctx context.Context, name string) error {
	if _, err := r.nodes.Get(ctx, name); err != nil {
		return fmt.Errorf("cannot remove node %q: %w", name, err)
	}
	if err := errors.Join(r.nodes.Delete(ctx, name), r.status.Delete(ctx, name)); err != nil {
		return fmt.Errorf("cannot remove node %q: %w", name, err)
	}
	return nil
}

// move notes the address of a node that is known.
func (r *Registry) move(ctx context.Context, name, address string) error {
	entry, err := r.nodes.Get(ctx, name)
	if err != nil || entry.Value.Address == address {
		return err
	}
	entry.Value.Address = address
	_, err = r.nodes.CompareAndSet(ctx, name, entry.Value, entry.Revision)
	return err
}

// enrol lets a node in by a token. connected says that a node of the name is connected here.
func (r *Registry) enrol(ctx context.Context, e enrolment, connected bool) (grant, error) {
	key, err := check(e.Name, &e.Roles, e.Address, e.Request)
	if err != nil {
		return grant{}, refuse(ReasonBadRequest, err.Error())
	}
	hash := keyHash(key)
	if err := r.checkToken(ctx, e, hash, false); err != nil {
		return grant{}, err
	}
	entry, err := r.nodes.Get(ctx, e.Name)
	if err != nil && !errors.Is(err, ruche.ErrNotFound) {
		return grant{}, unavailable(err)
	}
	if old := entry.Value; old.Key != "" && old.Key != hash && old.OldKey != hash {
		seen, err := r.seen(ctx, e.Name, old)
		if err != nil {
			return grant{}, unavailable(err)
		}
		if !slices.Equal(old.Roles, e.Roles) { // else who may become an edge could take a control node's place
			return grant{}, refuse(ReasonNameInUse, fmt.Sprintf(
				"a node named %q is known as %v, with another key (give this one another name, or run: ruche nodes remove %s)", e.Name, old.Roles, e.Name))
		}
		if seen || connected {
			return grant{}, refuse(ReasonNameInUse, fmt.Sprintf(
				"a node named %q is there, with another key (give this one another name; if it takes that one's place, wait a minute or run: ruche nodes remove %s)", e.Name, e.Name))
		}
	}
	if err := r.checkToken(ctx, e, hash, true); err != nil {
		return grant{}, err
	}
	return r.admit(ctx, e.Name, Node{Roles: e.Roles, Key: hash, Address: e.Address, Enrolled: r.now()}, entry.Revision, key)
}

// checkToken looks at the token of an enrolment, and counts its use if use is set.
func (r *Registry) checkToken(ctx context.Context, e enrolment, hash string, use bool) error {
	for {
		entry, err := r.tokens.Get(ctx, tokenKey(e.Token))
		t := entry.Value
		switch {
		case errors.Is(err, ruche.ErrNotFound):
			return refuse(ReasonToken, "there is no such join token (ruche nodes token makes one)")
		case err != nil:
			return unavailable(err)
		case !t.Expires.IsZero() && !r.now().Before(t.Expires):
			return refuse(ReasonTokenExpired, "the join token has expired (ruche nodes token makes another)")
		case slices.ContainsFunc(e.Roles, func(role Role) bool { return !slices.Contains(t.Roles, role) }):
			return refuse(ReasonTokenRole, fmt.Sprintf("the join token is for the roles %v, not for %v (ruche nodes token makes another)", t.Roles, e.Roles))
		case t.LastKey == hash:
			return nil
		case t.Uses == 0:
			return refuse(ReasonTokenUsed, "the join token is used up (ruche nodes token makes another)")
		case !use || t.Uses < 0 && t.LastKey != "":
			return nil
		}
		if t.LastKey = hash; t.Uses > 0 {
			t.Uses--
		}
		_, err = r.tokens.CompareAndSet(ctx, entry.Key, t, entry.Revision)
		if err == nil {
			return nil
		}
		if !errors.Is(err, ruche.ErrConflict) { // somebody else has used it meanwhile
			return unavailable(err)
		}
	}
}

// seen reports whether a node has shown itself lately, to any control node.
func (r *Registry) seen(ctx context.Context, name string, n Node) (bool, error) {
	if r.now().Sub(n.Enrolled) < lately {
		return true, nil
	}
	s, err := r.status.Get(ctx, name)
	if errors.Is(err, ruche.ErrNotFound) {
		return false, nil
	}
	return err == nil && r.now().Sub(s.Value.Seen) < lately, err
}

// renew gives a node that is known a certificate for another key.
func (r *Registry) renew(ctx context.Context, p Peer, w renewal) (grant, error) {
	entry, err := r.nodes.Get(ctx, p.Name)
	if errors.Is(err, ruche.ErrNotFound) {
		return grant{}, refuse(ReasonUnknownNode, strangerMessage(p.Name))
	}
	if err != nil {
		return grant{}, unavailable(err)
	}
	n := entry.Value
	if p.hash != n.Key && p.hash != n.OldKey {
		return grant{}, refuse(ReasonSuperseded, supersededMessage(p.Name))
	}
	if w.Address != "" {
		n.Address = w.Address
	}
	key, err := check(p.Name, &n.Roles, n.Address, w.Request)
	if err != nil {
		return grant{}, refuse(ReasonBadRequest, err.Error())
	}
	n.Key, n.OldKey = keyHash(key), p.hash
	return r.admit(ctx, p.Name, n, entry.Revision, key)
}

// admitOwn gives a certificate to the node in whose process the state is. oldKey is the hash of the key that it has had so far, if it had one.
func (r *Registry) admitOwn(ctx context.Context, e enrolment, oldKey string) (grant, error) {
	key, err := check(e.Name, &e.Roles, e.Address, e.Request)
	if err != nil {
		return grant{}, fmt.Errorf("cannot make this node's certificate: %w", err)
	}
	entry, err := r.nodes.Get(ctx, e.Name)
	if err != nil && !errors.Is(err, ruche.ErrNotFound) {
		return grant{}, err
	}
	return r.admit(ctx, e.Name, Node{Roles: e.Roles, Key: keyHash(key), OldKey: oldKey, Address: e.Address, Enrolled: r.now()}, entry.Revision, key)
}

// admit makes the certificates, and writes the node if it is still at the revision.
func (r *Registry) admit(ctx context.Context, name string, n Node, revision int64, key *ecdsa.PublicKey) (grant, error) {
	g := grant{Root: r.authority.root.Raw}
	var err error
	if g.Certificate, err = r.authority.nodeCertificate(key, name, n.Roles); err != nil {
		return grant{}, fmt.Errorf("cannot make the certificate of node %q: %w", name, err)
	}
	if slices.Contains(n.Roles, RoleControl) {
		host, _, _ := net.SplitHostPort(n.Address)
		if g.Peer, err = r.authority.peerCertificate(key, host); err != nil {
			return grant{}, fmt.Errorf("cannot make the certificate of node %q: %w", name, err)
		}
	}
	if _, err := r.nodes.CompareAndSet(ctx, name, n, revision); err != nil {
		return grant{}, unavailable(err) // also where somebody else was faster: the next try sees that
	}
	all, err := r.nodes.List(ctx)
	if err != nil {
		return grant{}, unavailable(err)
	}
	nodes := make(map[string]Node, len(all))
	for name, e := range all {
		nodes[name] = e.Value
	}
	g.Control = controlAddresses(nodes)
	return g, nil
}

// check looks at what a node says of itself, sorts the roles, and gives its key.
func check(name string, roles *[]Role, address string, request []byte) (*ecdsa.PublicKey, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	var err error
	if *roles, err = checkRoles(*roles); err != nil {
		return nil, err
	}
	host, port, err := net.SplitHostPort(address)
	if slices.Contains(*roles, RoleControl) && (err != nil || host == "" || port == "") || len(address) > maxAddress {
		return nil, fmt.Errorf("a control node is reached at a host:port, not at %.64q", address)
	}
	return readRequest(request)
}

// controlAddresses lists where control nodes are reached, sorted.
func controlAddresses(nodes map[string]Node) []string {
	var list []string
	for _, n := range nodes {
		if slices.Contains(n.Roles, RoleControl) && n.Address != "" {
			list = append(list, n.Address)
		}
	}
	slices.Sort(list)
	return list
}

// unavailable says that the state does not answer, unless it says something better already.
func unavailable(err error) error {
	var known *Refusal
	if errors.As(err, &known) {
		return err
	}
	return &Refusal{Reason: ReasonUnavailable, Message: "the state cannot be read or written here now", cause: err}
}

func strangerMessage(name string) string {
	return fmt.Sprintf("no node named %q is enrolled (start it with a join token: ruche nodes token)", name)
}

func supersededMessage(name string) string {
	return fmt.Sprintf("node %q has enrolled with another key meanwhile (only one node can have a name)", name)
}
