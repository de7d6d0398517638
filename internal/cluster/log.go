package cluster

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync/atomic"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// zapLogger hands etcd's warnings and errors to logger, and to news what they mean for the member.
func zapLogger(logger *slog.Logger, news *news) *zap.Logger {
	return zap.New(slogCore{logger.With("component", "etcd"), news}, zap.WithFatalHook(news), zap.WithPanicHook(news))
}

// news is what etcd tells nowhere but in its log. It decides what becomes of a goroutine in which etcd cannot go on: a disk that is full, most often.
// While the member starts it is a panic, which Open turns into an error. Later only the goroutine ends: the state takes no more writes, but the process
// serves on what it knows.
type news struct {
	logger  *slog.Logger
	started atomic.Bool
	failed  atomic.Pointer[string] // why
	removed atomic.Bool            // the other members said so
	refused *refusals
}

// OnWrite implements zapcore.CheckWriteHook.
func (n *news) OnWrite(e *zapcore.CheckedEntry, _ []zapcore.Field) {
	if !n.started.Load() {
		panic(e.Message)
	}
	if n.failed.CompareAndSwap(nil, &e.Message) {
		n.logger.Error("the replicated state has failed: what is known is served on, changes wait until ruche is started again", "cause", e.Message,
			"hint", "make room on the disk of the data directory, then restart ruche")
	}
	runtime.Goexit()
}

// err tells that the member has failed.
func (n *news) err() error {
	if why := n.failed.Load(); why != nil {
		return fmt.Errorf("%w: %s; make room on its disk if it is full, then restart ruche", ErrClosed, *why)
	}
	return nil
}

// orElse is why the member stopped: that it was removed, if it was told so, else the error.
func (n *news) orElse(err error) error {
	if n.removed.Load() {
		return ErrRemoved
	}
	return err
}

// note takes what an entry means. It reports whether the entry need not be logged any more.
func (n *news) note(message string, fields []zapcore.Field) bool {
	switch message {
	case "rejected connection on peer endpoint":
		if !strings.Contains(cause(fields), closedConnection) {
			n.refused.add(fields)
		}
		return true
	case "server error": // the server's last words
		if strings.Contains(cause(fields), "permanently removed from the cluster") {
			n.removed.Store(true)
			return true
		}
	case "data-dir used by this member must be removed":
		return true
	}
	return false
}

// cause is the error among the fields.
func cause(fields []zapcore.Field) string {
	for _, f := range fields {
		if err, ok := f.Interface.(error); ok {
			return err.Error()
		}
	}
	return ""
}

// closedConnection is what Go says of a connection or listener that this side has closed: the member is being closed.
const closedConnection = "use of closed network connection"

// slogCore is a zapcore.Core that writes to a slog.Logger.
type slogCore struct {
	logger *slog.Logger
	news   *news
}

// Enabled lets warnings and worse pass: etcd tells its whole life at info.
func (c slogCore) Enabled(l zapcore.Level) bool { return l >= zapcore.WarnLevel }

// With returns a core that adds fields to every entry.
func (c slogCore) With(fields []zapcore.Field) zapcore.Core {
	return slogCore{c.logger.With(attributes(fields)...), c.news}
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
	if c.news.note(e.Message, fields) || passing(e.Message, fields) {
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
	// A member whose machine is busy seeks to lead before it has applied its own first entry.
	if strings.HasSuffix(message, "since there are still pending configuration changes to apply") {
		return true
	}
	switch message {
	case "Failed to detect schema version", "failed to update storage version":
		return strings.Contains(cause(fields), "missing term information") // a new database has no term yet
	case "failed to update cluster version":
		return strings.Contains(cause(fields), "request cancelled") // the member is being closed
	case "setting up serving from embedded etcd failed.":
		return strings.Contains(cause(fields), closedConnection)
	}
	return false
}

// expected reports whether etcd warns about what is so on purpose here.
func expected(message string) bool {
	if strings.HasPrefix(message, "rejecting member ") { // persist tries on, and who asked gets the error
		return true
	}
	switch message {
	case "Running http and grpc server on single port. This is not recommended for production.", // it runs neither
		"aborting cluster version update; server is stopped", // it says why itself
		"closed TCP streaming connection with remote peer",   // that it was lost is told too
		"simple token is not cryptographically signed":       // nobody authenticates
		return true
	}
	return false
}
