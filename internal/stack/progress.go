package stack

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/ruche-project/ruche/internal/docker"
)

// progress tells how the tasks of a service come to an image, each state of a node once.
type progress struct {
	name, image string
	say         func(string)
	told        map[string]string // by node, and by task for what failed
	looked      bool              // once at least: what had failed before that is of an earlier time
}

// tell says something about a node, or about nothing in particular, unless it was said last.
func (p *progress) tell(about, what string) {
	if p.told[about] == what {
		return
	}
	p.told[about] = what
	if about != "" {
		what = about + " " + what
	}
	p.say(p.name + ": " + what)
}

// look tells what is new, and reports whether all tasks that the Swarm wants to run do so with the image. On nodes that are paused it changes nothing.
func (p *progress) look(tasks []docker.Task, nodes []docker.Node) bool {
	byID := make(map[string]docker.Node, len(nodes))
	for _, n := range nodes {
		byID[n.ID] = n
	}
	slices.SortFunc(tasks, func(a, b docker.Task) int {
		return cmp.Or(cmp.Compare(byID[a.Node].Name, byID[b.Node].Name), cmp.Compare(a.Version, b.Version))
	})
	wanted, running := 0, 0
	for _, t := range tasks {
		if t.Wanted() && t.Image != p.image && byID[t.Node].Availability == "pause" {
			p.tell(byID[t.Node].Name, "keeps its version: the node is paused")
			continue
		}
		if t.Wanted() {
			wanted++
			if t.Image == p.image && t.State == docker.TaskRunning {
				running++
			}
		}
	}
	for _, t := range tasks {
		if t.Image == p.image {
			p.task(t, byID[t.Node].Name, running, wanted)
		}
	}
	p.looked = true
	return wanted > 0 && running == wanted
}

// task tells the state of one with the image.
func (p *progress) task(t docker.Task, node string, running, wanted int) {
	switch {
	case t.State == "failed" || t.State == "rejected":
		if p.told[t.ID] == "" {
			p.told[t.ID] = t.State
			if p.looked {
				p.say(fmt.Sprintf("%s: %s has failed: %s", p.name, node, cmp.Or(t.Err, t.Message)))
			}
		}
	case !t.Wanted():
	case t.State == docker.TaskRunning:
		if p.told[node] != t.State {
			p.told[node] = t.State
			p.say(fmt.Sprintf("%s: %s runs it (%d of %d)", p.name, node, running, wanted))
		}
	default:
		p.tell(node, "is "+t.State)
	}
}
