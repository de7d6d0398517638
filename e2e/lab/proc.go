package lab

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// The variables that mark every process that a lab starts, and what those start. Not RUCHE_*: ruche refuses settings it
// does not know.
const (
	runMark  = "LAB_RUN="
	nodeMark = "LAB_NODE="
)

// startTime gives the time a process was started, in clock ticks since boot (proc(5), stat field 22). Together with the
// process ID it names a process for good.
func startTime(pid int) (uint64, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, fmt.Errorf("cannot read the start time of process %d: %w", pid, err)
	}
	// The command name, in parentheses, may hold anything.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	const field = 22 - 3
	if len(fields) <= field {
		return 0, fmt.Errorf("cannot read the start time of process %d: %d fields", pid, len(fields))
	}
	return strconv.ParseUint(fields[field], 10, 64)
}

// alive reports whether the process that was recorded still runs.
func alive(pid int, start uint64) bool {
	now, err := startTime(pid)
	if err != nil || now != start {
		return false
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	return err == nil && !bytes.Contains(status, []byte("\nState:\tZ"))
}

// marked lists the processes whose environment holds the mark.
func marked(mark string) []int {
	entries, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		return nil
	}
	var pids []int
	for _, path := range entries {
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err == nil && pid != os.Getpid() && hasMark(pid, mark) {
			pids = append(pids, pid)
		}
	}
	return pids
}

func hasMark(pid int, mark string) bool {
	environ, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	if err != nil {
		return false
	}
	for variable := range bytes.SplitSeq(environ, []byte{0}) {
		if string(variable) == mark {
			return true
		}
	}
	return false
}

// killMarked kills what bears the mark and waits until it is gone. The handle is taken before the mark is
// looked at, so the signal cannot reach a later process of the same ID.
func killMarked(mark string) error {
	deadline := time.Now().Add(15 * time.Second)
	for {
		pids := marked(mark)
		if len(pids) == 0 {
			return nil
		}
		for _, pid := range pids {
			killIf(pid, func() bool { return hasMark(pid, mark) })
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("cannot end processes %v", pids)
		}
		pause(20 * time.Millisecond)
	}
}

// killIf kills the process if it still is what the caller takes it for.
func killIf(pid int, same func() bool) {
	process, err := os.FindProcess(pid)
	if err != nil {
		return
	}
	defer process.Release() //nolint:errcheck // only frees the handle
	if same() {
		// it has gone by itself; the caller looks again
		_ = process.Signal(syscall.SIGKILL)
	}
}

// cgroups lists the directories of a control group of that name, in every hierarchy.
func cgroups(name string) []string {
	var found []string
	for _, pattern := range []string{"/sys/fs/cgroup/" + name, "/sys/fs/cgroup/*/" + name} {
		dirs, err := filepath.Glob(pattern)
		if err == nil {
			found = append(found, dirs...)
		}
	}
	return found
}

// killCgroup kills every process in the control group; it does not remove the group.
func killCgroup(name string) error {
	deadline := time.Now().Add(15 * time.Second)
	for {
		pids := cgroupProcesses(name)
		if len(pids) == 0 {
			return nil
		}
		for _, pid := range pids {
			killIf(pid, func() bool { return inCgroup(pid, name) })
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("cannot end processes %v of control group %s", pids, name)
		}
		pause(20 * time.Millisecond)
	}
}

func cgroupProcesses(name string) []int {
	var pids []int
	for _, top := range cgroups(name) {
		walkDirs(top, func(dir string) {
			procs, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
			if err != nil {
				return
			}
			for line := range strings.FieldsSeq(string(procs)) {
				if pid, err := strconv.Atoi(line); err == nil && pid > 0 {
					pids = append(pids, pid)
				}
			}
		})
	}
	return pids
}

func inCgroup(pid int, name string) bool {
	own, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	return err == nil && strings.Contains(string(own), ":/"+name+"/")
}

// removeCgroups removes the control group with its children, the deepest first.
func removeCgroups(name string) error {
	var failed []error
	for _, top := range cgroups(name) {
		var dirs []string
		walkDirs(top, func(dir string) { dirs = append(dirs, dir) })
		for i := len(dirs) - 1; i >= 0; i-- {
			if err := removeBusy(dirs[i]); err != nil {
				failed = append(failed, err)
			}
		}
	}
	return errors.Join(failed...)
}

// removeBusy removes a control group's directory; it stays busy for a moment after its last process.
func removeBusy(dir string) error {
	deadline := time.Now().Add(3 * time.Second)
	for {
		err := syscall.Rmdir(dir)
		if err == nil || errors.Is(err, syscall.ENOENT) {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("cannot remove control group %s: %w", dir, err)
		}
		pause(20 * time.Millisecond)
	}
}

// walkDirs visits a directory and the ones below it, parents first.
func walkDirs(top string, visit func(dir string)) {
	visit(top)
	entries, err := os.ReadDir(top)
	if err != nil {
		return
	}
	for _, e := range entries {
		if e.IsDir() {
			walkDirs(filepath.Join(top, e.Name()), visit)
		}
	}
}
