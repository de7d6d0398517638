package handover

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// socketName is the socket at which a process is asked to let another take its place.
const socketName = "upgrade.sock"

// network has packets, which keep descriptors and the text about them together, and an end, which tells that the other one is gone.
const network = "unixpacket"

// conn is a conversation. One goroutine may read while another writes.
type conn struct {
	unix *net.UnixConn
	// sender is the process that the last message came from, where told; 0 when it cannot be seen from here, as in another container.
	sender int
}

// send sends a message with descriptors, which stay the caller's.
func (c *conn) send(m message, descriptors ...int) error {
	data, err := m.encode()
	if err != nil {
		return err
	}
	var rights []byte
	if len(descriptors) > 0 {
		rights = unix.UnixRights(descriptors...)
	}
	if err := c.unix.SetWriteDeadline(time.Now().Add(answerTime)); err != nil {
		return err
	}
	_, _, err = c.unix.WriteMsgUnix(data, rights, nil)
	return err
}

// answerTime is how long either side may take for an answer that costs no work.
const answerTime = 10 * time.Second

// receive waits for the next message until the deadline; a zero one is none. The descriptors are the caller's. When the other side is gone the error is io.EOF.
func (c *conn) receive(deadline time.Time) (message, []int, error) {
	if err := c.unix.SetReadDeadline(deadline); err != nil {
		return message{}, nil, err
	}
	data, rights := make([]byte, maxMessage+1), make([]byte, unix.CmsgSpace(4*maxSockets)+unix.CmsgSpace(unix.SizeofUcred))
	n, k, flags, _, err := c.unix.ReadMsgUnix(data, rights)
	descriptors, sender, rightsErr := parseControl(rights[:max(k, 0)])
	switch {
	case err == nil && n == 0, errors.Is(err, syscall.ECONNRESET):
		err = io.EOF
	case err == nil && flags&unix.MSG_CTRUNC != 0:
		err = errors.New("not all sockets came, most likely because this process has no file descriptor left (raise its limit, ulimit -n)")
	case err == nil:
		err = rightsErr
	}
	var m message
	if err == nil {
		c.sender = sender
		m, err = decode(data[:n], len(descriptors))
	}
	if err != nil {
		closeAll(descriptors)
		return message{}, nil, err
	}
	return m, descriptors, nil
}

// parseControl returns the descriptors of control messages, and the sender if they tell it. What was received is returned even with an error, so that
// it can be closed.
func parseControl(control []byte) (descriptors []int, sender int, err error) {
	messages, err := unix.ParseSocketControlMessage(control)
	for i := range messages {
		if messages[i].Header.Type == unix.SCM_CREDENTIALS {
			credentials, e := unix.ParseUnixCredentials(&messages[i])
			if err = errors.Join(err, e); e == nil {
				sender = int(credentials.Pid)
			}
			continue
		}
		list, e := unix.ParseUnixRights(&messages[i])
		err = errors.Join(err, e)
		descriptors = append(descriptors, list...)
	}
	return descriptors, sender, err
}

// tellSenders has the system tell who sends each message. Who listens cannot be asked for (SO_PEERCRED names who made the socket, which may have been
// handed over since).
func (c *conn) tellSenders() error {
	raw, err := c.unix.SyscallConn()
	if err != nil {
		return err
	}
	controlErr := raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PASSCRED, 1) })
	return errors.Join(err, controlErr)
}

func closeAll(descriptors []int) {
	for _, fd := range descriptors {
		_ = unix.Close(fd)
	}
}

// peer is the process that has connected from the other end; 0 when it cannot be seen from here, as in another container.
func (c *conn) peer() int {
	raw, err := c.unix.SyscallConn()
	if err != nil {
		return 0
	}
	var credentials *unix.Ucred
	controlErr := raw.Control(func(fd uintptr) { credentials, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	if errors.Join(err, controlErr) != nil {
		return 0
	}
	return int(credentials.Pid)
}

// within calls f with an address of the socket in dir that is short enough for any dir: the system takes 107 bytes.
func within(dir string, f func(address *net.UnixAddr) error) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer func() { _ = d.Close() }()
	return f(&net.UnixAddr{Net: network, Name: fmt.Sprintf("/proc/self/fd/%d/%s", d.Fd(), socketName)})
}

// Listen opens the socket in dir at which a process is asked to let another take its place. The caller must be the one process that may: what an earlier one
// left there is removed.
func Listen(dir string) (*net.UnixListener, error) {
	path := filepath.Join(dir, socketName)
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("cannot open the socket for upgrades: %w", err)
	}
	var l *net.UnixListener
	err := within(dir, func(address *net.UnixAddr) (err error) {
		l, err = net.ListenUnix(network, address)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("cannot open the socket for upgrades %s: %w", path, err)
	}
	l.SetUnlinkOnClose(false) // it may live on in another process
	if err := os.Chmod(path, 0o600); err != nil {
		_ = l.Close()
		return nil, fmt.Errorf("cannot protect the socket for upgrades: %w", err)
	}
	return l, nil
}

// Remove takes the socket in dir away. Only its last owner may, before it gives up what makes it the only one.
func Remove(dir string) {
	_ = os.Remove(filepath.Join(dir, socketName)) // one that is left behind does no harm
}
