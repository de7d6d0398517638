//go:build e2e

package e2e

import (
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/ruche-project/ruche/e2e/lab"
)

// The first compose file of the README, with a site in the place of the reader's own image.
func TestTheReadmesComposeFileWorks(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(readme), "```yaml\n")
	file, _, found := strings.Cut(after, "```")
	if !found {
		t.Fatal("the README shows no compose file")
	}
	l := lab.New(t, 1, lab.Options{})
	node := l.Nodes[0]
	node.LoadRuche()
	dir := l.Dir("readme")
	file = strings.ReplaceAll(file, "image: ruche ", "image: "+lab.RucheImage+" ")
	file = strings.ReplaceAll(file, "image: my-shop", "image: "+lab.SiteImage)
	file = strings.ReplaceAll(file, "/var/run/docker.sock:/", node.Socket()+":/") // each node of the lab has its own
	l.File(dir, "compose.yml", file)
	node.Compose(dir, "up", "--detach")
	client := node.Client()
	for _, url := range []string{"http://shop.example/", "https://shop.example/"} {
		lab.Eventually(t, soon, func() error { return client.Answers(url, http.StatusOK) })
	}
	routes := node.Compose(dir, "exec", "-T", "ruche", "/ruche", "routes")
	if !strings.Contains(routes, "shop.example") || !strings.Contains(routes, "1/1 ready") {
		t.Errorf("the README's way to ask for routes prints:\n%s", routes)
	}
	node.Compose(dir, "down", "--volumes", "--timeout", "2")
}
