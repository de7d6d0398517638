package main

import (
	"cmp"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/ruche-project/ruche/internal/api"
	"github.com/ruche-project/ruche/internal/report"
)

func newExplain() *cobra.Command {
	var q query
	cmd := &cobra.Command{
		Use:   "explain URL",
		Short: "Say what happens to a request for a URL, and why",
		Long: `Say what happens to a request for a URL: which route takes it and why, where that was declared, which network
and port were chosen, how its endpoints are, and its certificate. For a host without a route: the nearest ones, and what was
found wrong in the declarations that might have been meant.`,
		Example: "  ruche explain https://shop.example/cart\n  ruche explain shop.example\n  ruche explain tcp://db.example@postgres",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return hintError{fmt.Errorf("explain takes one URL, %d were given", len(args)), "ruche explain https://shop.example/cart"}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			explanation, err := api.NewClient(q.adminAddr).Explain(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			err = q.write(cmd.OutOrStdout(), explanation, func(w io.Writer) error { return report.Explanation(w, explanation, time.Now()) })
			return cmp.Or(err, askElsewhere(explanation.Elsewhere))
		},
	}
	q.addFlags(cmd)
	return cmd
}
