package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"
)

// process is a program that runs beside this one, with the children it has.
type process struct {
	name string
	cmd  *exec.Cmd
	log  string
	done chan struct{} // closed when it has ended
}

// start runs a command in a process group of its own, with its output in a file.
func start(name, log string, command []string) (*process, error) {
	out, err := os.Create(log)
	if err != nil {
		return nil, err
	}
	defer func() { _ = out.Close() }()
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Stdout, cmd.Stderr = out, out
	// A group, so that an interrupt of the terminal does not reach it before the end is in order.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("cannot start %s: %w", name, err)
	}
	p := &process{name: name, cmd: cmd, log: log, done: make(chan struct{})}
	go func() {
		_ = cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// stop ends the process and whatever of its group is left.
func (p *process) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(time.Second):
	}
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	<-p.done
}

// ended says that the process is gone, with the end of what it wrote, or nothing while it runs.
func (p *process) ended() error {
	select {
	case <-p.done:
	default:
		return nil
	}
	output, _ := os.ReadFile(p.log)
	lines := strings.Split(strings.TrimSpace(string(output)), "\n")
	return fmt.Errorf("%s has ended: %s", p.name, strings.Join(lines[max(0, len(lines)-5):], "; "))
}

// tree is the process and all that descend from it.
func (p *process) tree() []int {
	pids := []int{p.cmd.Process.Pid}
	for i := 0; i < len(pids); i++ {
		lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pids[i]))
		for _, list := range lists {
			children, _ := os.ReadFile(list)
			for field := range strings.FieldsSeq(string(children)) {
				if pid, err := strconv.Atoi(field); err == nil {
					pids = append(pids, pid)
				}
			}
		}
	}
	return pids
}

// cpu is the user and system time of the process tree so far, of children that have ended too.
func (p *process) cpu() time.Duration {
	var sum time.Duration
	for _, pid := range p.tree() {
		sum += ownTime(pid) + endedChildrenTime(pid)
	}
	return sum
}

// ownTime is a process's own time by its clock (clock_getcpuclockid(3)), which counts nanoseconds where /proc/PID/stat
// has the same sum in ticks of 10 ms.
func ownTime(pid int) time.Duration {
	const scheduler = 2 // CPUCLOCK_SCHED of the kernel
	var ts syscall.Timespec
	clock := ^uint32(pid)<<3 | scheduler
	if _, _, errno := syscall.Syscall(syscall.SYS_CLOCK_GETTIME, uintptr(clock), uintptr(unsafe.Pointer(&ts)), 0); errno != 0 {
		return 0 // it has ended since
	}
	return time.Duration(ts.Nano())
}

// endedChildrenTime is cutime and cstime of /proc/PID/stat, proc_pid_stat(5), in ticks of 10 ms on every Linux.
func endedChildrenTime(pid int) time.Duration {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	// The name in parentheses may hold spaces; the third field comes after it.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 15 {
		return 0
	}
	var ticks int64
	for _, field := range fields[13:15] {
		n, _ := strconv.ParseInt(field, 10, 64)
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

// memory is the resident memory of the process tree in bytes; pages that several processes share count once.
func (p *process) memory() int64 {
	var sum int64
	for _, pid := range p.tree() {
		rollup, _ := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
		for line := range strings.Lines(string(rollup)) {
			if rest, ok := strings.CutPrefix(line, "Pss:"); ok {
				kib, _ := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
				sum += kib << 10
			}
		}
	}
	return sum
}
