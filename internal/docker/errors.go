package docker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/moby/moby/client"
)

// ErrNotFound tells that the Engine answered and does not have what was asked for.
var ErrNotFound = errors.New("not found")

// Error is a call that failed because the Engine could not be reached, or refused.
type Error struct {
	// Op completes "cannot ...": "list the containers".
	Op string
	// Host is the Engine's address.
	Host string
	// Hint says what to do; empty when the Engine itself gave the reason.
	Hint string
	Err  error
}

// Error gives the failure in one line, without the hint.
func (e *Error) Error() string { return fmt.Sprintf("cannot %s at %s: %v", e.Op, e.Host, e.Err) }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Hint returns what a person can do about err, or "" when it carries no hint.
func Hint(err error) string {
	var e *Error
	if errors.As(err, &e) {
		return e.Hint
	}
	return ""
}

// explain turns an error of the library into one that people can act on. The library has lost the system's error by
// then, so for a unix socket the connection is tried once more to learn it.
func (c *Client) explain(op string, err error) error {
	if cerrdefs.IsNotFound(err) {
		return fmt.Errorf("cannot %s: %w", op, ErrNotFound)
	}
	e := &Error{Op: op, Host: c.host, Err: err}
	switch {
	case errors.Is(err, context.Canceled):
	case errors.Is(err, context.DeadlineExceeded):
		e.Err = errors.New("no answer in time") // callTimeout, or the less that the caller gave it
		e.Hint = "look whether the Engine is overloaded: docker info"
	case client.IsErrConnectionFailed(err) && c.Local():
		e.Hint, e.Err = c.socketTrouble(err)
	case client.IsErrConnectionFailed(err):
		e.Hint = "check the address, that the Engine listens there, and DOCKER_CERT_PATH and DOCKER_TLS_VERIFY if it wants TLS"
	}
	return e
}

func (c *Client) socketTrouble(err error) (hint string, cause error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	conn, dialErr := c.dialSocket(ctx, "", "")
	if dialErr == nil {
		_ = conn.Close()
		return "the Engine broke the connection off; look at its log", err
	}
	path := c.sockets[0]
	var opErr *net.OpError
	if errors.As(dialErr, &opErr) && opErr.Addr != nil {
		path = opErr.Addr.String()
	}
	switch {
	case errors.Is(dialErr, os.ErrNotExist):
		return "start the Docker Engine, mount its socket (-v /var/run/docker.sock:/var/run/docker.sock:ro), or name it with --docker-host; --no-docker does without",
			errors.New("the socket " + strings.Join(c.sockets, " or ") + " does not exist")
	case errors.Is(dialErr, os.ErrPermission):
		return "run Ruche as root, or as a member of the group that owns the socket (usually docker)",
			errors.New("no permission to use the socket " + path)
	case errors.Is(dialErr, syscall.ECONNREFUSED):
		return "start the Docker Engine: systemctl start docker", errors.New("nothing listens on the socket " + path)
	}
	return "", dialErr
}
