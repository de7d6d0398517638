package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/api"
	"github.com/ruche-project/ruche/internal/report"
)

func newRoutes() *cobra.Command {
	var q query
	cmd := &cobra.Command{
		Use:   "routes",
		Short: "List what is published, and what is wrong in what is declared",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			list, err := api.NewClient(q.adminAddr).Routes(cmd.Context())
			if err != nil {
				return err
			}
			err = q.write(cmd.OutOrStdout(), list, func(w io.Writer) error { return report.Routes(w, list, time.Now()) })
			return cmp.Or(err, askElsewhere(list.Elsewhere))
		},
	}
	q.addFlags(cmd)
	return cmd
}

// askElsewhere is an error where a node could not answer: what it could tell beside that is written.
func askElsewhere(e *ruche.Elsewhere) error {
	if e == nil {
		return nil
	}
	return hintError{errors.New(e.Error), e.Hint}
}

// query is what the verbs that ask a running Ruche have in common.
type query struct {
	adminAddr string
	output    string
}

func (q *query) addFlags(cmd *cobra.Command) {
	addAdminAddr(cmd, &q.adminAddr)
	q.addOutput(cmd)
}

// addOutput is for verbs that ask no Ruche.
func (q *query) addOutput(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&q.output, "output", "o", "text", "text for people, json for machines")
	cmd.PreRunE = func(*cobra.Command, []string) error {
		if q.output != "text" && q.output != "json" {
			return fmt.Errorf("--output %q: give text or json", q.output)
		}
		return nil
	}
}

func addAdminAddr(cmd *cobra.Command, value *string) {
	addr := os.Getenv("RUCHE_ADMIN_ADDR")
	if addr == "" {
		addr = "127.0.0.1:8900"
	}
	cmd.Flags().StringVar(value, "admin-addr", addr, "the admin address of the Ruche to ask (RUCHE_ADMIN_ADDR)")
}

func (q *query) write(w io.Writer, v any, text func(io.Writer) error) error {
	if q.output == "text" {
		return text(w)
	}
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	return encoder.Encode(v)
}
