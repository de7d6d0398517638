// Package rotation has something done again and again at the times that it says itself.
package rotation

import (
	"context"
	"log/slog"
	"time"
)

// retry is the pause after a step that failed.
const retry = 5 * time.Second

// Run calls step at once and after each pause that it gives, until ctx ends; then it returns nil. A step that fails is logged as one that cannot rotate what, and tried again after 5 seconds.
func Run(ctx context.Context, logger *slog.Logger, what string, step func(ctx context.Context, now time.Time) (pause time.Duration, err error)) error {
	for {
		pause, err := step(ctx, time.Now())
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			logger.Warn("cannot rotate "+what+", trying on", slog.Any("error", err))
			pause = retry
		}
		t := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			t.Stop()
			return nil
		case <-t.C:
		}
	}
}
