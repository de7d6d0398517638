package api_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/api"
)

type edge struct{}

func (edge) Routes() ruche.RouteList {
	return ruche.RouteList{Routes: []ruche.RouteStatus{{ID: "nginx-proxy:shop.example/"}}}
}

func (edge) Explain(rawURL string) (ruche.Explanation, error) {
	if strings.Contains(rawURL, " ") {
		return ruche.Explanation{}, errors.New("the host holds a blank")
	}
	return ruche.Explanation{URL: rawURL, Answer: "forwarded"}, nil
}

type nodes struct{}

func (nodes) List(context.Context) (ruche.NodeList, error) {
	return ruche.NodeList{Nodes: []ruche.NodeInfo{{Name: "n1"}}}, nil
}

func (nodes) MakeToken(_ context.Context, r ruche.TokenRequest) (string, error) {
	if r.Uses == 0 {
		return "", errors.New("it cannot be used 0 times")
	}
	return strings.Join(r.Roles, "+"), nil
}

func (nodes) Tokens(context.Context) (ruche.TokenList, error) {
	return ruche.TokenList{Tokens: []ruche.TokenInfo{{ID: "0a1b2c3d", Uses: -1}}}, nil
}

func (nodes) RemoveToken(_ context.Context, id string) error {
	if id != "0a1b2c3d" {
		return fmt.Errorf("cannot remove it: %w", ruche.ErrNotFound)
	}
	return nil
}

func (nodes) Remove(_ context.Context, name string) error {
	if name != "n1/a" {
		return fmt.Errorf("cannot remove it: %w", ruche.ErrNotFound)
	}
	return nil
}

// start runs a server until the test ends and returns its address.
func start(t *testing.T, notReady func() []string) string {
	t.Helper()
	s, err := api.New(api.Config{
		Addr: "127.0.0.1:0", Edge: edge{}, NotReady: notReady,
		State: func(context.Context) (ruche.StateStatus, error) {
			return ruche.StateStatus{Node: "n1", Revision: 7}, nil
		},
		Backup: func(_ context.Context, w io.Writer) error {
			_, err := io.WriteString(w, "all of it")
			return err
		},
		Nodes: nodes{},
		Doctor: func(context.Context) (ruche.Checkup, error) {
			return ruche.Checkup{Node: "n1", Findings: []ruche.Finding{{Check: "clock", Level: ruche.LevelOK}}}, nil
		},
		Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ruche_build_info 1\n") }),
		Logger:  slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run returned %v, want nil after its context ended", err)
		}
	})
	return s.Addr().String()
}

func TestClientReadsWhatTheServerKnows(t *testing.T) {
	client := api.NewClient(start(t, func() []string { return nil }))

	list, err := client.Routes(t.Context())
	if err != nil || len(list.Routes) != 1 || list.Routes[0].ID != "nginx-proxy:shop.example/" {
		t.Errorf("Routes() = %+v, %v", list, err)
	}
	const u = "https://shop.example/a?b=c&d=%20e"
	if e, err := client.Explain(t.Context(), u); err != nil || e.URL != u {
		t.Errorf("Explain(%q) = %+v, %v", u, e, err)
	}
	if _, err := client.Explain(t.Context(), "http://a b/"); !errors.Is(err, api.ErrRejected) || !strings.Contains(err.Error(), "blank") {
		t.Errorf("Explain of a bad URL: %v, want ErrRejected with the reason", err)
	}
	if _, err := client.Explain(t.Context(), ""); !errors.Is(err, api.ErrRejected) {
		t.Errorf("Explain of nothing: %v, want ErrRejected", err)
	}
}

func TestTheDoctorAnswersOnNodesWithTheState(t *testing.T) {
	client := api.NewClient(start(t, func() []string { return nil }))
	if c, err := client.Doctor(t.Context()); err != nil || c.Node != "n1" || c.Count(ruche.LevelOK) != 1 || c.Count(ruche.LevelError) != 0 {
		t.Errorf("Doctor() = %+v, %v", c, err)
	}
	w := httptest.NewRecorder()
	api.HandlerForTest(api.Config{Edge: edge{}, Metrics: http.NotFoundHandler()}).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/api/v1/doctor", nil))
	if w.Code != http.StatusNotFound || !strings.Contains(w.Body.String(), "ask a control node") {
		t.Errorf("a node without the state answers %d %q, want 404 and whom to ask", w.Code, w.Body)
	}
}

