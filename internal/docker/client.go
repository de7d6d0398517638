package docker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/moby/moby/client"
)

const (
	// callTimeout bounds one call; a busy Engine with 1,000 containers answers a list in about a second.
	callTimeout = 15 * time.Second
	dialTimeout = 5 * time.Second
	// maxIdle keeps connections open for parallel inspects, so that a full sync does not dial per container.
	maxIdle = 16
)

// Client talks to one Engine. It is safe for concurrent use.
type Client struct {
	api  *client.Client
	host string
	// sockets are the unix sockets tried in order; empty for tcp.
	sockets []string
	plain   bool
}

// Open prepares a client without connecting. host is unix:///path or tcp://address:port; empty means the environment
// variable DOCKER_HOST and, when that is empty too, /var/run/docker.sock, then /tmp/docker.sock, whichever answers
// when a connection is made. TLS for tcp comes from DOCKER_CERT_PATH and DOCKER_TLS_VERIFY. An error means that host
// or the TLS files cannot be used.
func Open(host string) (*Client, error) {
	host = cmp.Or(host, os.Getenv(client.EnvOverrideHost))
	c := &Client{host: host}
	var opts []client.Opt
	scheme, rest, found := strings.Cut(host, "://")
	switch {
	case host == "":
		c.sockets = []string{"/var/run/docker.sock", "/tmp/docker.sock"}
		c.host = "unix://" + c.sockets[0]
	case found && scheme == "unix" && filepath.IsAbs(rest):
		c.sockets = []string{rest}
	case found && scheme == "tcp" && rest != "":
		tls, err := tlsOption()
		if err != nil {
			return nil, err
		}
		opts, c.plain = append(opts, tls), os.Getenv(client.EnvOverrideCertPath) == ""
	default:
		return nil, fmt.Errorf("cannot use Docker host %q: it must be unix:///path/to/docker.sock or tcp://address:port", host)
	}
	transport := &http.Transport{MaxIdleConns: maxIdle, MaxIdleConnsPerHost: maxIdle, IdleConnTimeout: 90 * time.Second}
	httpClient := &http.Client{Transport: transport, CheckRedirect: client.CheckRedirect}
	// WithHost sets the transport's dialer for the scheme; for sockets ours replaces it, because it tries several.
	opts = append([]client.Opt{client.WithHTTPClient(httpClient)}, append(opts, client.WithHost(c.host))...)
	if len(c.sockets) > 0 {
		opts = append(opts, client.WithDialContext(c.dialSocket), client.WithScheme("http"))
	}
	api, err := client.New(opts...)
	if err != nil {
		return nil, fmt.Errorf("cannot use Docker host %q: %w", c.host, err)
	}
	c.api = api
	return c, nil
}

// tlsOption reads DOCKER_CERT_PATH and DOCKER_TLS_VERIFY as the docker command does. No certificate path means no TLS.
func tlsOption() (client.Opt, error) {
	dir := os.Getenv(client.EnvOverrideCertPath)
	if dir == "" {
		if os.Getenv(client.EnvTLSVerify) != "" {
			return nil, fmt.Errorf("cannot verify the Docker host: %s is set, but %s does not name a directory with ca.pem, cert.pem and key.pem",
				client.EnvTLSVerify, client.EnvOverrideCertPath)
		}
		return client.WithScheme("http"), nil
	}
	return client.WithTLSClientConfigFromEnv(), nil
}

// Host returns the Engine's address for people. Of the default sockets it names the first one.
func (c *Client) Host() string { return c.host }

// Local reports whether the Engine is on this host, so that both have one clock.
func (c *Client) Local() bool { return len(c.sockets) > 0 }

// Plain reports whether it speaks to the Engine over a network without TLS.
func (c *Client) Plain() bool { return c.plain }

// Close closes idle connections.
func (c *Client) Close() error { return c.api.Close() }

func (c *Client) dialSocket(ctx context.Context, _, _ string) (net.Conn, error) {
	dialer := net.Dialer{Timeout: dialTimeout}
	var errs []error
	for _, path := range c.sockets {
		conn, err := dialer.DialContext(ctx, "unix", path)
		if err == nil {
			return conn, nil
		}
		errs = append(errs, err)
	}
	// The first socket is the one people expect, unless only the second exists.
	i := slices.IndexFunc(errs, func(err error) bool { return !errors.Is(err, os.ErrNotExist) })
	return nil, errs[max(i, 0)]
}

// Ping asks whether the Engine answers and returns the API version it offers.
func (c *Client) Ping(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	result, err := c.api.Ping(ctx, client.PingOptions{NegotiateAPIVersion: true})
	if err != nil {
		return "", c.explain("reach the Docker Engine", err)
	}
	return result.APIVersion, nil
}

// List returns all containers, stopped ones included, ordered by ID.
func (c *Client) List(ctx context.Context) ([]Summary, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	result, err := c.api.ContainerList(ctx, client.ContainerListOptions{All: true})
	if err != nil {
		return nil, c.explain("list the containers", err)
	}
	list := make([]Summary, 0, len(result.Items))
	for _, item := range result.Items {
		list = append(list, summaryFrom(item))
	}
	slices.SortFunc(list, func(a, b Summary) int { return cmp.Compare(a.ID, b.ID) })
	return list, nil
}

// Inspect returns one container by its ID, a unique prefix of it, or its name. errors.Is(err, ErrNotFound) tells that the
// Engine answered and has no such container.
func (c *Client) Inspect(ctx context.Context, id string) (Container, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	result, err := c.api.ContainerInspect(ctx, id, client.ContainerInspectOptions{})
	if err != nil {
		return Container{}, c.explain("inspect container "+short(id), err)
	}
	return containerFrom(result.Container), nil
}

// Networks returns all networks, ordered by name.
func (c *Client) Networks(ctx context.Context) ([]Network, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	result, err := c.api.NetworkList(ctx, client.NetworkListOptions{})
	if err != nil {
		return nil, c.explain("list the networks", err)
	}
	list := make([]Network, 0, len(result.Items))
	for _, item := range result.Items {
		n := Network{ID: item.ID, Name: item.Name, Driver: item.Driver, Internal: item.Internal, Ingress: item.Ingress, Attachable: item.Attachable}
		for _, c := range item.IPAM.Config {
			if n.Ingress && c.Subnet.IsValid() {
				n.Subnets = append(n.Subnets, c.Subnet.Masked())
			}
		}
		list = append(list, n)
	}
	slices.SortFunc(list, func(a, b Network) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID))
	})
	return list, nil
}

// CreateOverlay creates a network of the whole Swarm, which containers that are no tasks can join too. errors.Is(err, ErrExists) tells that there is a
// network of that name.
func (c *Client) CreateOverlay(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	_, err := c.api.NetworkCreate(ctx, name, client.NetworkCreateOptions{Driver: "overlay", Attachable: true})
	return c.explainCreate("network "+name, err)
}

// short is the form of an ID that the docker command prints.
func short(id string) string {
	if len(id) == 64 {
		return id[:12]
	}
	return id
}

// Dial opens a connection to the Engine's unix socket, for who speaks to it alone. The error tells when the Engine is not reached by one.
func (c *Client) Dial(ctx context.Context) (net.Conn, error) {
	if len(c.sockets) == 0 {
		return nil, fmt.Errorf("cannot open the socket of the Engine at %s: it is not reached by a unix socket", c.host)
	}
	return c.dialSocket(ctx, "", "")
}
