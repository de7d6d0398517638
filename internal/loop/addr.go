package loop

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// sockaddr is an address for connect, with its family. An IPv4 address is not in IPv6 form.
func sockaddr(to netip.AddrPort) (int, unix.Sockaddr, error) {
	a := to.Addr()
	switch {
	case !a.IsValid():
		return 0, nil, fmt.Errorf("cannot connect to an invalid address")
	case a.Is4():
		return unix.AF_INET, &unix.SockaddrInet4{Port: int(to.Port()), Addr: a.As4()}, nil
	}
	zone, err := zoneID(a.Zone())
	return unix.AF_INET6, &unix.SockaddrInet6{Port: int(to.Port()), Addr: a.As16(), ZoneId: zone}, err
}

// zoneID is the index of a network interface, which the zone names or is.
func zoneID(zone string) (uint32, error) {
	if zone == "" {
		return 0, nil
	}
	i, err := net.InterfaceByName(zone)
	if err == nil {
		return uint32(i.Index), nil
	}
	if n, notNumber := strconv.ParseUint(zone, 10, 32); notNumber == nil {
		return uint32(n), nil
	}
	return 0, fmt.Errorf("cannot find the network interface %q: %w", zone, err)
}

func localAddr(fd int) netip.AddrPort {
	var sa unix.RawSockaddrAny
	size := uint32(unsafe.Sizeof(sa))
	if _, _, err := syscall.RawSyscall(unix.SYS_GETSOCKNAME, uintptr(fd), uintptr(unsafe.Pointer(&sa)), uintptr(unsafe.Pointer(&size))); err != 0 {
		return netip.AddrPort{}
	}
	return addrPort(&sa)
}

// addrPort is an IPv4 or IPv6 socket address, without a zone; an IPv4 address in IPv6 form becomes the former.
func addrPort(sa *unix.RawSockaddrAny) netip.AddrPort {
	switch sa.Addr.Family {
	case unix.AF_INET:
		in := (*unix.RawSockaddrInet4)(unsafe.Pointer(sa))
		return netip.AddrPortFrom(netip.AddrFrom4(in.Addr), swap16(in.Port))
	case unix.AF_INET6:
		in := (*unix.RawSockaddrInet6)(unsafe.Pointer(sa))
		return netip.AddrPortFrom(netip.AddrFrom16(in.Addr).Unmap(), swap16(in.Port))
	}
	return netip.AddrPort{}
}

// swap16 turns a port in network byte order into a number.
func swap16(port uint16) uint16 {
	b := (*[2]byte)(unsafe.Pointer(&port))
	return uint16(b[0])<<8 | uint16(b[1])
}
