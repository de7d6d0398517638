package discovery

import (
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/docker"
)

// signalReason begins the reason of an endpoint whose container was sent a signal.
const signalReason = "signal "

// stateOf says whether a container takes requests, and why.
func stateOf(c docker.Container, k *killed) (ruche.EndpointState, string) {
	s := c.State
	switch {
	case s.Restarting || s.Status == "restarting":
		return ruche.EndpointStopped, fmt.Sprintf("restarting after exit code %d", s.ExitCode)
	case s.Status == "created":
		return ruche.EndpointStopped, "created, not started yet"
	case !s.Running:
		return ruche.EndpointStopped, fmt.Sprintf("exit code %d", s.ExitCode)
	case k != nil && (k.startedAt.IsZero() || k.startedAt.Equal(s.StartedAt)):
		return ruche.EndpointStopping, signalReason + k.signal
	case s.Paused:
		return ruche.EndpointPaused, "docker pause"
	}
	switch s.Health {
	case "":
		return ruche.EndpointReady, "running, without a health check"
	case "healthy":
		return ruche.EndpointReady, "health_status: healthy"
	case "starting":
		return ruche.EndpointStarting, "health_status: starting"
	}
	return ruche.EndpointUnhealthy, "health_status: " + s.Health
}

// ends reports whether a signal is meant to end the container. HUP, USR1 and the like make programs reload, and QUIT makes a
// JVM tell its threads, unless the container declares one of them as its stop signal.
func ends(signal, stopSignal string) bool {
	number, ok := signalNumber(signal)
	return ok && (number == unix.SIGKILL || number == unix.SIGINT) || stops(signal, stopSignal)
}

// stops reports whether a signal is one that docker stop sends first: TERM, or what the container declares.
func stops(signal, stopSignal string) bool {
	number, ok := signalNumber(signal)
	if !ok {
		return false
	}
	stop, declared := signalNumber(stopSignal)
	return number == unix.SIGTERM || declared && stop == number
}

// signalNumber reads "15", "TERM", "SIGTERM" and "RTMIN+3", the forms the Engine takes.
func signalNumber(s string) (unix.Signal, bool) {
	s = strings.ToUpper(strings.TrimSpace(s))
	if n, err := strconv.Atoi(s); err == nil {
		return unix.Signal(n), n > 0 && n < 65
	}
	s = strings.TrimPrefix(s, "SIG")
	// The C library keeps 32 and 33 for itself.
	for name, base := range map[string]int{"RTMIN": 34, "RTMAX": 64} {
		if rest, ok := strings.CutPrefix(s, name); ok {
			offset, err := strconv.Atoi(rest)
			if rest == "" {
				offset, err = 0, nil
			}
			n := base + offset
			return unix.Signal(n), err == nil && n >= 34 && n <= 64
		}
	}
	n := unix.SignalNum("SIG" + s)
	return n, n != 0
}
