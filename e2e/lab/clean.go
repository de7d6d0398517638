package lab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Clean takes away what labs left behind whose test process has ended. It reports each run that it removed, and
// leaves alone the runs that are still at work.
func Clean(report func(string)) error {
	dirs, err := filepath.Glob(filepath.Join(Root, "*"))
	if err != nil {
		return fmt.Errorf("cannot list %s: %w", Root, err)
	}
	var failed []error
	for _, dir := range dirs {
		records, err := readLedger(dir)
		if errors.Is(err, os.ErrNotExist) {
			continue // a run that is just beginning
		}
		if err != nil {
			failed = append(failed, err)
			continue
		}
		if o := owner(records); o != nil && alive(o.PID, o.Start) {
			report(fmt.Sprintf("%s is still at work (process %d): left alone", filepath.Base(dir), o.PID))
			continue
		}
		if err := cleanRun(dir); err != nil {
			failed = append(failed, err)
			continue
		}
		report(filepath.Base(dir) + " removed")
	}
	return errors.Join(failed...)
}

func owner(records []record) *record {
	for i := range records {
		if records[i].Kind == recordOwner {
			return &records[i]
		}
	}
	return nil
}

// cleanRun takes away everything of one run: processes, containers' control groups, namespaces, files.
func cleanRun(dir string) error {
	records, err := readLedger(dir)
	if err != nil {
		return err
	}
	var failed []error
	note := func(err error) {
		if err != nil {
			failed = append(failed, err)
		}
	}
	for i := len(records) - 1; i >= 0; i-- {
		if r := records[i]; r.Kind == recordProcess {
			killIf(r.PID, func() bool { return alive(r.PID, r.Start) })
		}
	}
	note(killMarked(runMark + filepath.Base(dir)))
	for i := len(records) - 1; i >= 0; i-- {
		switch r := records[i]; r.Kind {
		case recordCgroup:
			note(killCgroup(r.Name))
			note(removeCgroups(r.Name))
		case recordNamespace:
			note(removeNamespace(r.Name))
		case recordOwner, recordProcess:
		}
	}
	if len(failed) == 0 {
		note(removeTree(dir))
	}
	return errors.Join(failed...)
}

func removeNamespace(name string) error {
	if _, err := os.Stat(filepath.Join("/run/netns", name)); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if out, err := exec.Command("ip", "netns", "delete", name).CombinedOutput(); err != nil {
		return fmt.Errorf("cannot delete network namespace %s: %w: %s", name, err, strings.TrimSpace(string(out)))
	}
	return nil
}

// removeTree removes a run's files, which may be in use for a moment after the last process.
func removeTree(dir string) error {
	err := os.RemoveAll(dir)
	if err != nil {
		err = os.RemoveAll(dir)
	}
	if err != nil {
		return fmt.Errorf("cannot remove %s: %w", dir, err)
	}
	// The directory of all runs goes with the last one.
	_ = os.Remove(Root)
	return nil
}
