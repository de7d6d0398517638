package proxy

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"

	"github.com/quic-go/quic-go"
	"golang.org/x/sys/unix"
)

// When Ruche is replaced, two processes have connections at one UDP port: each has a socket of its own there (SO_REUSEPORT), and the kernel gives each
// packet to one of them by a program that the new one brings. Connection IDs begin with the mark of their process. What has the mark of the new one is its own, so is
// what begins a connection, and the rest is the old one's. The new socket is the second; when the old one is closed it becomes the first and is chosen for
// want of a second.

// connectionIDs are those of one process.
type connectionIDs struct{ mark uint16 }

func newConnectionIDs() connectionIDs {
	var b [2]byte
	_, _ = rand.Read(b[:]) // it never fails
	return connectionIDs{binary.BigEndian.Uint16(b[:])}
}

// GenerateConnectionID implements quic.ConnectionIDGenerator.
func (c connectionIDs) GenerateConnectionID() (quic.ConnectionID, error) {
	var b [connectionIDLen]byte
	_, _ = rand.Read(b[2:])
	binary.BigEndian.PutUint16(b[:], c.mark)
	return quic.ConnectionIDFromBytes(b[:]), nil
}

// ConnectionIDLen implements quic.ConnectionIDGenerator.
func (connectionIDs) ConnectionIDLen() int { return connectionIDLen }

const connectionIDLen = 10

// chooser returns the program. Packets have a long head (RFC 9000 section 17.2) or a short one (section 17.3).
func (c connectionIDs) chooser() []unix.SockFilter {
	const (
		loadByte, loadTwo = unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, unix.BPF_LD | unix.BPF_H | unix.BPF_ABS
		equal, anySet     = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K
		and, use          = unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, unix.BPF_RET | unix.BPF_K
	)
	mark := uint32(c.mark)
	return []unix.SockFilter{
		{Code: loadByte, K: 0},
		{Code: anySet, K: 0x80, Jt: 2}, // a long head?
		{Code: loadTwo, K: 1},          // short: the connection ID follows at once
		{Code: equal, K: mark, Jt: 4, Jf: 5},
		{Code: and, K: 0xe0}, // long: Initial and 0-RTT, or what comes later (with version 2 other numbers, to the same effect)?
		{Code: equal, K: 0xe0, Jf: 2},
		{Code: loadTwo, K: 6}, // later: the connection ID is behind version and length
		{Code: equal, K: mark, Jf: 1},
		{Code: use, K: 1},
		{Code: use, K: 0},
	}
}

// listenUDP opens a UDP socket at the address of a TCP listener. Where one other process has the port it is shared with that, if that may be; the error is
// EADDRINUSE where it cannot be.
func listenUDP(tcp net.Addr, ids connectionIDs, share bool) (*net.UDPConn, error) {
	a, ok := tcp.(*net.TCPAddr)
	if !ok {
		return nil, fmt.Errorf("%s is no address of TCP", tcp)
	}
	reuse := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var err error
		return errors.Join(raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1) }), err)
	}}
	packets, err := reuse.ListenPacket(context.Background(), "udp", (&net.UDPAddr{IP: a.IP, Port: a.Port, Zone: a.Zone}).String())
	if err != nil {
		return nil, err
	}
	socket := packets.(*net.UDPConn)
	n, err := socketsBeside(socket)
	switch {
	case err == nil && n == 0:
		return socket, nil
	case err == nil && n == 1 && share && ids.choose(socket) == nil:
		return socket, nil
	case err == nil:
		err = syscall.EADDRINUSE
	}
	_ = socket.Close()
	return nil, err
}

// choose has the kernel use the program for all sockets of the address.
func (c connectionIDs) choose(socket *net.UDPConn) error {
	program := c.chooser()
	raw, err := socket.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		failed = unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_REUSEPORT_CBPF, &unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]})
	})
	return errors.Join(err, failed)
}

// socketsBeside is how many other sockets have the address of this one.
func socketsBeside(socket *net.UDPConn) (int, error) {
	raw, err := socket.SyscallConn()
	if err != nil {
		return 0, err
	}
	var st unix.Stat_t
	var failed error
	if err := errors.Join(raw.Control(func(fd uintptr) { failed = unix.Fstat(int(fd), &st) }), failed); err != nil {
		return 0, err
	}
	for _, name := range []string{"/proc/net/udp", "/proc/net/udp6"} {
		table, err := os.Open(name)
		if errors.Is(err, os.ErrNotExist) {
			continue // there is no IPv6
		}
		if err != nil {
			return 0, err
		}
		n, found := countBeside(bufio.NewScanner(table), strconv.FormatUint(st.Ino, 10))
		_ = table.Close()
		if found {
			return n, nil
		}
	}
	return 0, errors.New("cannot find the UDP socket in /proc/net/udp")
}

// countBeside counts the lines of other sockets with the address of the socket with this inode (proc(5)).
func countBeside(lines *bufio.Scanner, inode string) (n int, found bool) {
	const address, inodes = 1, 9 // columns
	same := map[string]int{}
	own := ""
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		if len(f) <= inodes {
			continue
		}
		same[f[address]]++
		if f[inodes] == inode {
			own, found = f[address], true
		}
	}
	return same[own] - 1, found
}
