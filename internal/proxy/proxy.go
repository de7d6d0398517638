package proxy

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/loop"
)

// Proxy is the data plane of one node. Its methods are safe for concurrent use.
type Proxy struct {
	cfg       Config
	feed      *feed
	log       *accessLog
	hop       string // see hopHeader
	upgrades  *upgrades
	limiter   *limiter
	ingress   ingress
	secures   *secures
	streamTLS *tls.Config
	tickets   tickets
	ech       atomic.Pointer[echKeys]

	// workers are the grounds of clients of HTTP/1.1 and HTTP/2, by the index of their loop; yard is that of the others.
	loops    *loop.Group
	workers  []*worker
	yard     *yard
	streams  *streams
	udp      []*udpEntry
	sessions atomic.Int64           // of UDP
	http3    *http3Entry            // nil where it is not wanted
	altSvc   atomic.Pointer[string] // the field that advertises HTTP/3, while that is served
	draining atomic.Bool
	parted   atomic.Bool  // of clients that say nothing, while draining
	heir     atomic.Bool  // see Succeeded
	held     atomic.Int64 // requests that wait for an endpoint
	gathered atomic.Int64 // bytes of content that are kept to find out how many they are

	swapping sync.Mutex // held while a new snapshot is made and put in force
	current  atomic.Pointer[snapshot]
	compiled chan struct{} // closed when current is set first
	ready    chan struct{}
	// unrouted counts the requests that no route took.
	unrouted counts

	// plain and secure are the listeners; they are set before ready is closed.
	plain, secure net.Listener
}

// New makes a proxy; it opens nothing yet.
func New(cfg Config) (*Proxy, error) {
	cfg = cfg.withDefaults()
	for _, address := range []string{cfg.HTTPAddr, cfg.HTTPSAddr} {
		if err := checkAddress(address); err != nil {
			return nil, err
		}
	}
	if cfg.HTTP3 && off(cfg.HTTPSAddr) {
		return nil, errHTTP3Alone
	}
	p := &Proxy{
		cfg:      cfg,
		feed:     newFeed(),
		upgrades: newUpgrades(),
		secures:  newSecures(cfg.Certificates),
		log:      newAccessLog(cfg.AccessLog, cfg.Health),
		hop:      rand.Text(),
		compiled: make(chan struct{}),
		ready:    make(chan struct{}),
	}
	p.limiter = newLimiter(&p.cfg)
	p.ingress.logger, p.ingress.health = p.cfg.Logger, p.cfg.Health
	p.streamTLS = p.streamTLSConfig()
	p.yard = newYard(p)
	p.streams = newStreams(&p.cfg.Timeouts, p.secures)
	return p, nil
}

// Ready is closed when the first table is in force and the listeners are open.
func (p *Proxy) Ready() <-chan struct{} { return p.ready }

// HTTPAddr is the address listened on for HTTP; nil when there is none, or before Ready.
func (p *Proxy) HTTPAddr() net.Addr { return p.addr(&p.plain) }

// HTTPSAddr is the address listened on for HTTPS; nil when there is none, or before Ready.
func (p *Proxy) HTTPSAddr() net.Addr { return p.addr(&p.secure) }

func (p *Proxy) addr(l *net.Listener) net.Addr {
	select {
	case <-p.ready:
	default:
		return nil
	}
	if *l == nil {
		return nil
	}
	return (*l).Addr()
}

// Run serves until ctx ends, then lets running requests end within Timeouts.Drain and returns nil. It returns an error
// when it cannot listen, or when a listener fails.
func (p *Proxy) Run(ctx context.Context) error { return p.run(ctx, p.watch) }

