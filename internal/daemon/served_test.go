package daemon

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/certs/vault"
	"github.com/ruche-project/ruche/internal/docker/fakeengine"
	"github.com/ruche-project/ruche/internal/mesh"
)

func TestWhatIsServedHasRoomInTheState(t *testing.T) {
	status := func(names int) map[string]ruche.CertificateStatus {
		all := map[string]ruche.CertificateStatus{}
		for i := range names {
			all[fmt.Sprintf("%s-%d.example", strings.Repeat("n", 60), i)] = ruche.CertificateStatus{
				Kind: ruche.CertificateFile, Fingerprint: strings.Repeat("f", 64), NotAfter: time.Now(), File: "/etc/nginx/certs/" + strings.Repeat("n", 60) + ".crt",
			}
		}
		return all
	}
	written := map[string]int{}
	writes := 0
	r := servedReport{node: "e1", write: func(changes []ruche.Change) error {
		for _, c := range changes {
			writes++
			if written[c.Key] = len(c.Value); c.Value == nil {
				delete(written, c.Key)
			}
		}
		return nil
	}}
	all := status(10_000)
	for _, tt := range []struct {
		names        map[string]ruche.CertificateStatus
		rows, writes int
	}{{all, 3, 3}, {all, 3, 0}, {status(1), 1, 3}, {status(mesh.ServedRows*mesh.ServedNames + 1), mesh.ServedRows, mesh.ServedRows}, {nil, 1, mesh.ServedRows}, {nil, 1, 0}} {
		writes = 0
		if err := r.report(tt.names); err != nil || len(written) != tt.rows || writes != tt.writes {
			t.Errorf("%d names: %d rows, %d writes, %v, want %d and %d", len(tt.names), len(written), writes, err, tt.rows, tt.writes)
		}
		for key, size := range written {
			if size > 1<<20+1<<19 {
				t.Errorf("row %s has %d bytes", key, size)
			}
		}
	}
}

// TestRowsAreCutByTheirBytes has names that are long, and escaped: fewer of them have room in a row, and in all.
func TestRowsAreCutByTheirBytes(t *testing.T) {
	for _, tt := range []struct {
		name     string
		names    int
		filling  string // of each file's path
		all, fit bool   // all are told of; all have room in rows of as many names as there may be
	}{
		{"short", 9000, "x", true, true},
		{"long", 9000, strings.Repeat("x", 1000), true, false},
		{"escaped", 9000, strings.Repeat("<", 300), true, false},
		{"too long altogether", 9000, strings.Repeat("x", 4000), false, false},
	} {
		now := map[string]ruche.CertificateStatus{}
		for i := range tt.names {
			now[fmt.Sprintf("n%04d.example", i)] = ruche.CertificateStatus{Kind: ruche.CertificateFile, File: "/" + tt.filling}
		}
		rows, unfit, over := servedRows("e1", now)
		told := 0
		for i, row := range rows {
			value, err := json.Marshal(row)
			if err != nil || len(value) > servedBytes {
				t.Errorf("%s: row %d has %d bytes, at most %d have room (%v)", tt.name, i, len(value), servedBytes, err)
			}
			told += len(row.Names)
		}
		if len(unfit) != 0 || (len(over) == 0) != tt.all || told+len(over) != tt.names || (len(rows) == 3) != tt.fit {
			t.Errorf("%s: %d rows with %d names, %d over, %d unfit", tt.name, len(rows), told, len(over), len(unfit))
		}
		if !tt.all && len(rows) != mesh.ServedRows {
			t.Errorf("%s: names are over, and there are %d rows", tt.name, len(rows))
		}
	}
}

