package main

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"time"
)

// sample is what one step has measured.
type sample struct {
	CPU          float64        `json:"cpu_us_per_request"` // of the proxy, all its processes
	Rate         float64        `json:"requests_per_s"`
	P50          float64        `json:"p50_ms"`
	P99          float64        `json:"p99_ms"`
	Memory       float64        `json:"memory_mib"` // resident, after the load
	Requests     int            `json:"requests"`
	Errors       int            `json:"errors"`
	Losses       map[string]int `json:"losses,omitempty"`
	PerIdle      float64        `json:"kib_per_idle_connection,omitempty"`
	Swaps        int            `json:"swaps,omitempty"`
	SwapDuration float64        `json:"swap_ms,omitempty"`
	// Foreign is what work other than the run's had of the machine meanwhile.
	Foreign float64 `json:"foreign_cpu_percent"`
}

func newSample(o outcome, used time.Duration, memory int64, foreign float64) sample {
	s := sample{
		P50: millis(o.p50), P99: millis(o.p99), Memory: float64(memory) / (1 << 20), Requests: o.requests, Errors: o.errors(),
		PerIdle: o.perConnection / (1 << 10), Swaps: o.swaps, SwapDuration: millis(o.swapTime), Foreign: math.Round(foreign*10) / 10,
	}
	if o.requests > 0 {
		s.CPU = float64(used.Microseconds()) / float64(o.requests)
		s.Rate = float64(o.requests) / o.elapsed.Seconds()
	}
	if s.Errors > 0 {
		s.Losses = o.losses
	}
	return s
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// rowResult is a row of the table with what each proxy did.
type rowResult struct {
	Name    string       `json:"name"`
	Title   string       `json:"title"`
	Proxies []peerResult `json:"proxies"`
}

// peerResult is what a proxy did in a row.
type peerResult struct {
	Name   string `json:"name"`
	Median sample `json:"median"` // of each figure by itself; requests, errors and swaps are sums
	// Ratio is the median of the rounds' ratios to nginx; nil without nginx.
	Ratio  *ratio   `json:"ratio_to_nginx,omitempty"`
	Rounds []sample `json:"rounds"`
	// Failure is why a step came to nothing.
	Failure string `json:"failure,omitempty"`
}

// ratio has a proxy's figures divided by those of nginx.
type ratio struct {
	CPU     float64 `json:"cpu"`
	Rate    float64 `json:"rate"`
	P99     float64 `json:"p99"`
	Memory  float64 `json:"memory"`
	PerIdle float64 `json:"per_idle_connection,omitempty"`
}

func newRowResult(r row, peers []peer) rowResult {
	result := rowResult{Name: r.name, Title: r.title}
	for _, p := range peers {
		result.Proxies = append(result.Proxies, peerResult{Name: p.name})
	}
	return result
}

// add takes a step's sample to the proxy at an index, or why there is none, and brings the medians and ratios up to date.
func (r *rowResult) add(index int, s sample, err error) {
	p := &r.Proxies[index]
	if err != nil {
		p.Failure = err.Error()
		return
	}
	p.Rounds = append(p.Rounds, s)
	p.Median = medianOf(p.Rounds)
	base := slices.IndexFunc(r.Proxies, func(p peerResult) bool { return p.Name == "nginx" })
	for i := range r.Proxies {
		if base >= 0 {
			r.Proxies[i].Ratio = ratioOf(r.Proxies[i].Rounds, r.Proxies[base].Rounds)
		}
	}
}

func medianOf(rounds []sample) sample {
	m := sample{
		CPU: medianBy(rounds, func(s sample) float64 { return s.CPU }), Rate: medianBy(rounds, func(s sample) float64 { return s.Rate }),
		P50: medianBy(rounds, func(s sample) float64 { return s.P50 }), P99: medianBy(rounds, func(s sample) float64 { return s.P99 }),
		Memory: medianBy(rounds, func(s sample) float64 { return s.Memory }), PerIdle: medianBy(rounds, func(s sample) float64 { return s.PerIdle }),
		SwapDuration: medianBy(rounds, func(s sample) float64 { return s.SwapDuration }), Foreign: medianBy(rounds, func(s sample) float64 { return s.Foreign }),
	}
	for _, s := range rounds {
		m.Requests += s.Requests
		m.Errors += s.Errors
		m.Swaps += s.Swaps
		for what, n := range s.Losses {
			if m.Losses == nil {
				m.Losses = make(map[string]int)
			}
			m.Losses[what] += n
		}
	}
	return m
}

func medianBy(rounds []sample, value func(sample) float64) float64 {
	values := make([]float64, len(rounds))
	for i, s := range rounds {
		values[i] = value(s)
	}
	return median(values)
}

func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	if len(sorted)%2 == 0 {
		return (sorted[middle-1] + sorted[middle]) / 2
	}
	return sorted[middle]
}

// ratioOf compares round with round, for what disturbs a round disturbs both. Without a round that both have, it is nil.
func ratioOf(rounds, base []sample) *ratio {
	n := min(len(rounds), len(base))
	if n == 0 {
		return nil
	}
	by := func(value func(sample) float64) float64 {
		var ratios []float64
		for i := range n {
			if divisor := value(base[i]); divisor > 0 {
				ratios = append(ratios, value(rounds[i])/divisor)
			}
		}
		return math.Round(median(ratios)*1000) / 1000
	}
	return &ratio{
		CPU: by(func(s sample) float64 { return s.CPU }), Rate: by(func(s sample) float64 { return s.Rate }),
		P99: by(func(s sample) float64 { return s.P99 }), Memory: by(func(s sample) float64 { return s.Memory }),
		PerIdle: by(func(s sample) float64 { return s.PerIdle }),
	}
}

// foreign is the median of all steps.
func (r report) foreign() float64 {
	var all []sample
	for _, row := range r.Rows {
		for _, p := range row.Proxies {
			all = append(all, p.Rounds...)
		}
	}
	return medianBy(all, func(s sample) float64 { return s.Foreign })
}

// failed names the steps that came to nothing.
func (r report) failed() error {
	var all []error
	for _, row := range r.Rows {
		for _, p := range row.Proxies {
			if p.Failure != "" {
				all = append(all, fmt.Errorf("%s could not be measured with %s: %s", row.Name, p.Name, p.Failure))
			}
		}
	}
	return errors.Join(all...)
}
