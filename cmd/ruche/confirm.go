package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

// confirm has a person say yes before something is done that cannot be taken back: what says what it is, and note what to know about it. Where nobody can be asked it is an error.
func confirm(cmd *cobra.Command, what, note string) error {
	if !isTerminal(cmd.InOrStdin()) {
		return hintError{fmt.Errorf("nothing was done: this %s; nobody can be asked here whether that is meant", what), "give --yes if it is; " + note}
	}
	_, _ = fmt.Fprintf(cmd.ErrOrStderr(), "This %s\n(%s).\nType yes to go on: ", what, note)
	answer, err := bufio.NewReader(cmd.InOrStdin()).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("cannot read the answer: %w", err)
	}
	if !strings.EqualFold(strings.TrimSpace(answer), "yes") {
		return errors.New("nothing was done")
	}
	return nil
}

// isTerminal reports whether somebody may type there.
func isTerminal(in io.Reader) bool {
	file, ok := in.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(file.Fd()), unix.TCGETS)
	return err == nil
}
