package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// wrk gives a load of as many requests as get through, over plain HTTP/1.1.
func wrk(path string, connections int) func(context.Context, *target) (outcome, error) {
	return func(ctx context.Context, t *target) (outcome, error) {
		return runWrk(ctx, connections, "-H", "Host: "+t.host(), "http://"+t.setup.HTTP+path)
	}
}

// wrkHosts is wrk with random ones of many hosts.
func wrkHosts(path string, connections, hosts int) func(context.Context, *target) (outcome, error) {
	return func(ctx context.Context, t *target) (outcome, error) {
		script := t.setup.Dir + "/hosts.lua"
		if err := fill(t.setup, "hosts.lua", script); err != nil {
			return outcome{}, err
		}
		return runWrk(ctx, connections, "-s", script, "http://"+t.setup.HTTP+path, strconv.Itoa(hosts))
	}
}

func runWrk(ctx context.Context, connections int, args ...string) (outcome, error) {
	common := []string{"--threads", "1", "--latency", "--timeout", patience.String(), "--duration", length.String(), "--connections", strconv.Itoa(connections)}
	output, err := exec.CommandContext(ctx, "wrk", append(common, args...)...).CombinedOutput()
	if err != nil {
		return outcome{}, fmt.Errorf("cannot run wrk: %w: %s", err, output)
	}
	return parseWrk(string(output))
}

// h2load gives a load of as many requests for /small as get through, over TLS 1.3 and the protocol with this ALPN name.
func h2load(protocol string, options ...string) func(context.Context, *target) (outcome, error) {
	return func(ctx context.Context, t *target) (outcome, error) {
		// The percentiles are not in what it prints; it writes a line for each request.
		log := t.setup.Dir + "/h2load.log"
		args := append([]string{"--threads=1", "--duration=" + length.String(), "--log-file=" + log, "--connect-to=" + t.setup.HTTPS}, options...)
		output, err := exec.CommandContext(ctx, "h2load", append(args, "https://"+t.host()+"/small")...).CombinedOutput()
		if err != nil {
			return outcome{}, fmt.Errorf("cannot run h2load: %w: %s", err, output)
		}
		o, err := parseH2load(string(output))
		if err != nil {
			return outcome{}, err
		}
		// It takes what the server offers; another protocol would be another row.
		for _, want := range []string{"TLS Protocol: TLSv1.3\n", "Application protocol: " + protocol + "\n"} {
			if !strings.Contains(string(output), want) {
				return outcome{}, fmt.Errorf("cannot compare: h2load did not get %q: %s", strings.TrimSpace(want), output)
			}
		}
		lines, err := os.ReadFile(log)
		if err != nil {
			return outcome{}, err
		}
		o.p50, o.p99, err = parseH2loadLog(string(lines))
		return o, err
	}
}

// number finds the first group of an expression in a text.
func number(text, expression string) (float64, bool) {
	match := regexp.MustCompile(expression).FindStringSubmatch(text)
	if match == nil {
		return 0, false
	}
	n, err := strconv.ParseFloat(match[1], 64)
	return n, err == nil
}

// parseWrk reads what wrk 4 prints with --latency.
func parseWrk(output string) (outcome, error) {
	requests, ok := number(output, `(?m)^\s*(\d+) requests in `)
	if !ok {
		return outcome{}, fmt.Errorf("cannot read the output of wrk: %s", output)
	}
	o := outcome{losses: make(map[string]int)}
	var err error
	if o.elapsed, err = wrkTime(output, ` requests in ([\d.]+)(\w+),`); err != nil {
		return outcome{}, err
	}
	if o.p50, err = wrkTime(output, `(?m)^\s*50%\s+([\d.]+)(\w+)`); err != nil {
		return outcome{}, err
	}
	if o.p99, err = wrkTime(output, `(?m)^\s*99%\s+([\d.]+)(\w+)`); err != nil {
		return outcome{}, err
	}
	for what, expression := range map[string]string{
		string(lossConnect): `Socket errors: connect (\d+)`, "not read": `Socket errors: .* read (\d+)`,
		"not written": `Socket errors: .* write (\d+)`, string(lossTimeout): `Socket errors: .* timeout (\d+)`,
		"other status": `Non-2xx or 3xx responses: (\d+)`,
	} {
		if n, ok := number(output, expression); ok && n > 0 {
			o.losses[what] = int(n)
		}
	}
	// Its requests are answers of whatever status.
	o.requests = int(requests) - o.losses["other status"]
	return o, nil
}

// wrkTime finds a number and its unit, which wrk writes as 1.50ms, 2.00s, 1.00m.
func wrkTime(output, expression string) (time.Duration, error) {
	match := regexp.MustCompile(expression).FindStringSubmatch(output)
	if match == nil {
		return 0, fmt.Errorf("cannot find %s in the output of wrk: %s", expression, output)
	}
	return time.ParseDuration(match[1] + match[2])
}

// parseH2load reads what h2load prints of a run by time.
func parseH2load(output string) (outcome, error) {
	seconds, ok := number(output, `finished in ([\d.]+)s`)
	if millis, ok2 := number(output, `finished in ([\d.]+)ms`); ok2 {
		seconds, ok = millis/1000, true
	}
	requests, ok2 := number(output, `requests: .* (\d+) succeeded`)
	if !ok || !ok2 {
		return outcome{}, fmt.Errorf("cannot read the output of h2load: %s", output)
	}
	o := outcome{requests: int(requests), elapsed: time.Duration(seconds * float64(time.Second)), losses: make(map[string]int)}
	// Those that failed include those with an error, and these the ones that timed out.
	if failed, _ := number(output, `requests: .* (\d+) failed`); failed > 0 {
		o.losses["failed"] = int(failed)
	}
	return o, nil
}

// parseH2loadLog reads h2load's lines, "start, status, microseconds" with tabs between them.
func parseH2loadLog(lines string) (p50, p99 time.Duration, err error) {
	var took []time.Duration
	for line := range strings.Lines(lines) {
		fields := strings.Split(strings.TrimSpace(line), "\t")
		if len(fields) < 3 {
			return 0, 0, fmt.Errorf("cannot read the line %q of h2load's log", line)
		}
		micros, err := strconv.Atoi(fields[2])
		if err != nil {
			return 0, 0, fmt.Errorf("cannot read the line %q of h2load's log: %w", line, err)
		}
		if fields[1] == "200" {
			took = append(took, time.Duration(micros)*time.Microsecond)
		}
	}
	if len(took) == 0 {
		return 0, 0, errors.New("h2load's log has no answered request")
	}
	slices.Sort(took)
	return percentile(took, 50), percentile(took, 99), nil
}
