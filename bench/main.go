// Command bench runs Ruche beside other reverse proxies: the same endpoint, the same load, one proxy after the other and round
// after round, so that what disturbs the machine disturbs all of them alike. It prints a table, with ratios to nginx, and
// writes it to a directory when nothing was left out.
//
//	bench [-rows REGEXP] [-peers NAMES] [-rounds N] [-results DIR]
//	bench list [REGEXP]    the names of the rows that match, without running anything
//	bench endpoint ADDR    what stands behind the proxies; bench starts it itself
//
// scripts/bench installs what it needs. Everything listens on the loopback interface, and all that is started is stopped at
// the end, on an interrupt too.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := command(ctx, os.Args[1:], os.Stdout)
	stop()
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

// command does what the arguments ask for.
func command(ctx context.Context, args []string, out io.Writer) error {
	switch {
	case len(args) == 2 && args[0] == "endpoint":
		return serveEndpoint(ctx, args[1])
	case len(args) >= 1 && len(args) <= 2 && args[0] == "list":
		return list(args[1:], out)
	}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	rowNames := flags.String("rows", "", "a regular expression: the rows to run; empty runs all")
	peerNames := flags.String("peers", "", "a list with commas: the proxies to run; empty runs all")
	rounds := flags.Int("rounds", 3, "how often each row is run with each proxy, from 1 to 100; the median counts")
	results := flags.String("results", "bench/results", "the directory that a run of all rows and proxies is written to")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("cannot use argument %q: there are flags alone", flags.Arg(0))
	}
	if *rounds < 1 || *rounds > 100 {
		return fmt.Errorf("cannot run %d rounds: choose 1 to 100", *rounds)
	}
	chosen, err := chooseRows(*rowNames)
	if err != nil {
		return err
	}
	if len(chosen) == 0 {
		return fmt.Errorf("no row matches %q (bench list shows them)", *rowNames)
	}
	proxies, err := choosePeers(*peerNames)
	if err != nil {
		return err
	}
	b, err := newBench(chosen, proxies, *rounds, out)
	if err != nil {
		return err
	}
	whole := *rowNames == "" && *peerNames == ""
	return b.runAndReport(ctx, whole, *results)
}

func list(args []string, out io.Writer) error {
	expression := ""
	if len(args) == 1 {
		expression = args[0]
	}
	chosen, err := chooseRows(expression)
	for _, r := range chosen {
		fmt.Fprintf(out, "%-12s %s\n", r.name, r.title)
	}
	return err
}

func chooseRows(expression string) ([]row, error) {
	match, err := regexp.Compile(expression)
	if err != nil {
		return nil, fmt.Errorf("cannot choose rows: %w", err)
	}
	var chosen []row
	for _, r := range rows() {
		if match.MatchString(r.name) {
			chosen = append(chosen, r)
		}
	}
	return chosen, nil
}
