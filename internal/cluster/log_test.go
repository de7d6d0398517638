package cluster

import (
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

func TestOnlyPassingTroubleIsKeptQuiet(t *testing.T) {
	cases := []struct {
		name, message, cause string
		logged               bool
	}{
		{"new database, schema", "Failed to detect schema version", "missing term information", false},
		{"new database, storage", "failed to update storage version", "cannot detect storage schema version: missing term information", false},
		{"storage, for another reason", "failed to update storage version", "disk gone", true},
		{"closing", "failed to update cluster version", "etcdserver: request cancelled", false},
		{"cluster version, for another reason", "failed to update cluster version", "etcdserver: request timed out", true},
		{"anything else", "slow fdatasync", "request cancelled", true},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var log strings.Builder
			logger := slog.New(slog.NewTextHandler(&log, nil))
			zapLogger(logger, &news{logger: logger}).Warn(c.message, zap.Error(errors.New(c.cause)))
			if got := log.Len() > 0; got != c.logged {
				t.Errorf("logged %q, want logged: %v", log.String(), c.logged)
			}
		})
	}
}

// Whoever knocks again and again is counted each time, and does not fill the log.
func TestRefusalsAreLoggedOnceInAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		r := newRefusals(slog.New(slog.NewTextHandler(&log, nil)))
		knock := func(why string) {
			for range 5 {
				r.add([]zapcore.Field{zap.String("remote-addr", "192.0.2.1:4711"), zap.Error(errors.New(why))})
			}
		}
		for lines := 1; lines <= 3; lines++ {
			knock("tls: first record does not look like a TLS handshake")
			knock("x509: certificate signed by unknown authority")
			for _, reason := range []string{"plain-text", "forged"} {
				if got := strings.Count(log.String(), "reason="+reason+" "); got != lines || r.counts[reason] != int64(5*lines) {
					t.Errorf("%s was counted %d times and logged %d times, want %d and %d:\n%s", reason, r.counts[reason], got, 5*lines, lines, log.String())
				}
			}
			<-time.After(refusalPause)
		}
		if !strings.Contains(log.String(), "from=192.0.2.1:4711") || !strings.Contains(log.String(), "refused_so_far=11") {
			t.Errorf("the log does not tell who it was and how many:\n%s", log.String())
		}
		for reason := range r.counts {
			if !slices.Contains(RefusalReasons(), reason) {
				t.Errorf("%q is not listed", reason)
			}
		}
	})
}
