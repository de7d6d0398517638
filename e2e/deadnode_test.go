//go:build e2e

package e2e

import (
	"testing"
	"time"

	"github.com/ruche-project/ruche/e2e/lab"
)

// A node loses its power: nothing refuses, nothing says goodbye. Requests find the other node's task long before the Swarm knows, and the node's own when it is back.
func TestDeadNodeLeavesTheRotation(t *testing.T) {
	t.Parallel()
	l := lab.New(t, 3, lab.Options{})
	l.JoinSwarm()
	first, dies := l.Nodes[0], l.Nodes[1]
	r := first.StartRuche()
	first.CreateService(lab.SiteImage, "shop", "--mode", "global", "--constraint", "node.hostname!=n1", "--publish", "mode=host,target=8080",
		"--env", "VIRTUAL_HOST=shop.test", "--env", "VIRTUAL_PORT=8080")
	client := first.Client()
	const url = "http://shop.test/"
	lab.Eventually(t, aMinute, func() error { return servedByTasks(client, url, 2) })

	load := client.StartLoad(url, loadRate)
	<-load.UnderWay()
	died := time.Now()
	dies.Cut() // first, or the kernel would refuse in the name of the dead
	dies.Kill()
	lab.Eventually(t, aMinute, func() error { return first.SeesNodeAs(dies, "down") })
	known := time.Since(died)
	err := load.End()
	t.Log(load)
	if err != nil {
		t.Error(err)
	}
	caught, last, longest := 0, time.Duration(0), time.Duration(0)
	for _, line := range r.AccessLog() {
		if line.Retries > 0 && line.Time.After(died) {
			caught++
			last = max(last, line.Time.Sub(died))
			longest = max(longest, time.Duration(line.Millis*float64(time.Millisecond)))
		}
	}
	t.Logf("the dead node has caught %d requests, the last one %v after its death; the longest of them took %v; the Swarm knew after %v",
		caught, last.Round(time.Millisecond), longest.Round(time.Millisecond), known.Round(time.Millisecond))
	if caught == 0 {
		t.Error("no request met the dead node: this run says nothing")
	}
	if last > 2*outOfRotation {
		t.Errorf("requests went to the dead node for %v, want %v", last, outOfRotation)
	}

	dies.Heal()
	dies.Boot()
	lab.Eventually(t, 2*aMinute, func() error { return servedByTasks(client, url, 2) })
	t.Logf("%v after its death the node is in the rotation again", time.Since(died).Round(time.Second))
}

// outOfRotation is how long a dead node's endpoints may get new requests. On a busy machine it may be twice as long.
const outOfRotation = 2 * time.Second
