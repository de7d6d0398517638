package proxy

import (
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// upgrades keeps the connections that net/http has given away, so that a stop can end them.
type upgrades struct {
	mu      sync.Mutex
	running map[*upgradedConn]struct{}
	stopped bool
	done    sync.WaitGroup
}

type upgradedConn struct {
	client net.Conn
	// endpoint is what net/http gives for the other side.
	endpoint io.ReadWriteCloser
}

func newUpgrades() *upgrades { return &upgrades{running: map[*upgradedConn]struct{}{}} }

// add reports false when connections are being ended.
func (u *upgrades) add(c *upgradedConn) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.stopped {
		return false
	}
	u.running[c] = struct{}{}
	u.done.Add(1)
	return true
}

func (u *upgrades) remove(c *upgradedConn) {
	u.mu.Lock()
	delete(u.running, c)
	u.mu.Unlock()
	u.done.Done()
}

// wait returns a channel that is closed when no connection is left. No more may be added by then: the servers
// are shut down.
func (u *upgrades) wait() <-chan struct{} {
	left := make(chan struct{})
	go func() {
		u.done.Wait()
		close(left)
	}()
	return left
}

// end closes all connections.
func (u *upgrades) end() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.stopped = true
	for c := range u.running {
		c.close()
	}
}

func (c *upgradedConn) close() {
	_ = c.client.Close()
	_ = c.endpoint.Close()
}

// upgrade joins the client's connection to the endpoint's until one of them ends.
func (f *forwarder) upgrade(x *exchange, e *endpointState, resp *http.Response, res *result) {
	endpoint, ok := resp.Body.(io.ReadWriteCloser)
	if !ok || x.upgrade == "" || !strings.EqualFold(upgradeType(resp.Header), x.upgrade) {
		res.err = errUpgradeFailed
		e.failed(res.err, time.Now(), false)
		return
	}
	protocol := resp.Header["Upgrade"]
	removeHopByHop(resp.Header)
	resp.Header["Connection"], resp.Header["Upgrade"] = []string{"Upgrade"}, protocol

	client, buffered, err := x.control.Hijack()
	if err != nil {
		res.err = errClientGone
		return
	}
	c := &upgradedConn{client: client, endpoint: endpoint}
	defer c.close()
	if !f.upgrades.add(c) {
		res.err = errStopping
		return
	}
	defer f.upgrades.remove(c)
	_ = client.SetDeadline(time.Now().Add(f.timeouts.Body))
	res.status, res.sentHead = resp.StatusCode, true
	resp.Body = nil
	if resp.Write(buffered) != nil || buffered.Flush() != nil {
		res.err = errClientGone
		resp.Body = http.NoBody
		return
	}
	resp.Body = http.NoBody
	_ = client.SetDeadline(time.Time{})
	res.sent = f.join(x, c, buffered.Reader)
}

// join copies both ways until both directions have ended, or nothing was said for too long. It returns how many bytes
// went to the client.
func (f *forwarder) join(x *exchange, c *upgradedConn, fromClient io.Reader) int64 {
	idle := time.AfterFunc(f.timeouts.Upgraded, c.close)
	defer idle.Stop()
	up := make(chan struct{})
	go func() {
		defer close(up)
		f.pump(c.endpoint, fromClient, idle, f.timeouts.Upgraded, &x.received)
		closeWrite(c.endpoint, c)
		idle.Reset(f.timeouts.Body)
	}()
	var sent counter
	f.pump(c.client, c.endpoint, idle, f.timeouts.Upgraded, &sent)
	closeWrite(c.client, c)
	idle.Reset(f.timeouts.Body)
	<-up
	return sent.Load()
}

func (f *forwarder) pump(dst io.Writer, src io.Reader, idle *time.Timer, timeout time.Duration, n *counter) {
	buffer := f.buffers.get()
	defer f.buffers.put(buffer)
	for {
		k, err := src.Read(*buffer)
		if k > 0 {
			idle.Reset(timeout)
			if _, werr := dst.Write((*buffer)[:k]); werr != nil {
				return
			}
			n.Add(int64(k))
		}
		if err != nil {
			return
		}
	}
}

// closeWrite tells one side that nothing more comes, and ends the connection where that cannot be told.
func closeWrite(side any, c *upgradedConn) {
	half, ok := side.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		c.close()
	}
}
