//go:build e2e

package e2e

import (
	"net/http"
	"testing"
	"time"

	"github.com/ruche-project/ruche/e2e/lab"
)

// A container with a HEALTHCHECK takes part while the check passes, and only then.
func TestHealthCheckDecidesWhoTakesPart(t *testing.T) {
	t.Parallel()
	l := lab.New(t, 1, lab.Options{})
	node := l.Nodes[0]
	node.StartRuche()
	client := node.Client()
	const url = "http://sick.test/"
	node.RunImage(lab.CheckedImage, "sick", "--env", "VIRTUAL_HOST=sick.test", "--env", "SITE_UNHEALTHY=true",
		"--health-interval", "500ms", "--health-timeout", "3s", "--health-retries", "2")
	lab.Eventually(t, soon, func() error { return node.HasHealth("sick", "unhealthy") })
	lab.Never(t, 300*time.Millisecond, func() error { return client.Answers(url, http.StatusServiceUnavailable) })

	node.Docker("exec", "sick", "/site", "healthy")
	lab.Eventually(t, soon, func() error { return client.IsServedBy(url, "sick") })
	node.Docker("exec", "sick", "/site", "unhealthy")
	lab.Eventually(t, soon, func() error { return client.Answers(url, http.StatusServiceUnavailable) })
	answer, err := client.Get(url)
	if err != nil || answer.Header.Get("Retry-After") == "" {
		t.Errorf("503 without Retry-After: %v, %v", answer.Header, err)
	}
}
