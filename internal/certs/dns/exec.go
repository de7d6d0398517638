package dns

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

const (
	defaultExecTimeout = 30 * time.Second
	maxExecTimeout     = time.Minute
	keptOutput         = 1 << 10 // bytes of a failed program's output that are told
)

// program calls a program of the operator: PROGRAM present|cleanup NAME VALUE. NAME has its last dot, as lego's exec provider gives it.
type program struct {
	path    string
	timeout time.Duration
	env     []string
}

func checkExec(v values) error {
	if p := v.get("program"); !strings.HasPrefix(p, fromFile) && !filepath.IsAbs(p) {
		return errors.New("program is no absolute path")
	}
	_, err := execTimeout(v)
	return err
}

func execTimeout(v values) (time.Duration, error) {
	given := v.get("timeout")
	if given == "" || strings.HasPrefix(given, fromFile) {
		return defaultExecTimeout, nil
	}
	d, err := time.ParseDuration(given)
	if err != nil || d <= 0 || d > maxExecTimeout {
		return 0, fmt.Errorf("timeout is no duration from 1s to %s", maxExecTimeout)
	}
	return d, nil
}

func openExec(_ network, v values) (writer, error) {
	timeout, err := execTimeout(v)
	if err != nil {
		return nil, err
	}
	p := program{path: v.get("program"), timeout: timeout}
	// The program gets its own settings and no more: what else is in this process's environment is not its business.
	for _, name := range []string{"PATH", "HOME"} {
		p.env = append(p.env, name+"="+os.Getenv(name))
	}
	for _, name := range slices.Sorted(maps.Keys(v.given)) {
		if name != "program" && name != "timeout" {
			p.env = append(p.env, name+"="+v.given[name])
		}
	}
	return p, nil
}

func (p program) add(ctx context.Context, r record) error    { return p.run(ctx, "present", r) }
func (p program) remove(ctx context.Context, r record) error { return p.run(ctx, "cleanup", r) }

func (p program) run(ctx context.Context, verb string, r record) error {
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, p.path, verb, r.name+".", r.value)
	cmd.Env = p.env
	// A shell's children hold its output open: they go with it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	var output tail
	cmd.Stdout, cmd.Stderr = &output, &output
	err := cmd.Run()
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		err = fmt.Errorf("it was ended after %s: %w", p.timeout, context.Cause(ctx))
	}
	if exit := (*exec.ExitError)(nil); ctx.Err() == nil && !errors.As(err, &exit) && !errors.Is(err, exec.ErrWaitDelay) {
		return fmt.Errorf("%s cannot be run: %w", p.path, err)
	}
	if said := strings.TrimSpace(output.String()); said != "" {
		return fmt.Errorf("%s %s failed: %w: %s", p.path, verb, err, said)
	}
	return fmt.Errorf("%s %s failed without a word: %w", p.path, verb, err)
}

// tail keeps the end of what is written.
type tail struct{ kept bytes.Buffer }

func (t *tail) Write(b []byte) (int, error) {
	t.kept.Write(b)
	if over := t.kept.Len() - keptOutput; over > 0 {
		t.kept.Next(over)
	}
	return len(b), nil
}

func (t *tail) String() string { return strings.ToValidUTF8(t.kept.String(), "?") }
