package loop

import (
	"time"

	"golang.org/x/sys/unix"
)

const (
	// askEvery is how often a peer that is silent is asked for a sign of life, once that has begun. It has nine chances (tcp(7), tcp_keepalive_probes).
	askEvery = time.Second
	// lifelessAfter is how long nothing may be acknowledged. Who looks a second after it has sent something must not miss it for the coarseness of the system's clock.
	lifelessAfter = 900 * time.Millisecond
	// lifelessTries is how often what was sent must have been sent again meanwhile, which rules out a single lost packet.
	lifelessTries = 2
)

// KeepAlive has the system ask a peer that was silent for the time given for a sign of life, each second. The connection breaks when there is none for nine.
func (c *Conn) KeepAlive(idle time.Duration) {
	_ = unix.SetsockoptInt(c.fd, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, int(idle/time.Second))
	_ = unix.SetsockoptInt(c.fd, unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, int(askEvery/time.Second))
	_ = unix.SetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1)
}

// Lifeless is the function Lifeless for the connection.
func (c *Conn) Lifeless() bool { return !c.closed && Lifeless(c.fd) }

// Lifeless reports whether the peer of a TCP socket acknowledges neither what it is sent nor what asks it for a sign of life, although both were repeated for about a
// second. That is the peer's system and the way there: a program that answers slowly, or reads nothing, is not lifeless.
func Lifeless(fd int) bool {
	info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	return err == nil && time.Duration(info.Last_ack_recv)*time.Millisecond >= lifelessAfter &&
		max(info.Retransmits, info.Probes) >= lifelessTries
}
