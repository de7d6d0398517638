//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"testing"

	"github.com/ruche-project/ruche/e2e/lab"
)

func TestMain(m *testing.M) {
	err := lab.Check()
	if err == nil {
		err = lab.Build()
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "error: %v\n", err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}
