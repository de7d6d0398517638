package mesh

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/health"
)

// ClientConfig says which node this is, and how it finds the others.
type ClientConfig struct {
	// Dir is the directory of this node's identity and of what it follows. Name and Roles are what it is; Address is where others reach it, as
	// host:port, and may be empty on a node that is not control.
	Dir     string
	Name    string
	Roles   []Role
	Address string
	// Control are addresses of control nodes, as host:port, to begin with. More are learned, and kept: where some are known from before there need be none here.
	Control []string
	// Token is the text of a join token. It may be empty on a node that is enrolled.
	Token string
	// Follow names the buckets that this node follows; its roles must permit it.
	Follow []string
	// Safe keeps the keys of this node in Dir. A control node has a Member instead, whose safe it is.
	Safe   Safe
	Member *Member
	// Status tells how this node is. It is called often and must be cheap. Changed, if it is not nil, has it told at once whenever something comes from it.
	Status  func() ruche.NodeStatus
	Changed <-chan struct{}
	Logger  *slog.Logger
	Health  *health.Registry
	// Now tells the time; nil stands for the clock.
	Now func() time.Time
}

// Client is the mesh as a node sees it that does not have the state itself. It is safe for concurrent use.
type Client struct {
	cfg    ClientConfig
	pin    string // hash of the root's key, by the token; empty without one
	secret string // the token's
	keeper *keeper
	timing timing
	// replica is what this node knows of the state; box opens what in it was sealed to this node.
	replica *replica
	box     *box

	mu   sync.Mutex
	http httpClient
	book []string // addresses of control nodes, as one of them told
	last string   // the one that answered last
}

// NewClient makes the client, with the identity that is in its directory.
func NewClient(cfg ClientConfig) (*Client, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Member != nil {
		cfg.Safe = cfg.Member.safe
	}
	c := &Client{cfg: cfg, timing: defaultTiming()}
	roles, err := checkRoles(cfg.Roles)
	if err == nil {
		err = checkName(cfg.Name)
	}
	if err == nil && cfg.Token != "" {
		c.pin, c.secret, err = parseToken(cfg.Token)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot join the mesh: %w", err)
	}
	c.keeper = &keeper{
		dir: cfg.Dir, name: cfg.Name, roles: roles, pin: c.pin, safe: cfg.Safe, member: cfg.Member, issuer: c,
		now: cfg.Now, timing: c.timing, logger: cfg.Logger, health: cfg.Health,
	}
	if err := c.keeper.load(); err != nil {
		return nil, err
	}
	if c.box, err = openBox(cfg.Dir, cfg.Name, cfg.Safe, cfg.Logger); err != nil {
		return nil, err
	}
	c.replica = &replica{client: c, hub: newHub(cfg.Follow), lacking: map[string]time.Time{}, saved: map[string]written{}}
	c.replica.load()
	// A control node may be the first that is up again: the others tell where they are by coming.
	if len(c.addresses()) == 0 && !slices.Contains(roles, RoleControl) {
		return nil, errors.New("cannot join the mesh: no address of a control node is given, and none is known from before")
	}
	return c, nil
}

func (c *Client) logger() *slog.Logger { return c.cfg.Logger }

// Enrolled waits until this node has a certificate of the mesh, while Run runs.
func (c *Client) Enrolled(ctx context.Context) error {
	if !c.keeper.enrolled(ctx) {
		return context.Cause(ctx)
	}
	return nil
}

// IsEnrolled reports whether this node has a certificate of the mesh, be it from before it was started.
func (c *Client) IsEnrolled() bool {
	id, _ := c.keeper.current()
	return id.cert != nil
}

// Run enrols this node, keeps its certificate fresh, follows and reports until ctx ends, and returns nil then.
func (c *Client) Run(ctx context.Context) error {
	var tasks sync.WaitGroup
	tasks.Go(func() { c.keeper.run(ctx) })
	tasks.Go(func() { c.replica.keep(ctx) })
	if c.keeper.enrolled(ctx) {
		tasks.Go(func() { c.replica.run(ctx) })
		tasks.Go(func() { reporting(ctx, c.timing, c.status, c.cfg.Changed, c.report) })
	}
	tasks.Wait()
	c.idle()
	return nil
}

