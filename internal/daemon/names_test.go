package daemon

import (
	"testing"

	"github.com/ruche-project/ruche/internal/certs/vault"
	"github.com/ruche-project/ruche/internal/discovery"
)

// Subsystems never import one another, so a bucket that one writes and another reads has its name in both.
func TestSubsystemsAgreeOnBuckets(t *testing.T) {
	if discovery.BucketCertSpecs != vault.BucketSpecs {
		t.Errorf("discovery writes %q, certs reads %q", discovery.BucketCertSpecs, vault.BucketSpecs)
	}
}
