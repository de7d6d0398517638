package doctor

import (
	"strings"

	"github.com/ruche-project/ruche"
)

// sealing looks whether everything that is sealed in the state opens, and whether the replacement of a sealing key is at its end.
func sealing(f Facts, n *notes) {
	if f.Unknown.Seals != nil {
		n.add(ruche.LevelNote, "", stateFirst, "not looked at: the state does not answer")
		return
	}
	all, stale, lost := f.Seals.Total()
	if lost > 0 {
		n.add(ruche.LevelError, f.Node, `add the line of the key that is missing to the file of --seal-key-file; "ruche state reseal --check" lists the values`, "%d of %d sealed values of the state open with none of this node's keys", lost, all)
	}
	if len(f.Seals.Lacking) > 0 {
		n.add(ruche.LevelWarning, "", "give all control nodes the same file (--seal-key-file), and start them again", "control nodes without the key %s seals with: %s", f.Node, strings.Join(f.Seals.Lacking, ", "))
	}
	if stale > 0 {
		n.add(ruche.LevelNote, "", "ruche state reseal", "%d of %d sealed values of the state are to be sealed anew", stale, all)
	}
	n.fine("all sealed values of the state (%d) are sealed with one key", all)
}
