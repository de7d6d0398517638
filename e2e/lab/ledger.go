package lab

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sync"
)

// Root is where every lab keeps its files: one directory per run.
const Root = "/var/tmp/ruche-lab"

// record is one line of a ledger: a thing that must be taken away again.
type record struct {
	Kind recordKind `json:"kind"`
	// Name of the namespace or control group.
	Name string `json:"name,omitempty"`
	// PID and Start name a process.
	PID   int    `json:"pid,omitempty"`
	Start uint64 `json:"start,omitempty"`
}

type recordKind string

const (
	recordOwner     recordKind = "owner" // the test process; while it lives its lab is left alone
	recordProcess   recordKind = "process"
	recordNamespace recordKind = "namespace"
	recordCgroup    recordKind = "cgroup"
)

// ledger is the list of what a run has created. Safe for concurrent use.
type ledger struct {
	mu   sync.Mutex
	path string
}

func openLedger(dir string) (*ledger, error) {
	l := &ledger{path: filepath.Join(dir, "ledger.jsonl")}
	start, err := startTime(os.Getpid())
	if err != nil {
		return nil, err
	}
	return l, l.add(record{Kind: recordOwner, PID: os.Getpid(), Start: start})
}

// add notes a thing. Namespaces and control groups are noted before they are made.
func (l *ledger) add(r record) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	line, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("cannot write the lab's ledger: %w", err)
	}
	f, err := os.OpenFile(l.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("cannot open the lab's ledger: %w", err)
	}
	_, err = f.Write(append(line, '\n'))
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return fmt.Errorf("cannot write the lab's ledger: %w", err)
	}
	return nil
}

// readLedger gives the records of a run. A torn last line, from a killed process, is left out.
func readLedger(dir string) ([]record, error) {
	data, err := os.ReadFile(filepath.Join(dir, "ledger.jsonl"))
	if err != nil {
		return nil, fmt.Errorf("cannot read the lab's ledger: %w", err)
	}
	var records []record
	for lines := bufio.NewScanner(bytes.NewReader(data)); lines.Scan(); {
		var r record
		if json.Unmarshal(lines.Bytes(), &r) == nil {
			records = append(records, r)
		}
	}
	return records, nil
}
