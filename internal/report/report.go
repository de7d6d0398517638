// Package report writes what Ruche knows for people to read in a terminal.
package report

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/ruche-project/ruche"
)

// Routes writes the published routes as a table, then what is wrong. now is what ages are counted from.
func Routes(w io.Writer, list ruche.RouteList, now time.Time) error {
	p := &printer{w: w}
	switch {
	case list.Elsewhere != nil: // that it has none would be taken for that there are none
	case len(list.Routes) == 0:
		p.line("No routes. Start a container with VIRTUAL_HOST=name.example in its environment, or with a")
		p.line("traefik.http.routers.<name>.rule label, or write a file into the routes directory.")
	default:
		rows := make([][]string, 0, len(list.Routes))
		for _, r := range list.Routes {
			rows = append(rows, []string{routeMatch(r), endpointSummary(r), certificateSummary(r, now), declaredBy(r, now)})
		}
		p.table("", []string{"ROUTE", "ENDPOINTS", "CERTIFICATE", "DECLARED BY"}, rows)
	}
	p.replica(list.Replica, now)
	p.diagnostics(list.Diagnostics)
	p.fewWarnings(list.Warnings)
	return p.err
}

// replica tells how old the routes are, when the node follows nobody who could tell it of newer ones.
func (p *printer) replica(r *ruche.ReplicaStatus, now time.Time) {
	if r == nil || r.Follows != "" {
		return
	}
	p.line("")
	if r.Heard.IsZero() {
		p.line("This node follows no control node, and knows of nothing yet.")
		return
	}
	p.line("This node follows no control node. What it serves is of %s, %s ago.", r.Heard.UTC().Format(time.RFC3339), now.Sub(r.Heard).Round(time.Second))
}

// Explanation writes why a URL is answered as it is.
func Explanation(w io.Writer, e ruche.Explanation, now time.Time) error {
	p := &printer{w: w}
	p.line("%s", e.URL)
	p.line("  %s", e.Answer)
	if e.Location != "" {
		p.line("  to %s", e.Location)
	}
	if len(e.Reasons) > 0 {
		p.line("")
		p.line("WHY")
		for i, reason := range e.Reasons {
			p.line("  %d. %s", i+1, reason)
		}
	}
	if e.Route != nil {
		p.route(*e.Route, now)
	}
	if e.Certificate.Kind != "" {
		p.line("")
		p.line("CERTIFICATE")
		p.line("  %s", certificate(e.Certificate, now))
		p.line("  %s", e.Certificate.Reason)
	}
	if len(e.Candidates) > 0 {
		rows := make([][]string, 0, len(e.Candidates))
		for _, c := range e.Candidates {
			rows = append(rows, []string{c.Host + c.Path, c.Why})
		}
		p.line("")
		p.line("NEAREST ROUTES")
		p.table("  ", nil, rows)
	}
	p.diagnostics(e.Diagnostics)
	about, others := touching(e)
	p.fewWarnings(about)
	p.otherWarnings(others)
	return p.err
}

// printer keeps the first error, so that the code above reads like the text it writes.
type printer struct {
	w   io.Writer
	err error
}

func (p *printer) line(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintln(p.w, printable(fmt.Sprintf(format, args...)))
	}
}

func (p *printer) table(indent string, head []string, rows [][]string) {
	if p.err != nil {
		return
	}
	t := tabwriter.NewWriter(p.w, 0, 8, 2, ' ', 0)
	if head != nil {
		rows = slices.Concat([][]string{head}, rows)
	}
	for _, row := range rows {
		cells := make([]string, len(row))
		for i, cell := range row {
			cells[i] = printable(cell)
		}
		_, _ = fmt.Fprintln(t, indent+strings.Join(cells, "\t")) // errors come out of Flush
	}
	p.err = t.Flush()
}

func (p *printer) route(r ruche.RouteStatus, now time.Time) {
	p.line("")
	p.line("ROUTE")
	p.line("  %s", r.ID)
	for _, s := range r.Sources {
		p.line("  declared by %s", source(s, now))
	}
	if r.Protocol != "" {
		p.line("  connections since start: %d (%d of them without an endpoint)", total(r.Requests), r.Requests[4])
	} else {
		p.line("  answered since start: %d (%d of them 5xx)", total(r.Requests), r.Requests[4])
	}
	p.line("")
	p.line("ENDPOINTS")
	if len(r.Endpoints) == 0 {
		p.line("  none")
		return
	}
	for _, e := range r.Endpoints {
		p.endpoint(e, now)
	}
}

func (p *printer) endpoint(e ruche.EndpointStatus, now time.Time) {
	state := string(e.State)
	if e.StateReason != "" {
		state += " (" + e.StateReason + ")"
	}
	if !e.Since.IsZero() {
		state += ", for " + age(now.Sub(e.Since))
	}
	p.line("  %s  %s  %s", orNone(e.URL, "no address"), e.Workload, state)
	if e.Network != "" || e.NetworkReason != "" {
		p.line("    network %s: %s", orNone(e.Network, "none"), e.NetworkReason)
	}
	if e.PortReason != "" {
		p.line("    port: %s", e.PortReason)
	}
	if e.Check != nil {
		p.line("    health check: %s", checkSummary(*e.Check, now))
	}
	if e.InFlight > 0 {
		p.line("    %d requests are being forwarded to it", e.InFlight)
	}
	if e.LastError != "" {
		cooling := ""
		if e.CoolingDown {
			cooling = "; it is the last choice for " + age(e.EjectedUntil.Sub(now)) + " more"
		}
		p.line("    last error, %s ago: %s%s", age(now.Sub(e.LastErrorAt)), e.LastError, cooling)
	}
}

func (p *printer) diagnostics(list []ruche.Diagnostic) {
	if len(list) == 0 {
		return
	}
	p.line("")
	p.line("FOUND IN WHAT IS DECLARED")
	for _, d := range list {
		p.line("  %-7s %s, %s: %s [%s]", d.Severity, d.Workload, d.Source, d.Message, d.Code)
		if d.Hint != "" {
			p.line("          hint: %s", d.Hint)
		}
	}
}

func (p *printer) warnings(list []ruche.Warning) {
	if len(list) == 0 {
		return
	}
	p.line("")
	p.line("HEALTH WARNINGS")
	for _, w := range list {
		subject := ""
		if w.Subject != "" {
			subject = w.Subject + ": "
		}
		p.line("  %-7s %s%s [%s]", w.Severity, subject, w.Message, w.Code)
		if w.Hint != "" {
			p.line("          hint: %s", w.Hint)
		}
	}
}
