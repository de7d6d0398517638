package main

import (
	"maps"
	"os"
	"strings"
	"testing"
	"time"
)

func TestParseWrk(t *testing.T) {
	for name, tc := range map[string]struct {
		output string
		want   outcome
	}{
		"a clean run": {
			readFile(t, "testdata/wrk.txt"),
			outcome{requests: 99546, elapsed: 2020 * time.Millisecond, p50: 789 * time.Microsecond, p99: 34340 * time.Microsecond},
		},
		"a run with losses": {
			readFile(t, "testdata/wrk-errors.txt"),
			outcome{
				requests: 4000, elapsed: 66 * time.Second, p50: 850 * time.Microsecond, p99: 1500 * time.Millisecond,
				losses: map[string]int{"not connected": 1, "not read": 22, "not written": 3, "timed out": 4, "other status": 12},
			},
		},
	} {
		got, err := parseWrk(tc.output)
		checkOutcome(t, name, got, tc.want, err)
	}
	for _, output := range []string{"", "unable to connect to 127.0.0.1:1 Connection refused", "  5 requests in 2.00s, 1KB read"} {
		if got, err := parseWrk(output); err == nil {
			t.Errorf("%q gives %+v and no error", output, got)
		}
	}
}

func TestParseH2load(t *testing.T) {
	for name, tc := range map[string]struct {
		output string
		want   outcome
	}{
		"a clean run": {readFile(t, "testdata/h2load.txt"), outcome{requests: 214332, elapsed: 2 * time.Second}},
		"a short run": {"finished in 350.50ms, 1 req/s, 1B/s\nrequests: 7 total, 7 started, 7 done, 7 succeeded, 0 failed, 0 errored, 0 timeout", outcome{requests: 7, elapsed: 350500 * time.Microsecond}},
		"a run with losses": {
			readFile(t, "testdata/h2load-errors.txt"),
			outcome{requests: 8000, elapsed: time.Second, losses: map[string]int{"failed": 17}},
		},
	} {
		got, err := parseH2load(tc.output)
		checkOutcome(t, name, got, tc.want, err)
	}
	if got, err := parseH2load("starting benchmark...\n"); err == nil {
		t.Errorf("an output without figures gives %+v and no error", got)
	}
}

func checkOutcome(t *testing.T, name string, got, want outcome, err error) {
	t.Helper()
	if err != nil {
		t.Errorf("%s: %v", name, err)
		return
	}
	if got.requests != want.requests || got.elapsed != want.elapsed || got.p50 != want.p50 || got.p99 != want.p99 || !maps.Equal(got.losses, want.losses) {
		t.Errorf("%s: %+v, want %+v", name, got, want)
	}
}

func TestParseH2loadLog(t *testing.T) {
	var lines strings.Builder
	for range 98 {
		lines.WriteString("1700000000000000\t200\t1500\n")
	}
	lines.WriteString("1700000000000000\t200\t7000\n1700000000000000\t200\t9000\n1700000000000000\t-1\t99000\n1700000000000000\t503\t99000\n")
	p50, p99, err := parseH2loadLog(lines.String())
	if err != nil || p50 != 1500*time.Microsecond || p99 != 7*time.Millisecond {
		t.Errorf("p50 %s, p99 %s, error %v; want 1.5ms, 7ms and none", p50, p99, err)
	}
	for _, log := range []string{"", "1\t200\n", "1\t200\tlong\n", "1\t503\t10\n"} {
		if _, _, err := parseH2loadLog(log); err == nil {
			t.Errorf("%q gives no error", log)
		}
	}
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