// TestWhatIsRefusedKeepsNoOtherNameBack has a name that no control node takes, and a control node that refuses a row.
func TestWhatIsRefusedKeepsNoOtherNameBack(t *testing.T) {
	now := map[string]ruche.CertificateStatus{
		"a name.example":               {Kind: ruche.CertificateACME},
		strings.Repeat("n", 271):       {Kind: ruche.CertificateACME},
		"path.example":                 {Kind: ruche.CertificateFile, File: "/" + strings.Repeat("x", 4096)},
		"past.example":                 {Kind: ruche.CertificateACME, NotAfter: time.Date(20000, 1, 1, 0, 0, 0, 0, time.UTC)},
		"zz." + strings.Repeat("z", 9): {Kind: ruche.CertificateACME},
	}
	for i := range 2*mesh.ServedNames + 1 {
		now[fmt.Sprintf("n%04d.example", i)] = ruche.CertificateStatus{Kind: ruche.CertificateACME}
	}
	refuses, away := true, false
	written := map[string]vault.Served{}
	r := servedReport{node: "e1", write: func(changes []ruche.Change) error {
		for _, c := range changes {
			var row vault.Served
			switch err := json.Unmarshal(c.Value, &row); {
			case err != nil:
				return err
			case away:
				return errors.New("no control node answers")
			case refuses && c.Key == "e1/1":
				return fmt.Errorf("cannot write: %w", mesh.Refuse(mesh.ReasonTooLarge, "what it says of n4000.example is none"))
			}
			written[c.Key] = row
		}
		return nil
	}}
	subjects := func() (all string) {
		for _, w := range r.untold() {
			if w.Code != ruche.CodeServedUntold || w.Hint == "" {
				t.Errorf("warning %+v", w)
			}
			all += w.Subject + "; "
		}
		return all
	}
	if err := r.report(now); err != nil {
		t.Fatal(err)
	}
	if keys := slices.Sorted(maps.Keys(written)); !slices.Equal(keys, []string{"e1", "e1/2"}) || len(written["e1/2"].Names) != 2 {
		t.Errorf("rows %v are written, want the two that are not refused, the last with two names", keys)
	}
	if got := subjects(); got != "names; row e1/1; " {
		t.Errorf("warnings about %q", got)
	}
	all := r.untold()
	for _, want := range []string{`"a name.example"`, `"path.example"`, `"past.example"`} {
		if !strings.Contains(all[0].Message, want) {
			t.Errorf("%q does not name %s", all[0].Message, want)
		}
	}
	if !strings.Contains(all[1].Message, "what it says of n4000.example") {
		t.Errorf("%q does not say what is refused", all[1].Message)
	}
	// It stands while nothing changes, and while no control node answers, and goes when the row is taken.
	if err := r.report(now); err != nil || !strings.Contains(subjects(), "row") {
		t.Errorf("a second time: %v, warnings about %q", err, subjects())
	}
	refuses, away, r.last = false, true, nil
	if err := r.report(now); err == nil || !strings.Contains(subjects(), "row") {
		t.Errorf("without a control node: %v, warnings about %q", err, subjects())
	}
	away = false
	if err := r.report(now); err != nil || subjects() != "names; " || len(written) != 3 {
		t.Errorf("when the row is taken: %v, warnings about %q, %d rows", err, subjects(), len(written))
	}
	// So it does when there is no such row any more.
	refuses, r.last = true, nil
	few := map[string]ruche.CertificateStatus{"a.example": {Kind: ruche.CertificateACME}}
	if err := r.report(now); err != nil || !strings.Contains(subjects(), "row") {
		t.Errorf("refused again: %v, warnings about %q", err, subjects())
	}
	refuses = false
	r.write = func([]ruche.Change) error { return nil }
	if err := r.report(few); err != nil || subjects() != "" {
		t.Errorf("with one name: %v, warnings about %q", err, subjects())
	}
}

// TestRowsAreTakenByControlNodes has an edge tell of names that fill its rows: a control node takes what is cut.
func TestRowsAreTakenByControlNodes(t *testing.T) {
	t.Parallel()
	s := newStage(t, fakeengine.New(t))
	now := map[string]ruche.CertificateStatus{}
	for i := range 3000 {
		now[fmt.Sprintf("n%04d.example", i)] = ruche.CertificateStatus{Kind: ruche.CertificateFile, File: "/" + strings.Repeat("<", 180)}
	}
	now["a name.example"] = ruche.CertificateStatus{Kind: ruche.CertificateACME}
	r := servedReport{node: "e1", write: func(c []ruche.Change) error { return s.edges[0].client.Apply(t.Context(), c) }}
	if err := r.report(now); err != nil || len(r.last) != 3 || len(r.refused) != 0 || len(r.unfit) != 1 {
		t.Errorf("%d rows, refused %v, unfit %v, %v", len(r.last), r.refused, r.unfit, err)
	}
	s.stop(t)
}

func TestWhatIsAStopgap(t *testing.T) {
	for _, tt := range []struct {
		host string
		st   ruche.CertificateStatus
		want bool
	}{
		{"shop.example", ruche.CertificateStatus{Kind: ruche.CertificateFile, File: "/certs/default.crt", Names: []string{"other.example"}}, true},
		{"shop.example", ruche.CertificateStatus{Kind: ruche.CertificateFile, File: "/certs/default.crt"}, true},
		{"shop.example", ruche.CertificateStatus{Kind: ruche.CertificateFile, File: "/certs/default.crt", Names: []string{"x.example", "*.Example"}}, false},
		{"[2001:db8::1]", ruche.CertificateStatus{Kind: ruche.CertificateFile, File: "/certs/default.crt", Names: []string{"2001:db8::1"}}, false},
		{"shop.example", ruche.CertificateStatus{Kind: ruche.CertificateFile, File: "/certs/shop.example.crt", Names: []string{"other.example"}}, false},
		{"shop.example", ruche.CertificateStatus{Kind: ruche.CertificateSelfSigned, Names: []string{"shop.example"}}, false},
	} {
		rows, _, _ := servedRows("e1", map[string]ruche.CertificateStatus{tt.host: tt.st})
		if got := rows[0].Names[tt.host].Stopgap; got != tt.want {
			t.Errorf("%s with %s for %v: %v, want %v", tt.host, tt.st.File, tt.st.Names, got, tt.want)
		}
	}
}
