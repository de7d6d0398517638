package dns

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/ruche-project/ruche/internal/certs/guard"
)

// apiTimeout bounds one call of an API.
const apiTimeout = 30 * time.Second

// network is how a writer reaches its provider.
type network struct {
	client *http.Client
	dialer *net.Dialer // for what is not HTTP; nil: the usual one
}

// guardedNetwork leads nowhere that a workload must not have this node go.
func guardedNetwork() network {
	transport := guard.Transport(http.DefaultTransport.(*http.Transport).Clone())
	return network{client: &http.Client{Timeout: apiTimeout, Transport: transport}, dialer: guard.Dialer(updateTimeout)}
}

func isRefused(err error) bool {
	var refused *guard.Refused
	return errors.As(err, &refused)
}

// hinted says what to do where the address of a provider was refused.
func hinted(err error) error {
	if !isRefused(err) {
		return err
	}
	return fmt.Errorf("%w %s", err, forOperator)
}
