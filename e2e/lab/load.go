package lab

import (
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

// Load is a constant rate of requests: request i is due i/rate after the start whether or not the
// ones before it were answered. It ends after a fixed number of requests, or when it is stopped.
type Load struct {
	count    int
	rate     int
	client   *Client
	url      string
	reached  chan struct{}
	stop     chan struct{}
	finished chan struct{}

	mu       sync.Mutex
	done     int
	failures map[string][]string // kind -> first examples
	failed   map[string]int
	byStatus map[int]int
	latency  []time.Duration
	late     time.Duration // the longest that a request was sent after it was due
}

// loadWorkers bounds the requests under way: when the endpoints of a site are away for a second, or one of two is dead, hundreds wait.
const loadWorkers = 768

// StartLoad sends count requests at rate per second for the URL. A request fails when there is no whole answer, or
// one with another status than 200.
func (c *Client) StartLoad(rawURL string, rate, count int) *Load {
	l := &Load{
		client: c, url: rawURL, rate: rate, count: count,
		reached: make(chan struct{}), stop: make(chan struct{}), finished: make(chan struct{}),
		failures: map[string][]string{}, failed: map[string]int{}, byStatus: map[int]int{},
	}
	due := make(chan time.Time, count)
	var workers sync.WaitGroup
	for range loadWorkers {
		workers.Go(func() {
			for at := range due {
				l.request(at)
			}
		})
	}
	go func() {
		defer close(l.finished)
		l.pace(due)
		workers.Wait()
	}()
	return l
}

// pace hands out the requests when they are due.
func (l *Load) pace(due chan<- time.Time) {
	defer close(due)
	interval := time.Second / time.Duration(l.rate)
	begin := time.Now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for i := range l.count {
		at := begin.Add(time.Duration(i) * interval)
		timer.Reset(time.Until(at))
		select {
		case <-timer.C:
		case <-l.stop:
			return
		}
		due <- at
		if i == min(l.count/3, 7*l.rate) {
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

// Stop has no more requests sent; it is called once.
func (l *Load) Stop() { close(l.stop) }

// UnderWay is closed when a third of the requests, or those of seven seconds, have been sent.
func (l *Load) UnderWay() <-chan struct{} { return l.reached }

// Finished is closed when every request has been answered or has failed.
func (l *Load) Finished() <-chan struct{} { return l.finished }

// Wait waits for the end and returns nil when no request failed, else an error with the failures by kind and their
// first examples.
func (l *Load) Wait() error {
	<-l.finished
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
