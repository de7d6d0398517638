package cluster

import "go.uber.org/zap/zapcore"

// Fail ends a goroutine as etcd does when it cannot go on. The returned function lets the member be closed like one that works,
// because nothing has failed really.
func Fail(c *Cluster, why string) (mend func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.current.Load().news.OnWrite(&zapcore.CheckedEntry{Entry: zapcore.Entry{Message: why}}, nil)
		panic("the goroutine goes on")
	}()
	<-done
	return func() { c.current.Load().news.failed.Store(nil) }
}
