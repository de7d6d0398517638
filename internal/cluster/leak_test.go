package cluster_test

import (
	"fmt"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// TestMain checks that Close leaves no goroutine behind. etcd itself leaves two when it panics over a damaged log; Open
// fails then, and the process ends. What serves a peer's connection notices within 5 s that the listener was closed.
func TestMain(m *testing.M) {
	code := m.Run()
	var err error
	for limit := time.Now().Add(20 * time.Second); code == 0 && time.Now().Before(limit); {
		if err = goleak.Find(
			goleak.IgnoreTopFunction("go.etcd.io/etcd/server/v3/storage/backend.(*backend).run"),
			goleak.IgnoreTopFunction("go.etcd.io/etcd/server/v3/storage/wal.(*filePipeline).run")); err == nil {
			break
		}
	}
	if err != nil {
		fmt.Println(err)
		code = 1
	}
	os.Exit(code)
}
