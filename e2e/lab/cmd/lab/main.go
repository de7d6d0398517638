// Command lab looks after what the end-to-end scenarios leave on the machine.
package main

import (
	"fmt"
	"os"

	"github.com/ruche-project/ruche/e2e/lab"
)

func main() {
	if len(os.Args) != 2 {
		usage()
	}
	var err error
	switch os.Args[1] {
	case "clean":
		err = lab.Clean(func(line string) { fmt.Println("lab:", line) })
	case "check":
		err = lab.Check()
	default:
		usage()
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "error: %v\n", err)
		os.Exit(1)
	}
}

func usage() {
	fmt.Fprintln(os.Stderr, "usage: lab clean   take away what killed runs left\n       lab check   tell what the machine lacks")
	os.Exit(2)
}
