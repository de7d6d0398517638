package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/api"
	"github.com/ruche-project/ruche/internal/report"
)

func newStateReseal() *cobra.Command {
	var q query
	var check bool
	cmd := &cobra.Command{
		Use:   "reseal",
		Short: "Seal private keys in the state anew, with the first line of the sealing key's file",
		Long: `Seal private keys in the state anew, with the first line of the sealing key's file (--seal-key-file), after a new key was put there above the old one.
It can be broken off and repeated, and nothing pauses. With --check it only says what is sealed with which key, and whether old lines can be dropped.
docs/state.md goes through it step by step.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client := api.NewClient(q.adminAddr)
			progress := func(done, left int) {
				if q.output == "text" {
					_, _ = fmt.Fprintf(cmd.OutOrStdout(), "%d sealed anew, %d to go\n", done, left)
				}
			}
			status, err := resealAll(cmd.Context(), client, check, progress)
			if err != nil {
				return err
			}
			if err := q.write(cmd.OutOrStdout(), status, func(w io.Writer) error { return report.Seals(w, status) }); err != nil {
				return err
			}
			return sealFailure(status, check)
		},
	}
	q.addFlags(cmd)
	cmd.Flags().BoolVar(&check, "check", false, "only say what is sealed with which key")
	return cmd
}

// resealPatience is how often nothing may be sealed anew though there is something left: others may be changing it.
const resealPatience = 3

// resealAll asks again and again until nothing is left, or what is left cannot be opened.
func resealAll(ctx context.Context, client *api.Client, check bool, progress func(done, left int)) (ruche.SealStatus, error) {
	if check {
		return client.Seals(ctx)
	}
	done, idle := 0, 0
	for {
		status, err := client.Reseal(ctx)
		if err != nil {
			return status, err
		}
		done += status.Resealed
		_, left, _ := status.Total()
		if status.Resealed > 0 {
			idle = 0
			progress(done, left)
		} else {
			idle++
		}
		if left == 0 || len(status.Lacking) > 0 || idle == resealPatience {
			status.Resealed = done
			return status, nil
		}
		if idle > 0 {
			select {
			case <-ctx.Done():
				return status, ctx.Err()
			case <-time.After(time.Second):
			}
		}
	}
}

// sealFailure is an error where something stays that must not.
func sealFailure(s ruche.SealStatus, check bool) error {
	_, stale, lost := s.Total()
	switch {
	case lost > 0:
		return hintError{fmt.Errorf("%d sealed values cannot be opened by any key of this node", lost), "add the line of the key that is missing to the sealing key's file (--seal-key-file), start the control nodes again, and repeat this"}
	case len(s.Lacking) > 0 && !check:
		return hintError{fmt.Errorf("nothing was sealed anew: %s not have this node's first key", does(s.Lacking)), `give them the same file and start them again; those that are gone for good are forgotten by "ruche nodes remove NAME"`}
	case stale > 0 && !check:
		return hintError{errors.New("not everything could be sealed anew, since it is changing"), "repeat this"}
	}
	return nil
}

// does gives "c1 does", "c1 and c2 do".
func does(names []string) string {
	if len(names) == 1 {
		return names[0] + " does"
	}
	return strings.Join(names[:len(names)-1], ", ") + " and " + names[len(names)-1] + " do"
}
