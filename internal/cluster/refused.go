package cluster

import (
	"log/slog"
	"maps"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap/zapcore"
)

// refusalPause is the time between two log lines about connections that are refused for the same reason.
const refusalPause = 10 * time.Second

// refusals counts the connections that were refused at the peer address, by reason.
type refusals struct {
	logger *slog.Logger
	mu     sync.Mutex
	counts map[string]int64
	told   map[string]time.Time
}

func newRefusals(logger *slog.Logger) *refusals {
	return &refusals{logger: logger, counts: make(map[string]int64), told: make(map[string]time.Time)}
}

// Refused counts, since Open, the connections to the peer address that were refused, by reason: "forged" (a certificate of another authority),
// "not-a-member" (of ours, but with another common name), "no-certificate", "expired", "plain-text", "tls-version" (below 1.3), "handshake" (anything else).
func (c *Cluster) Refused() map[string]int64 {
	c.refused.mu.Lock()
	defer c.refused.mu.Unlock()
	return maps.Clone(c.refused.counts)
}

// RefusalReasons lists the reasons that Refused counts by.
func RefusalReasons() []string {
	return []string{"forged", "not-a-member", "no-certificate", "expired", "plain-text", "tls-version", "handshake"}
}

// add takes what etcd logs of a refused connection.
func (r *refusals) add(fields []zapcore.Field) {
	why := cause(fields)
	reason := refusal(why)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.counts[reason]++
	now := time.Now()
	if now.Sub(r.told[reason]) < refusalPause {
		return
	}
	r.told[reason] = now
	var from string
	for _, f := range fields {
		if f.Key == "remote-addr" {
			from = f.String
		}
	}
	r.logger.Warn("refused a connection to the members' port", "from", from, "reason", reason, "error", why, "refused_so_far", r.counts[reason])
}

func refusal(why string) string {
	for _, known := range []struct{ part, reason string }{
		{"unknown authority", "forged"},
		{"client certificate authentication failed", "not-a-member"},
		{"didn't provide a certificate", "no-certificate"},
		{"has expired", "expired"},
		{"does not look like a TLS handshake", "plain-text"},
		{"protocol version", "tls-version"},
		{"unsupported versions", "tls-version"},
	} {
		if strings.Contains(why, known.part) {
			return known.reason
		}
	}
	return "handshake"
}
