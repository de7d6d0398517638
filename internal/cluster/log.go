package cluster

import (
	"context"
	"log/slog"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// zapLogger hands etcd's warnings and errors to logger. What etcd would end the process for is a panic instead, which
// Open turns into an error.
func zapLogger(logger *slog.Logger) *zap.Logger {
	return zap.New(slogCore{logger.With("component", "etcd")}, zap.WithFatalHook(zapcore.WriteThenPanic))
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

// expected reports whether etcd warns about what is so on purpose here.
func expected(message string) bool {
	switch message {
	case "Running http and grpc server on single port. This is not recommended for production.", // it runs neither
		"failed to update cluster version",             // a member that stops right after its start; a living one tries again
		"simple token is not cryptographically signed": // nobody authenticates
		return true
	}
	return false
}