func TestClientSaysWhenNobodyListens(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	_ = l.Close()
	if _, err := api.NewClient(addr).Routes(t.Context()); !errors.Is(err, api.ErrNotRunning) {
		t.Errorf("Routes() = %v, want ErrNotRunning", err)
	}
	if err := api.NewClient(addr).Ready(t.Context()); !errors.Is(err, api.ErrNotRunning) {
		t.Errorf("Ready() = %v, want ErrNotRunning", err)
	}
}

func TestReadyzNamesWhatIsMissing(t *testing.T) {
	missing := []string{"proxy"}
	addr := start(t, func() []string { return missing })
	check := func(path string, wantStatus int, wantBody string) {
		t.Helper()
		resp, err := http.Get("http://" + addr + path)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if resp.StatusCode != wantStatus || !strings.Contains(string(body), wantBody) {
			t.Errorf("GET %s = %d %q, want %d with %q", path, resp.StatusCode, body, wantStatus, wantBody)
		}
	}
	check("/readyz", 503, "not ready: proxy")
	if err := api.NewClient(addr).Ready(t.Context()); err == nil || err.Error() != "not ready: proxy" {
		t.Errorf("Ready() = %v, want what is missing", err)
	}
	missing = nil
	check("/readyz", 200, "ready")
	if err := api.NewClient(addr).Ready(t.Context()); err != nil {
		t.Errorf("Ready() = %v", err)
	}
	check("/healthz", 200, "ok")
	check("/metrics", 200, "ruche_build_info")
	check("/", 200, "/api/v1/routes")
	check("/nothing", 404, "")
}

func TestNewRefusesAnAddressInUse(t *testing.T) {
	addr := start(t, func() []string { return nil })
	if _, err := api.New(api.Config{Addr: addr}); err == nil || !strings.Contains(err.Error(), "--admin-addr") {
		t.Errorf("New on a taken address: %v, want an error that names --admin-addr", err)
	}
}

func TestNodesAreListedLetInAndRemoved(t *testing.T) {
	client := api.NewClient(start(t, func() []string { return nil }))
	if list, err := client.Nodes(t.Context()); err != nil || len(list.Nodes) != 1 || list.Nodes[0].Name != "n1" {
		t.Errorf("Nodes() = %+v, %v", list, err)
	}
	if token, err := client.MakeToken(t.Context(), ruche.TokenRequest{Roles: []string{"edge", "agent"}, Uses: -1}); err != nil || token != "edge+agent" {
		t.Errorf("MakeToken() = %q, %v", token, err)
	}
	if _, err := client.MakeToken(t.Context(), ruche.TokenRequest{}); !errors.Is(err, api.ErrRejected) {
		t.Errorf("MakeToken() of nothing: %v", err)
	}
	if err := client.RemoveNode(t.Context(), "n1/a"); err != nil {
		t.Errorf("RemoveNode() = %v", err)
	}
	rejected(t, client.RemoveNode(t.Context(), "n2"), `there is no node "n2"`, `"ruche nodes" lists them`)
}

func TestTokensAreListedAndEnded(t *testing.T) {
	client := api.NewClient(start(t, func() []string { return nil }))
	if list, err := client.Tokens(t.Context()); err != nil || len(list.Tokens) != 1 || list.Tokens[0].ID != "0a1b2c3d" || list.Tokens[0].Uses != -1 {
		t.Errorf("Tokens() = %+v, %v", list, err)
	}
	if err := client.RemoveToken(t.Context(), "0a1b2c3d"); err != nil {
		t.Errorf("RemoveToken() = %v", err)
	}
	rejected(t, client.RemoveToken(t.Context(), "../x"), `there is no join token "../x"`, `"ruche nodes token list" lists them`)
}

// rejected checks that an error is the server's refusal, with what to do next.
func rejected(t *testing.T, err error, text, hint string) {
	t.Helper()
	var hinter interface{ Hint() string }
	if !errors.Is(err, api.ErrRejected) || err.Error() != text || !errors.As(err, &hinter) || hinter.Hint() != hint {
		t.Errorf("got %v, want %q with the hint %q", err, text, hint)
	}
}

func TestOnlyTheNodeItselfEndsTokens(t *testing.T) {
	h := api.HandlerForTest(api.Config{Edge: edge{}, Metrics: http.NotFoundHandler(), Nodes: nodes{}})
	for method, want := range map[string]int{http.MethodGet: http.StatusOK, http.MethodDelete: http.StatusForbidden} {
		path := "/api/v1/tokens"
		if method == http.MethodDelete {
			path += "/0a1b2c3d"
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(method, path, nil)) // from 192.0.2.1
		if w.Code != want {
			t.Errorf("%s %s from elsewhere = %d, want %d", method, path, w.Code, want)
		}
	}
}
