package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// Load is a constant rate of requests: request i is due i/rate after the start whether or not the ones before it were answered. It goes on until End.
type Load struct {
	rate    int
	client  *Client
	url     string
	reached chan struct{}
	stop    context.CancelFunc
	workers sync.WaitGroup

	mu       sync.Mutex
	done     int
	failures map[string][]string // kind -> first examples
	failed   map[string]int
	byStatus map[int]int
	latency  []time.Duration
	late     time.Duration // the longest that a request was sent after it was due
}

const (
	// loadWorkers bounds the requests under way: when the endpoints of a site are away for a second, or one of two is dead, hundreds wait.
	loadWorkers = 768
	// loadMargin is for how long a load runs before what it is to see, and after that.
	loadMargin = 2 * time.Second
)

// StartLoad sends rate requests per second for the URL. A request fails when there is no whole answer, or one with another status than 200.
func (c *Client) StartLoad(rawURL string, rate int) *Load {
	ctx, stop := context.WithCancel(context.Background())
	c.t.Cleanup(stop) // for a test that ends before it
	l := &Load{
		client: c, url: rawURL, rate: rate, stop: stop, reached: make(chan struct{}),
		failures: map[string][]string{}, failed: map[string]int{}, byStatus: map[int]int{},
	}
	due := make(chan time.Time, 1<<16)
	for range loadWorkers {
		l.workers.Go(func() {
			for at := range due {
				l.request(at)
			}
		})
	}
	go l.pace(ctx, due)
	return l
}

// pace hands out the requests when they are due.
func (l *Load) pace(ctx context.Context, due chan<- time.Time) {
	defer close(due)
	interval := time.Second / time.Duration(l.rate)
	begin := time.Now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for i := 0; ; i++ {
		at := begin.Add(time.Duration(i) * interval)
		timer.Reset(time.Until(at))
		select {
		case <-timer.C:
		case <-ctx.Done():
			return
		}
		due <- at
		if i == int(loadMargin/interval) {
			close(l.reached)
		}
	}
}

func (l *Load) request(due time.Time) {
	late := time.Since(due)
	answer, err := l.client.Get(l.url)
	took := time.Since(due)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.done++
	l.late = max(l.late, late)
	l.latency = append(l.latency, took)
	switch {
	case err != nil:
		l.fail(errorKind(err), err.Error())
	case answer.Status != http.StatusOK:
		l.byStatus[answer.Status]++
		l.fail(fmt.Sprintf("status %d", answer.Status), fmt.Sprintf("%.200s", answer.Body))
	default:
		l.byStatus[answer.Status]++
	}
}

// fail counts a failure; the caller holds the lock.
func (l *Load) fail(kind, example string) {
	l.failed[kind]++
	if len(l.failures[kind]) < 3 {
		l.failures[kind] = append(l.failures[kind], fmt.Sprintf("%s request %d: %s", time.Now().Format("15:04:05.000"), l.done, example))
	}
}

func errorKind(err error) string {
	var op *net.OpError
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded) || strings.Contains(err.Error(), "Client.Timeout"):
		return "timed out"
	case errors.As(err, &op):
		return "cannot " + op.Op
	default:
		return "no whole answer"
	}
}

// UnderWay is closed when the requests of two seconds have been sent.
func (l *Load) UnderWay() <-chan struct{} { return l.reached }

// End lets it go on for two more seconds, which show what comes late, and waits until all is answered. It returns nil when no request failed, else an error with the
// failures by kind and their first examples.
func (l *Load) End() error {
	pause(loadMargin)
	l.stop()
	l.workers.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	total := 0
	var b strings.Builder
	for kind, n := range l.failed {
		total += n
		fmt.Fprintf(&b, "\n  %d x %s", n, kind)
		for _, example := range l.failures[kind] {
			fmt.Fprintf(&b, "\n    %s", example)
		}
	}
	if total == 0 {
		return nil
	}
	return fmt.Errorf("%d of %d requests to %s failed:%s", total, l.done, l.url, b.String())
}

// Failed counts the requests that failed so far.
func (l *Load) Failed() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	total := 0
	for _, n := range l.failed {
		total += n
	}
	return total
}

// String tells the outcome in one line, after the end.
func (l *Load) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	slices.Sort(l.latency)
	at := func(q float64) time.Duration {
		if len(l.latency) == 0 {
			return 0
		}
		return l.latency[int(q*float64(len(l.latency)-1))].Round(10 * time.Microsecond)
	}
	return fmt.Sprintf("%d requests at %d/s: by status %v, median %v, p99 %v, longest %v, sent at most %v late",
		l.done, l.rate, l.byStatus, at(.5), at(.99), at(1), l.late.Round(10*time.Microsecond))
}
