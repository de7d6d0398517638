package main

import (
	"context"
	"debug/buildinfo"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// machine is what the figures depend on.
type machine struct {
	CPU    string `json:"cpu"`
	Cores  int    `json:"cores"`
	Memory string `json:"memory"`
	Kernel string `json:"kernel"`
	System string `json:"system"`
}

func describeMachine() machine {
	m := machine{
		CPU:    fileValue("/proc/cpuinfo", `(?m)^model name\s*: (.*)$`),
		Cores:  runtime.NumCPU(),
		Kernel: fileValue("/proc/sys/kernel/osrelease", `(.*)`),
		System: fileValue("/etc/os-release", `(?m)^PRETTY_NAME="(.*)"$`),
		Memory: "unknown",
	}
	var kib int
	if _, err := fmt.Sscan(fileValue("/proc/meminfo", `MemTotal:\s*(\d+)`), &kib); err == nil {
		m.Memory = fmt.Sprintf("%.0f GiB", float64(kib)/(1<<20))
	}
	return m
}

// fileValue is the first group of an expression in a file, or "unknown".
func fileValue(path, expression string) string {
	data, _ := os.ReadFile(path)
	if match := regexp.MustCompile(expression).FindSubmatch(data); match != nil {
		return strings.TrimSpace(string(match[1]))
	}
	return "unknown"
}

// slug is a name for files: amd-epyc-2-cores.
func (m machine) slug() string {
	name := regexp.MustCompile(`[^a-z0-9]+`).ReplaceAllString(strings.ToLower(m.CPU), "-")
	return fmt.Sprintf("%s-%d-cores", strings.Trim(name, "-"), m.Cores)
}

// versions are those of the proxies and of what makes the load.
func (b *bench) versions(ctx context.Context) map[string]string {
	versions := map[string]string{"go": strings.TrimPrefix(runtime.Version(), "go"), "wrk": version(ctx, "wrk", "-v"), "h2load": version(ctx, "h2load", "--version")}
	for _, p := range b.peers {
		if p.version == "" {
			versions[p.name] = moduleVersion(p.program)
			continue
		}
		versions[p.name] = version(ctx, p.program, p.version)
	}
	return versions
}

// version is what a program says of itself: the first number with a dot, else the last word.
func version(ctx context.Context, program, flag string) string {
	// Some exit with an error after they have answered.
	output, _ := exec.CommandContext(ctx, program, flag).CombinedOutput()
	if number := regexp.MustCompile(`\d+\.\d[^\s,]*`).Find(output); number != nil {
		return string(number)
	}
	words := strings.Fields(string(output))
	if len(words) == 0 {
		return "unknown"
	}
	return words[len(words)-1]
}

// moduleVersion is what Go has written into a program that was installed with a version.
func moduleVersion(program string) string {
	info, err := buildinfo.ReadFile(program)
	if err != nil {
		return "unknown"
	}
	return strings.TrimPrefix(info.Main.Version, "v")
}

// usage is the processor time that a machine and a run on it have used up to a moment.
type usage struct {
	at        time.Time
	busy, own time.Duration
}

// usageWith counts as the run's own what this process has used, with the loads that have ended, and what the others have.
func usageWith(others ...*process) usage {
	u := usage{at: time.Now()}
	// Of the first line of /proc/stat, in ticks of 10 ms: all but idle, iowait and what is counted twice.
	fields := strings.Fields(fileValue("/proc/stat", `^cpu (.*)`))
	for i, field := range fields[:min(len(fields), 8)] {
		if ticks, err := strconv.ParseInt(field, 10, 64); err == nil && i != 3 && i != 4 {
			u.busy += time.Duration(ticks) * 10 * time.Millisecond
		}
	}
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var r syscall.Rusage
		if syscall.Getrusage(who, &r) == nil {
			u.own += time.Duration(r.Utime.Nano() + r.Stime.Nano())
		}
	}
	for _, p := range others {
		u.own += p.cpu()
	}
	return u
}

// foreignSince is the share of the machine, in percent, that work which is not the run's own has had.
func (u usage) foreignSince(before usage) float64 {
	all := u.at.Sub(before.at) * time.Duration(runtime.NumCPU())
	foreign := (u.busy - before.busy) - (u.own - before.own)
	if all <= 0 {
		return 0
	}
	return max(0, 100*float64(foreign)/float64(all))
}
