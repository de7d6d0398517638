package stack

import (
	"context"
	"time"

	"github.com/ruche-project/ruche/internal/docker"
)

// StackFile is the file with its variables.
func StackFile() string { return stackFile }

// UpgradeQuickly is Upgrade that looks more often.
func UpgradeQuickly(ctx context.Context, engine *docker.Client, stack, image string, say func(string)) error {
	return upgradeEvery(ctx, engine, stack, image, say, time.Millisecond)
}
