package mesh

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/ruche-project/ruche"
)

// watched has a bucket watched, and tells whether its content came at all, and what is in it.
func (h *house) watched(c *Client, bucket string) (known func() bool, get func(key string) string) {
	var rows atomic.Pointer[map[string]string]
	view := Follow[string](c, bucket)
	h.run(func(ctx context.Context) error {
		all := map[string]string{}
		return view.Watch(ctx, func(u ruche.Update[string]) {
			if u.Reset {
				all = map[string]string{}
			}
			next := map[string]string{}
			for key, v := range all {
				next[key] = v
			}
			for key, v := range u.Puts {
				next[key] = v
			}
			for _, key := range u.Deletes {
				delete(next, key)
			}
			all = next
			rows.Store(&next)
		})
	})
	known = func() bool { return rows.Load() != nil }
	return known, func(key string) string {
		if p := rows.Load(); p != nil {
			return (*p)[key]
		}
		return ""
	}
}

// older is the way to a control node whose release knows these buckets and no others, and refuses requests for those.
type older struct {
	http.RoundTripper
	knows []string
	is    *atomic.Bool
}

func (o older) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Path != "/v1/follow" || !o.is.Load() {
		return o.RoundTripper.RoundTrip(r)
	}
	for name := range strings.SplitSeq(r.URL.Query().Get("buckets"), ",") {
		if !slices.Contains(o.knows, name) {
			body, err := json.Marshal(map[string]string{"reason": "role", "message": `this node must not follow "` + name + `"`})
			return &http.Response{StatusCode: http.StatusForbidden, Body: io.NopCloser(strings.NewReader(string(body))), Header: http.Header{}, Request: r}, err
		}
	}
	resp, err := o.RoundTripper.RoundTrip(r)
	if err == nil {
		resp.Header.Del(bucketsHeader)
	}
	return resp, err
}

func (c *Client) stands(code ruche.Code) (ruche.Warning, bool) {
	list := c.cfg.Health.List()
	i := slices.IndexFunc(list, func(w ruche.Warning) bool { return w.Code == code })
	if i < 0 {
		return ruche.Warning{}, false
	}
	return list[i], true
}

// TestAnEdgeOfANewerRelease has an edge follow a bucket that its control node does not know: it does without, and all else is as ever.
func TestAnEdgeOfANewerRelease(t *testing.T) {
	h := newHouse(t)
	c := h.control("c1")
	h.endpoints().put("a", at("10.0.0.1"))
	edge := h.enrolled("edge-1", c, h.token(1, RoleEdge), following(bucketEndpoints, "tomorrow"))
	m := h.mirrorOf(edge)
	m.await(t, "a", "10.0.0.1")
	known, _ := h.watched(edge, "tomorrow")
	eventually(t, "nobody waits for what there is not", known)
	eventually(t, "what is known is of now", func() bool { return !edge.Following().Heard.IsZero() })
	if w, ok := edge.stands(ruche.CodeControlOlder); !ok || !strings.Contains(w.Message, "tomorrow") || w.Hint == "" {
		t.Errorf("the warning is %+v", w)
	}
	eventually(t, "it is on the disk", func() bool {
		_, err := os.Stat(filepath.Join(edge.cfg.Dir, replicaFile))
		return err == nil
	})
}

// TestAControlNodeThatRefusesWhatItDoesNotKnow has an edge follow a control node of a release that refuses a request for a bucket it does not know, until that is upgraded.
func TestAControlNodeThatRefusesWhatItDoesNotKnow(t *testing.T) {
	h := newHouse(t)
	c := h.control("c1")
	h.endpoints().put("a", at("10.0.0.1"))
	bucketOf[string](h.state, bucketECH).put("keys", "of now")
	edge := h.client("edge-1", c, h.token(1, RoleEdge), following(bucketECH, bucketEndpoints, bucketTickets))
	if err := edge.keeper.obtain(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	id, _ := edge.keeper.current()
	var is atomic.Bool
	is.Store(true)
	client := edge.client(id)
	client.Transport = older{client.Transport, []string{bucketEndpoints}, &is}
	h.run(edge.Run)
	m := h.mirrorOf(edge)
	m.await(t, "a", "10.0.0.1")
	known, get := h.watched(edge, bucketECH)
	eventually(t, "nobody waits for what there is not", known)
	eventually(t, "what is known is of now", func() bool { return !edge.Following().Heard.IsZero() })
	if w, ok := edge.stands(ruche.CodeControlOlder); !ok || !strings.Contains(w.Message, "ech, tickets") {
		t.Errorf("the warning is %+v", w)
	}

	is.Store(false)
	c.stop()
	c = h.controlAt("c1", c.addr)
	eventually(t, "what was unknown has come", func() bool { return get("keys") == "of now" })
	eventually(t, "the warning is gone", func() bool { _, ok := edge.stands(ruche.CodeControlOlder); return !ok })

	// Back again: what was known stays.
	is.Store(true)
	c.stop()
	h.endpoints().put("a", at("10.0.0.2"))
	h.controlAt("c1", c.addr)
	m.await(t, "a", "10.0.0.2")
	if got := get("keys"); got != "of now" {
		t.Errorf("what was known has become %q", got)
	}
}

// TestAnEdgeThatLostItsRole is refused all that it asks for: it must not take that for a control node that knows nothing.
func TestAnEdgeThatLostItsRole(t *testing.T) {
	for _, message := range []string{`this node must not follow "endpoints"`, `the roles of this node do not permit to follow "endpoints"`} {
		if i := refusedBucket(refuse(ReasonRole, message), []string{"declarations", "endpoints"}); (i == 1) != strings.HasPrefix(message, "this") {
			t.Errorf("%s: bucket %d", message, i)
		}
	}
	h := newHouse(t)
	c := h.control("c1")
	agent := h.client("agent-1", c, h.token(1, RoleAgent), as(RoleAgent), following(bucketEndpoints))
	if err := agent.keeper.obtain(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	h.run(agent.Run)
	eventually(t, "it is told why", func() bool { return strings.Contains(agent.Following().Why, "do not permit") })
	if f := agent.Following(); !f.Heard.IsZero() {
		t.Errorf("it takes what it knows for new: %+v", f)
	}
}
