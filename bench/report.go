package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"
)

// disturbed is the share of the machine, in percent, from which on other work is mentioned beside a figure.
const disturbed = 10

// report is a run, as it is printed and kept.
type report struct {
	Date     string            `json:"date"`
	Machine  machine           `json:"machine"`
	Versions map[string]string `json:"versions"`
	Rounds   int               `json:"rounds"`
	Rows     []rowResult       `json:"rows"`
}

// save writes the report as Markdown and JSON; it returns the path of both without what follows the dot.
func (r report) save(dir string) (string, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	path := filepath.Join(dir, r.Date+"-"+r.Machine.slug())
	var page bytes.Buffer
	if err := r.writePage(&page); err != nil {
		return "", err
	}
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(path+".md", page.Bytes(), 0o644); err != nil {
		return "", err
	}
	return path, os.WriteFile(path+".json", append(data, '\n'), 0o644)
}

func (r report) writePage(w io.Writer) error {
	m := r.Machine
	fmt.Fprintf(w, "# Ruche beside its peers, %s\n\n", r.Date)
	fmt.Fprintf(w, "%s, %d cores, %s; Linux %s, %s.\n", m.CPU, m.Cores, m.Memory, m.Kernel, m.System)
	var versions []string
	for _, name := range slices.Sorted(maps.Keys(r.Versions)) {
		versions = append(versions, name+" "+r.Versions[name])
	}
	fmt.Fprintf(w, "%s.\n\n", strings.Join(versions, ", "))
	fmt.Fprintf(w, "Rounds: %d; figures are their medians. \"x\" is the ratio to nginx, taken round by round. How it is measured: docs/performance.md.\n\n", r.Rounds)
	return r.writeTable(w)
}

// writeTable writes a Markdown table, padded so that a terminal shows it well.
func (r report) writeTable(w io.Writer) error {
	lines := [][]string{{"row", "proxy", "CPU us/request", "x", "requests/s", "x", "p50 ms", "p99 ms", "x", "MiB", "x", "errors", "notes"}}
	for _, row := range r.Rows {
		for i, p := range row.Proxies {
			name := row.Name
			if i > 0 {
				name = ""
			}
			lines = append(lines, append([]string{name}, p.cells()...))
		}
	}
	if err := writeColumns(w, lines); err != nil {
		return err
	}
	fmt.Fprintln(w)
	for _, row := range r.Rows {
		fmt.Fprintf(w, "* %s: %s\n", row.Name, row.Title)
	}
	fmt.Fprintf(w, "\nOther work had %.0f %% of the processors meanwhile (median of the steps). Where it had more than %d %%, trust the ratios alone, and little.\n",
		r.foreign(), disturbed)
	return nil
}

func (p peerResult) cells() []string {
	if len(p.Rounds) == 0 {
		return []string{p.Name, "", "", "", "", "", "", "", "", "", "", "not measured"}
	}
	m, x := p.Median, cmp.Or(p.Ratio, &ratio{})
	return []string{
		p.Name, fmt.Sprintf("%.1f", m.CPU), times(x.CPU), fmt.Sprintf("%.0f", m.Rate), times(x.Rate),
		fmt.Sprintf("%.2f", m.P50), fmt.Sprintf("%.2f", m.P99), times(x.P99), fmt.Sprintf("%.1f", m.Memory), times(x.Memory),
		fmt.Sprint(m.Errors), p.notes(),
	}
}

// times writes a ratio; one that is unknown is empty.
func times(x float64) string {
	if x == 0 {
		return ""
	}
	return fmt.Sprintf("%.2f", x)
}

// notes say what has no column.
func (p peerResult) notes() string {
	var notes []string
	if m := p.Median; m.PerIdle != 0 {
		note := fmt.Sprintf("%.1f KiB a connection", m.PerIdle)
		if p.Ratio != nil {
			note += " (x " + times(p.Ratio.PerIdle) + ")"
		}
		notes = append(notes, note)
	}
	if m := p.Median; m.Swaps > 0 {
		notes = append(notes, fmt.Sprintf("%d swaps, in force after %.0f ms", m.Swaps, m.SwapDuration))
	}
	for _, what := range slices.Sorted(maps.Keys(p.Median.Losses)) {
		notes = append(notes, fmt.Sprintf("%d %s", p.Median.Losses[what], what))
	}
	if m := p.Median; m.Foreign >= disturbed {
		notes = append(notes, fmt.Sprintf("other work had %.0f %%", m.Foreign))
	}
	if p.Failure != "" {
		notes = append(notes, "a round failed")
	}
	return strings.Join(notes, ", ")
}

// writeColumns writes lines of cells, the first being the heading: text to the left, numbers to the right.
func writeColumns(w io.Writer, lines [][]string) error {
	left := map[string]bool{"row": true, "proxy": true, "notes": true}
	heading := lines[0]
	widths := make([]int, len(heading))
	for _, line := range lines {
		for i, cell := range line {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell), 2)
		}
	}
	rule := make([]string, len(heading))
	for i, width := range widths {
		rule[i] = strings.Repeat("-", width)
		if !left[heading[i]] {
			rule[i] = strings.Repeat("-", width-1) + ":"
		}
	}
	for _, line := range slices.Insert(slices.Clone(lines), 1, rule) {
		var b strings.Builder
		for i, cell := range line {
			gap := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			if left[heading[i]] {
				b.WriteString("| " + cell + gap + " ")
			} else {
				b.WriteString("| " + gap + cell + " ")
			}
		}
		if _, err := fmt.Fprintln(w, b.String()+"|"); err != nil {
			return err
		}
	}
	return nil
}
