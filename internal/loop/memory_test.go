package loop

import (
	"runtime"
	"runtime/debug"
	"slices"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// deep uses as much stack as code with big frames.
func deep(n int) byte {
	var frame [1024]byte
	frame[n] = byte(n)
	if n > 0 {
		frame[0] = deep(n - 1)
	}
	return frame[n]
}

// answerer reads a request and answers it in one go, with much stack.
type answerer struct {
	c       *Conn
	answers *int
}

func (a answerer) Ready() {
	var buf [64]byte
	if _, err := a.c.Read(buf[:]); err != nil {
		_ = a.c.Close()
		return
	}
	deep(40)
	_, _ = a.c.Write(buf[:1])
	*a.answers++
	a.c.Idle(time.Hour, a)
}

func (a answerer) Expired() { _ = a.c.Close() }

// inUse is what the heap and the stacks take after a collection.
func inUse() (heap, stacks uint64) {
	for range 4 { // stacks shrink by half each time, and free ones are given back in the next
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc, m.StackInuse
}

func TestMemoryOfIdleConnections(t *testing.T) {
	const most = 1024 // bytes each
	for _, tt := range []struct {
		name  string
		many  int
		crowd bool
	}{
		{"had their requests one after the other", 2_000, false},
		// Go keeps a few hundred bytes for each coroutine that there ever was at one time.
		{"all waited for their first request at once", 10_000, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			many := idleConnections(t, tt.many)
			heap, stacks := idleMemory(t, many, tt.crowd)
			t.Logf("%d idle connections: %.0f bytes each on the heap, %.0f of stacks (a Conn alone is %d)", many, heap, stacks, unsafe.Sizeof(Conn{}))
			// A crowd leaves some fibers with stacks that have grown, which a few connections cannot share.
			if heap+stacks > most && (!tt.crowd || many > tt.many/2) {
				t.Errorf("an idle connection takes %.0f bytes, want at most %d", heap+stacks, most)
			}
		})
	}
}

// idleMemory is what each of some connections takes that wait for their next request.
func idleMemory(t *testing.T, many int, crowd bool) (heap, stacks float64) {
	g := start(t, 2)
	ln := listen(t)
	answers := make([]int, len(g.Loops()))
	open := serve(t, g, ln, Acceptor{Accepted: func(c *Conn) {
		answerer{c, &answers[c.Loop().Index()]}.Ready()
	}})
	clients := make([]int, 0, many)
	t.Cleanup(func() {
		for _, fd := range clients {
			_ = unix.Close(fd)
		}
	})
	heap0, stacks0 := inUse()
	for range many {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		clients = append(clients, fd)
		client(t, fd, addr(ln))
		if !crowd {
			request(t, fd)
		}
	}
	for _, l := range g.Loops() {
		on(t, l, func() { until(l, func() bool { return open.Connected() == int64(many) }) })
	}
	for _, fd := range clients {
		request(t, fd)
	}
	heap1, stacks1 := inUse()
	return float64(int64(heap1-heap0)) / float64(many), float64(int64(stacks1-stacks0)) / float64(many)
}

func request(t *testing.T, fd int) {
	t.Helper()
	one := []byte("x")
	if _, err := unix.Write(fd, one); err != nil {
		t.Fatal(err)
	}
	if n, err := unix.Read(fd, one); n != 1 || err != nil {
		t.Fatalf("read %d: %v", n, err)
	}
}

// idleConnections is how many there can be, with both ends in this process.
func idleConnections(t *testing.T, want int) int {
	t.Helper()
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	n := want
	if free := int(min(limit.Cur, 1<<20)) - descriptors(t) - 50; 2*n > free {
		n = free / 2
	}
	if testing.Short() || raced() {
		n = min(n, want/10)
	}
	return n
}

// raced reports whether the race detector is in: everything takes longer with it.
func raced() bool {
	info, _ := debug.ReadBuildInfo()
	return info != nil && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}
