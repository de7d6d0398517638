package daemon

import (
	"fmt"
	"net"

	"golang.org/x/sys/unix"
)

// notifier returns what tells a service manager how this process is (sd_notify(3)); address is its NOTIFY_SOCKET, empty when there is none.
func notifier(address string) func(state string) {
	if address == "" {
		return func(string) {}
	}
	return func(state string) {
		// Nothing depends on whether it is heard.
		c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Net: "unixgram", Name: address})
		if err != nil {
			return
		}
		_, _ = c.Write([]byte(state))
		_ = c.Close()
	}
}

// reloading says that the process is about to be another one. The time is that of the system's monotonic clock.
func reloading() string {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return "RELOADING=1"
	}
	return fmt.Sprintf("RELOADING=1\nMONOTONIC_USEC=%d", now.Nano()/1000)
}