// status is how this node is, with how it follows.
func (c *Client) status() ruche.NodeStatus {
	s := c.cfg.Status()
	f := c.Following()
	s.Follows, s.FollowsSince = f.Control, f.Since
	return s
}

func (c *Client) report(ctx context.Context, status ruche.NodeStatus) error {
	return c.call(ctx, "/v1/report", status, nil)
}

// Load gives the rows of this node, an agent, as the state has them: by bucket and key.
func (c *Client) Load(ctx context.Context) (map[string]map[string]json.RawMessage, error) {
	var rows map[string]map[string]json.RawMessage
	if err := c.call(ctx, "/v1/load", struct{}{}, &rows); err != nil {
		return nil, fmt.Errorf("cannot read what this node declared: %w", err)
	}
	return rows, nil
}

// Open opens what a control node sealed to this node; see Recipient.
func (c *Client) Open(what string, sealed []byte) ([]byte, error) { return c.box.open(what, sealed) }

// Apply makes changes of rows of this node, an agent or an edge: all or none, at most 128.
func (c *Client) Apply(ctx context.Context, changes []ruche.Change) error {
	if err := c.call(ctx, "/v1/apply", changes, nil); err != nil {
		return fmt.Errorf("cannot write what this node tells: %w", err)
	}
	return nil
}

// enrol asks for the first certificate, or for one after this node was forgotten.
func (c *Client) enrol(ctx context.Context, request []byte) (grant, error) {
	if c.secret == "" {
		return grant{}, errors.New("this node has no join token (ruche nodes token makes one)")
	}
	var g grant
	err := c.callAs(ctx, nil, "/v1/enrol", enrolment{
		Token: c.secret, Name: c.cfg.Name, Roles: c.keeper.roles, Address: c.cfg.Address, Request: request,
	}, &g)
	c.learn(g.Control)
	return g, err
}

func (c *Client) renew(ctx context.Context, request []byte) (grant, error) {
	var g grant
	id, _ := c.keeper.current()
	err := c.callAs(ctx, id, "/v1/renew", renewal{Address: c.cfg.Address, Request: request}, &g)
	c.learn(g.Control)
	return g, err
}

// learn notes where control nodes are.
func (c *Client) learn(control []string) {
	if len(control) == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.book = control
}

// known lists where control nodes are, as they told.
func (c *Client) known() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.book
}

// addresses lists where control nodes may be, in the order in which to try them: the one that answered last, then the others at random, those
// that were given at the start after those that a control node told of.
func (c *Client) addresses() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	list := shuffled(c.book)
	for _, a := range shuffled(c.cfg.Control) {
		if !slices.Contains(list, a) {
			list = append(list, a)
		}
	}
	list = slices.DeleteFunc(list, func(a string) bool { return a == c.cfg.Address }) // nobody is there: this node has not the state
	if i := slices.Index(list, c.last); i > 0 {
		list = slices.Insert(slices.Delete(list, i, i+1), 0, c.last)
	}
	return list
}

// call asks a control node, and the next one when that does not answer or cannot do it now. It may be done twice.
func (c *Client) call(ctx context.Context, path string, in, out any) error {
	for {
		id, _ := c.keeper.current()
		if id.cert == nil {
			return errors.New("this node is not enrolled yet")
		}
		err := c.callAs(ctx, id, path, in, out)
		if !unknown(err) {
			return err
		}
		if now, _ := c.keeper.current(); now == id {
			c.keeper.notKnown(id)
			return err
		}
		// The certificate was renewed meanwhile, and the old one is good no more.
	}
}

// unknown reports whether a control node has refused this node as such.
func unknown(err error) bool {
	var r *Refusal
	return errors.As(err, &r) && (r.Reason == ReasonUnknownNode || r.Reason == ReasonSuperseded || r.Reason == ReasonExpired)
}
