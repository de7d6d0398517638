package cluster

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// zapLogger hands etcd's warnings and errors to logger, and to end what it would end the process for.
func zapLogger(logger *slog.Logger, end *fatalEnd) *zap.Logger {
	return zap.New(slogCore{logger.With("component", "etcd")}, zap.WithFatalHook(end), zap.WithPanicHook(end))
}

// fatalEnd decides what becomes of a goroutine in which etcd cannot go on: a disk that is full, most often. While the member starts it
// is a panic, which Open turns into an error. Later only the goroutine ends: the state takes no more writes, but the process
// serves on what it knows.
type fatalEnd struct {
	logger  *slog.Logger
	started atomic.Bool
	failed  atomic.Pointer[string] // why
}

// OnWrite implements zapcore.CheckWriteHook.
func (f *fatalEnd) OnWrite(e *zapcore.CheckedEntry, _ []zapcore.Field) {
	if !f.started.Load() {
		panic(e.Message)
	}
	if f.failed.CompareAndSwap(nil, &e.Message) {
		f.logger.Error("the replicated state has failed: what is known is served on, changes wait until ruche is started again", "cause", e.Message,
			"hint", "make room on the disk of the data directory, then restart ruche")
	}
	runtime.Goexit()
}

// err tells that the member has failed.
func (f *fatalEnd) err() error {
	if why := f.failed.Load(); why != nil {
		return fmt.Errorf("%w: %s; make room on its disk if it is full, then restart ruche", ErrClosed, *why)
	}
	return nil
}

// slogCore is a zapcore.Core that writes to a slog.Logger.
type slogCore struct {
	logger *slog.Logger
}

// Enabled lets warnings and worse pass: etcd tells its whole life at info.
func (c slogCore) Enabled(l zapcore.Level) bool { return l >= zapcore.WarnLevel }

// With returns a core that adds fields to every entry.
func (c slogCore) With(fields []zapcore.Field) zapcore.Core {
	return slogCore{c.logger.With(attributes(fields)...)}
}

// Check adds the core to an entry that it is to write.
func (c slogCore) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if !c.Enabled(e.Level) || expected(e.Message) {
		return ce
	}
	return ce.AddCore(e, c)
}

// Write logs the entry.
func (c slogCore) Write(e zapcore.Entry, fields []zapcore.Field) error {
	if passing(e.Message, fields) {
		return nil
	}
	level := slog.LevelWarn
	if e.Level > zapcore.WarnLevel {
		level = slog.LevelError
	}
	c.logger.Log(context.Background(), level, e.Message, attributes(fields)...)
	return nil
}

// Sync does nothing: slog does not buffer.
func (c slogCore) Sync() error { return nil }

func attributes(fields []zapcore.Field) []any {
	enc := zapcore.NewMapObjectEncoder()
	list := make([]any, 0, len(fields))
	for _, f := range fields {
		f.AddTo(enc)
	}
	for k, v := range enc.Fields {
		list = append(list, slog.Any(k, v))
	}
	return list
}

// passing reports whether etcd warns about what a start or a stop brings along and the next try mends. Any other cause of the same
// message is logged.
func passing(message string, fields []zapcore.Field) bool {
	var cause string
	switch message {
	case "Failed to detect schema version", "failed to update storage version":
		cause = "missing term information" // a new database has no term yet
	case "failed to update cluster version":
		cause = "request cancelled" // the member is being closed
	default:
		return false
	}
	return slices.ContainsFunc(fields, func(f zapcore.Field) bool {
		err, ok := f.Interface.(error)
		return ok && strings.Contains(err.Error(), cause)
	})
}

// expected reports whether etcd warns about what is so on purpose here.
func expected(message string) bool {
	switch message {
	case "Running http and grpc server on single port. This is not recommended for production.", // it runs neither
		"aborting cluster version update; server is stopped", // it says why itself
		"simple token is not cryptographically signed":       // nobody authenticates
		return true
	}
	return false
}