// run serves what watch feeds it.
func (p *Proxy) run(ctx context.Context, watch func(context.Context, *sync.WaitGroup)) error {
	var tasks sync.WaitGroup
	defer tasks.Wait()
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	tasks.Go(func() { p.swap(background) })
	tasks.Go(func() { p.check(background) })
	watch(background, &tasks)
	logged := make(chan struct{})
	go func() {
		defer close(logged)
		p.log.run(background)
	}()
	defer func() {
		stop()
		select {
		case <-logged:
		case <-time.After(stragglers):
			p.cfg.Logger.Warn("the end of the access log could not be written")
		}
	}()
	defer p.yard.close()
	defer p.streams.close()
	select {
	case <-p.compiled:
	case <-ctx.Done():
		return nil
	}
	entries, err := p.listen()
	if err != nil {
		return err
	}
	for _, e := range entries {
		p.cfg.Logger.Info("serving", "entry_point", e.name, "scheme", e.scheme(), "address", e.listener.Addr().String(), "routes", len(p.current.Load().table.Routes))
	}
	for _, u := range p.udp {
		p.cfg.Logger.Info("serving", "entry_point", u.point.Name, "scheme", string(ruche.ProtocolUDP), "address", u.listener.LocalAddr().String())
	}
	p.http3.start(ctx)
	close(p.ready)
	<-ctx.Done()
	p.drain(entries)
	return nil
}

// drain lets running exchanges end, and ends those that do not.
func (p *Proxy) drain(entries []*entry) {
	ctx, cancel := context.WithTimeout(context.Background(), p.cfg.Timeouts.Drain)
	defer cancel()
	p.draining.Store(true)
	p.leaveUDP()
	for _, e := range entries {
		e.open.Close()
		_ = e.listener.Close()
	}
	var shutting sync.WaitGroup
	shutting.Go(func() { p.http3.drain(ctx) })
	p.part(ctx, entries)
	for _, w := range p.workers {
		w.loop.Post(w.part)
	}
	p.awaitClients(ctx, entries)
	shutting.Wait()
	p.drainUpgrades(ctx)
	p.loops.Close()
}

func (p *Proxy) cutOff(e *entry) {
	p.cfg.Logger.Warn("requests were cut off at the end of the drain", "listener", e.listener.Addr().String())
}

// awaitClients waits until no connection of a client is left but upgraded ones.
func (p *Proxy) awaitClients(ctx context.Context, entries []*entry) {
	look := time.NewTicker(5 * time.Millisecond)
	defer look.Stop()
	for _, e := range entries {
		for e.open.Connected() > p.upgrades.of(e) {
			select {
			case <-look.C:
			case <-ctx.Done():
				p.cutOff(e)
				return
			}
		}
	}
}

// drainUpgrades lets upgraded connections end for a moment yet; for the rest of the drain when another process serves new ones. It is called when no ordinary request is left.
func (p *Proxy) drainUpgrades(ctx context.Context) {
	if !p.heir.Load() {
		moment, cancel := context.WithTimeout(ctx, upgradedDrain)
		defer cancel()
		ctx = moment
	}
	left := p.upgrades.wait()
	select {
	case <-left:
	case <-ctx.Done():
		p.upgrades.end()
		<-left
	}
	p.awaitSessions(ctx)
}

// Counts returns what was counted since start, by route; requests that no route took count under "(none)".
func (p *Proxy) Counts() []ruche.RouteCount {
	list := []ruche.RouteCount{p.unrouted.read("(none)")}
	if s := p.current.Load(); s != nil {
		for _, r := range s.table.Routes {
			if r.Protocol == "" {
				list = append(list, s.of(r).life.counts.read(r.ID))
			}
		}
	}
	return list
}

func (p *Proxy) httpsOff() bool { return off(p.cfg.HTTPSAddr) }

// httpsPort is what a redirect's authority ends in.
func (p *Proxy) httpsPort() string {
	if port := portOf(p.HTTPSAddr()); port != "443" && port != "" {
		return ":" + port
	}
	return ""
}

// upgradedDrain is how long a stop waits for upgraded connections when they are all that is left. Many never end by themselves, and
// clients know how to come back.
const upgradedDrain = 2 * time.Second

// stragglers is how long a stop waits for what has been told to end.
const stragglers = 2 * time.Second
