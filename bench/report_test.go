package main

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"runtime"
	"slices"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the golden files")

// measured is a report of two rows with all that can happen in one.
func measured() report {
	proxies := []peer{{name: "nginx"}, {name: "ruche"}}
	small := newRowResult(row{name: "small", title: "answer of 1 KiB"}, proxies)
	for round, us := range []int{20, 30, 22} {
		base := outcome{requests: 1000, elapsed: time.Second, p50: time.Millisecond, p99: 4 * time.Millisecond}
		small.add(0, newSample(base, time.Duration(us)*time.Millisecond, 8<<20, 1.5), nil)
		own := outcome{requests: 2000, elapsed: time.Second, p50: 500 * time.Microsecond, p99: 3 * time.Millisecond}
		if round == 1 {
			own.losses = map[string]int{"cut off": 2, "status 502": 1}
		}
		small.add(1, newSample(own, time.Duration(us*3)*time.Millisecond, 40<<20, 2), nil)
	}
	rest := newRowResult(row{name: "rest", title: "idle connections, swaps and failures"}, proxies)
	rest.add(0, sample{}, errors.New("nginx has ended: no such file"))
	o := outcome{requests: 10, elapsed: time.Second, perConnection: 5632, swaps: 19, swapTime: 42 * time.Millisecond}
	rest.add(1, newSample(o, time.Millisecond, 300<<20, 30), nil)
	return report{
		Date: "2026-01-02", Machine: machine{CPU: "Some CPU @ 2.50GHz", Cores: 2, Memory: "4 GiB", Kernel: "6.1.0", System: "Debian"},
		Versions: map[string]string{"nginx": "1.22.1", "ruche": "1.0.0"}, Rounds: 3, Rows: []rowResult{small, rest},
	}
}

func TestReportIsGolden(t *testing.T) {
	dir := t.TempDir()
	path, err := measured().save(dir)
	if err != nil {
		t.Fatal(err)
	}
	if want := dir + "/2026-01-02-some-cpu-2-50ghz-2-cores"; path != want {
		t.Errorf("it is written to %s, want %s", path, want)
	}
	for _, ext := range []string{".md", ".json"} {
		got, golden := readFile(t, path+ext), "testdata/report"+ext
		if *update {
			if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if got != readFile(t, golden) {
			t.Errorf("%s differs (go test ./bench -update writes it):\n%s", golden, got)
		}
	}
}

func TestFailedStepsAreNamed(t *testing.T) {
	const want = "rest could not be measured with nginx: nginx has ended: no such file"
	if err := measured().failed(); err == nil || err.Error() != want {
		t.Errorf("%v, want %q", err, want)
	}
}

// TestRatiosAreByRound has a machine that is half as fast in the second round: the ratio must not see it.
func TestRatiosAreByRound(t *testing.T) {
	got := ratioOf([]sample{{CPU: 30}, {CPU: 60}, {CPU: 33}}, []sample{{CPU: 20}, {CPU: 40}, {CPU: 30}})
	if got.CPU != 1.5 {
		t.Errorf("ratio %v, want 1.5", got.CPU)
	}
	if ratioOf(nil, []sample{{CPU: 1}}) != nil {
		t.Error("there is a ratio without a round")
	}
}

func TestForeignWork(t *testing.T) {
	now := time.Now()
	before := usage{at: now, busy: time.Hour, own: time.Minute}
	all := time.Duration(runtime.NumCPU()) * time.Second
	for _, tc := range []struct {
		busy, own time.Duration
		want      float64
	}{{all, all, 0}, {all / 2, all / 4, 25}, {all / 2, all, 0}} {
		after := usage{at: now.Add(time.Second), busy: time.Hour + tc.busy, own: time.Minute + tc.own}
		if got := after.foreignSince(before); got != tc.want {
			t.Errorf("busy %s, own %s: %v %%, want %v", tc.busy, tc.own, got, tc.want)
		}
	}
	if u := usageWith(); u.busy <= 0 || u.own <= 0 {
		t.Errorf("the machine and this test have used %+v", u)
	}
}

func TestMedian(t *testing.T) {
	for _, tc := range []struct {
		values []float64
		want   float64
	}{{nil, 0}, {[]float64{3}, 3}, {[]float64{9, 1}, 5}, {[]float64{9, 1, 2}, 2}} {
		if got := median(slices.Clone(tc.values)); got != tc.want {
			t.Errorf("median of %v is %v, want %v", tc.values, got, tc.want)
		}
	}
}

func TestChoice(t *testing.T) {
	for _, tc := range []struct {
		expression string
		want       int
	}{{"", len(rows())}, {"^small$", 1}, {"swap", 2}, {"Lookup", 0}} {
		if got, err := chooseRows(tc.expression); err != nil || len(got) != tc.want {
			t.Errorf("rows %q: %d, error %v; want %d", tc.expression, len(got), err, tc.want)
		}
	}
	for _, args := range [][]string{{"-rows", "("}, {"-rows", "nothing"}, {"-rounds", "0"}, {"-peers", "apache"}, {"small"}} {
		if err := command(t.Context(), args, new(bytes.Buffer)); err == nil {
			t.Errorf("%v: no error", args)
		}
	}
}
