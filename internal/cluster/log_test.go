package cluster

import (
	"errors"
	"log/slog"
	"strings"
	"testing"

	"go.uber.org/zap"
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
