package pebbletest

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
)

// Kind says what a request is for.
type Kind string

// The kinds of requests.
const (
	Directory     Kind = "directory"
	NewNonce      Kind = "newNonce"
	NewAccount    Kind = "newAccount"
	Account       Kind = "account"
	NewOrder      Kind = "newOrder"
	Order         Kind = "order"
	Orders        Kind = "orders"
	Authorization Kind = "authorization"
	Challenge     Kind = "challenge"
	Finalize      Kind = "finalize"
	Certificate   Kind = "certificate"
	RenewalInfo   Kind = "renewalInfo"
	Revoke        Kind = "revokeCert"
	KeyChange     Kind = "keyChange"
)

// kinds has Pebble's paths, which are unlike those of others on purpose.
func kinds() map[string]Kind {
	return map[string]Kind{
		"/dir": Directory, "/nonce-plz": NewNonce, "/sign-me-up": NewAccount, "/my-account/": Account, "/order-plz": NewOrder, "/my-order/": Order,
		"/list-orderz/": Orders, "/authZ/": Authorization, "/chalZ/": Challenge, "/finalize-order/": Finalize, "/certZ/": Certificate,
		"/draft-ietf-acme-ari-03/renewalInfo/": RenewalInfo, "/revoke-cert": Revoke, "/rollover-account-key": KeyChange,
	}
}

func kindOf(path string) Kind {
	for prefix, kind := range kinds() {
		if strings.HasPrefix(path, prefix) {
			return kind
		}
	}
	return ""
}

// Kinds lists the kinds of requests, ordered.
func Kinds() []Kind { return slices.Sorted(maps.Values(kinds())) }

// Call is a request to the CA.
type Call struct {
	Kind Kind
	Path string
	// Status is that of the answer; 0 before there is one, and when the CA never heard of the request.
	Status int
	// Location is the URL of what was made.
	Location string
}

// Hook is asked before a request reaches the CA (Status is 0), and after the CA has done what it asks for, before the answer gets out. If
// it reports false, the connection is cut there. It is called by several goroutines at once.
type Hook func(Call) bool

// SetHook sets the hook; nil takes it away.
func (c *CA) SetHook(h Hook) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.hook = h
}

// Answer is one that a test gives in place of the CA.
type Answer struct {
	Status int
	// Problem is the type of the problem (RFC 8555 section 6.7) without its name space, Detail its text.
	Problem, Detail string
	RetryAfter      string // as in the header
}

// SetAnswer has fn asked before each request that reaches the CA; if it gives an answer, the CA does not hear of the request. nil takes it away.
func (c *CA) SetAnswer(fn func(Call) *Answer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.answer = fn
}

// refuse gives the test's answer, if it has one.
func (c *CA) refuse(w http.ResponseWriter, call Call) bool {
	c.mu.Lock()
	fn := c.answer
	c.mu.Unlock()
	if fn == nil {
		return false
	}
	a := fn(call)
	if a == nil {
		return false
	}
	w.Header().Set("Content-Type", "application/problem+json")
	if a.RetryAfter != "" {
		w.Header().Set("Retry-After", a.RetryAfter)
	}
	w.WriteHeader(a.Status)
	_ = json.NewEncoder(w).Encode(map[string]any{"type": "urn:ietf:params:acme:error:" + a.Problem, "detail": a.Detail, "status": a.Status})
	return true
}

// SetDown cuts all connections from now on, as if the CA were not there, or ends that.
func (c *CA) SetDown(down bool) {
	c.down.Store(down)
	if down {
		c.server.CloseClientConnections()
	}
}

// Calls gives the requests of a kind that the CA has answered, whether the answer got out or not.
func (c *CA) Calls(kind Kind) []Call {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(c.calls), func(call Call) bool { return call.Kind != kind })
}

// Made counts what the CA has made by requests of a kind: orders by NewOrder, accounts by NewAccount.
func (c *CA) Made(kind Kind) int {
	n := 0
	for _, call := range c.Calls(kind) {
		if call.Status == http.StatusCreated {
			n++
		}
	}
	return n
}

// watch puts the hook around the CA, and writes down what it is asked.
func (c *CA) watch(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		call := Call{Kind: kindOf(r.URL.Path), Path: r.URL.Path}
		c.ask(call)
		if c.refuse(w, call) {
			return
		}
		answer := httptest.NewRecorder()
		if !c.begin(r.Context(), r.URL.Path) {
			panic(http.ErrAbortHandler)
		}
		c.serve(next, answer, r)
		call.Status, call.Location = answer.Code, answer.Header().Get("Location")
		c.mu.Lock()
		c.calls = append(c.calls, call)
		c.mu.Unlock()
		c.ask(call)
		maps.Copy(w.Header(), answer.Header())
		w.WriteHeader(answer.Code)
		_, _ = w.Write(answer.Body.Bytes())
	})
}

func (c *CA) ask(call Call) {
	c.mu.Lock()
	hook := c.hook
	c.mu.Unlock()
	if c.down.Load() || hook != nil && !hook(call) {
		panic(http.ErrAbortHandler)
	}
}
