//go:build e2e

package e2e

import (
	"fmt"
	"net/http"
	"sync"
	"testing"

	"github.com/ruche-project/ruche/e2e/lab"
)

// While the only container of a host is removed and made anew, the host stays known: 503 with Retry-After, then 200.
func TestRecreationNeverForgetsTheHost(t *testing.T) {
	t.Parallel()
	l := lab.New(t, 1, lab.Options{})
	node := l.Nodes[0]
	node.StartRuche()
	client := node.Client()
	const url = "http://only.test/"
	node.Run("only", "--env", "VIRTUAL_HOST=only.test")
	lab.Eventually(t, soon, func() error { return client.IsServedBy(url, "only") })

	w := watch(client, url)
	for range 3 {
		node.Docker("rm", "--force", "only")
		lab.Eventually(t, soon, func() error { return client.Answers(url, http.StatusServiceUnavailable) })
		node.Run("only", "--env", "VIRTUAL_HOST=only.test")
		lab.Eventually(t, soon, func() error { return client.IsServedBy(url, "only") })
	}
	seen, wrong := w.stop()
	t.Logf("answers by status while it was made anew 3 times: %v", seen)
	for _, problem := range wrong {
		t.Error(problem)
	}
	if seen[http.StatusServiceUnavailable] == 0 {
		t.Error("no answer was 503: the gap was not seen")
	}
}

// watcher asks for a URL again and again.
type watcher struct {
	quit  chan struct{}
	ended sync.WaitGroup
	seen  map[int]int
	wrong []string
}

func watch(client *lab.Client, url string) *watcher {
	w := &watcher{quit: make(chan struct{}), seen: map[int]int{}}
	w.ended.Go(func() {
		for {
			select {
			case <-w.quit:
				return
			default:
				w.look(client, url)
			}
		}
	})
	return w
}

func (w *watcher) look(client *lab.Client, url string) {
	answer, err := client.Get(url)
	w.seen[answer.Status]++
	problem := ""
	switch {
	case err != nil:
		problem = err.Error()
	case answer.Status == http.StatusServiceUnavailable && answer.Header.Get("Retry-After") == "":
		problem = "503 without Retry-After"
	case answer.Status != http.StatusOK && answer.Status != http.StatusServiceUnavailable:
		problem = fmt.Sprintf("answered %d: %.200s", answer.Status, answer.Body)
	}
	if problem != "" && len(w.wrong) < 5 {
		w.wrong = append(w.wrong, problem)
	}
}

func (w *watcher) stop() (seen map[int]int, wrong []string) {
	close(w.quit)
	w.ended.Wait()
	return w.seen, w.wrong
}

// A container that is replaced at once costs nobody a request: those that come meanwhile wait for the new one.
func TestRecreationAtOnceIsNotSeen(t *testing.T) {
	t.Parallel()
	l := lab.New(t, 1, lab.Options{})
	node := l.Nodes[0]
	node.StartRuche("--hold", "30s")
	client := node.Client()
	const url = "http://only.test/"
	node.Run("only", "--env", "VIRTUAL_HOST=only.test")
	lab.Eventually(t, soon, func() error { return client.IsServedBy(url, "only") })

	w := watch(client, url)
	for range 3 {
		node.Docker("rm", "--force", "only")
		node.Run("only", "--env", "VIRTUAL_HOST=only.test")
		lab.Eventually(t, soon, func() error { return client.IsServedBy(url, "only") })
	}
	seen, wrong := w.stop()
	t.Logf("answers by status while it was replaced 3 times: %v", seen)
	for _, problem := range wrong {
		t.Error(problem)
	}
	if len(seen) != 1 || seen[http.StatusOK] == 0 {
		t.Errorf("answers by status %v, want 200 alone", seen)
	}
}
