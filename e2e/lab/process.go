package lab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// process is a child of the test that is waited for in the background.
type process struct {
	name string
	cmd  *exec.Cmd
	log  string
	done chan struct{} // closed when it has ended
}

// start runs a command on the node, appending its output to a log, and notes it in the ledger.
func (n *Node) start(name string, env []string, command ...string) (*process, error) {
	p := &process{name: name, log: filepath.Join(n.logs, name+".log"), done: make(chan struct{})}
	out, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("cannot open the log of %s: %w", name, err)
	}
	defer out.Close() //nolint:errcheck // the child has its own descriptor
	p.cmd = exec.Command(command[0], command[1:]...)
	p.cmd.Stdout, p.cmd.Stderr = out, out
	p.cmd.Env = n.lab.environ(append(env, nodeMark+n.id)...)
	// A group of its own: an interrupt at the terminal reaches the test alone, which then cleans up in order.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("cannot start %s: %w", name, err)
	}
	go func() {
		defer close(p.done)
		// how it ended is in ProcessState
		_ = p.cmd.Wait()
	}()
	started, err := startTime(p.cmd.Process.Pid)
	if err != nil {
		return nil, fmt.Errorf("cannot follow %s, it ended at once: see %s: %w", name, p.log, err)
	}
	return p, n.lab.ledger.add(record{Kind: recordProcess, PID: p.cmd.Process.Pid, Start: started})
}

// running returns an error once the process has ended.
func (p *process) running() error {
	select {
	case <-p.done:
		return fmt.Errorf("%s has ended (%s): %s", p.name, p.cmd.ProcessState, tail(p.log))
	default:
		return nil
	}
}

// stop sends the signal and waits; after the grace period it kills.
func (p *process) stop(sig syscall.Signal, grace time.Duration) error {
	if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("cannot signal %s: %w", p.name, err)
	}
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-p.done:
		return nil
	case <-timer.C:
	}
	// it has ended in the meantime
	_ = p.cmd.Process.Kill()
	<-p.done
	return fmt.Errorf("%s did not end within %v of %v", p.name, grace, sig)
}

// tail gives the last part of a log for a failure's message.
func tail(path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	const most = 2000
	if len(data) > most {
		data = data[len(data)-most:]
	}
	return "its log ends with:\n" + string(data)
}
