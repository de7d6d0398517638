package mesh

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ruche-project/ruche"
)

func TestEnrolByToken(t *testing.T) {
	h := newHouse(t)
	c := h.control("c1")
	token := h.token(-1, RoleControl, RoleAgent, RoleEdge)
	edge := h.enrolled("edge-1", c, token)
	id, _ := edge.keeper.current()
	if id.Name != "edge-1" || !id.has(RoleEdge) || id.has(RoleControl) || id.peer != nil {
		t.Errorf("the edge is %+v with peer certificate %v", id.Peer, id.peer != nil)
	}
	if got := edge.addresses(); len(got) != 1 || got[0] != c.addr {
		t.Errorf("the edge knows control nodes at %v, want %s", got, c.addr)
	}
	second := h.enrolled("c2", c, token, as(RoleControl), func(c *ClientConfig) { c.Address = "10.1.2.3:8901" })
	id, _ = second.keeper.current()
	if id.peer == nil || !id.has(RoleControl) {
		t.Errorf("the control node is %+v with peer certificate %v", id.Peer, id.peer != nil)
	}
	for _, name := range []string{identityFile, peerFile, rootFile} {
		info, err := os.Stat(filepath.Join(h.dir, "c2", name))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, want mode 0600", name, err)
		}
	}
	_, secret, _ := parseToken(token)
	if strings.Contains(c.log.String(), secret) {
		t.Error("the log has the token's secret")
	}
	h.state.mu.Lock()
	defer h.state.mu.Unlock()
	for name, rows := range h.state.rows {
		for key, row := range rows {
			if strings.Contains(key+string(row.data), secret) {
				t.Errorf("bucket %s has the token's secret", name)
			}
		}
	}
}

func TestEnrolmentsThatAreRefused(t *testing.T) {
	h := newHouse(t)
	other := newHouse(t)
	c := h.control("c1")
	used := h.token(1, RoleEdge)
	h.enrolled("first", c, used)
	old, err := h.reg().MakeToken(t.Context(), []Role{RoleEdge}, -1, h.clock.now().Add(-time.Second))
	if err != nil {
		t.Fatal(err)
	}
	pin, _ := hex.DecodeString(keyHash(h.reg().authority.root.PublicKey))
	for name, tc := range map[string]struct {
		token string
		edit  func(*ClientConfig)
		want  Reason
	}{
		"a token that does not exist": {token: writeToken(pin, newSecret()), want: ReasonToken},
		"an expired token":            {token: old, want: ReasonTokenExpired},
		"a token that is used up":     {token: used, want: ReasonTokenUsed},
		"a role it does not permit":   {token: h.token(1, RoleEdge), edit: as(RoleAgent), want: ReasonTokenRole},
		"the name of another node":    {token: h.token(1, RoleEdge), edit: func(c *ClientConfig) { c.Name = "first" }, want: ReasonNameInUse},
		"control without address":     {token: h.token(1, RoleControl), edit: as(RoleControl), want: ReasonBadRequest},
	} {
		node := h.client(strings.ReplaceAll(name, " ", "-"), c, tc.token, func(c *ClientConfig) {
			if tc.edit != nil {
				tc.edit(c)
			}
		})
		err := node.keeper.obtain(t.Context(), false)
		var r *Refusal
		if !errors.As(err, &r) || r.Reason != tc.want {
			t.Errorf("%s: error %v, want %q", name, err, tc.want)
		}
		c.refused(t, name, tc.want)
	}
	// The token of another installation: the node finds that out itself, before it tells the secret.
	stranger := h.client("stranger", c, other.token(-1, RoleEdge))
	if err := stranger.keeper.obtain(t.Context(), false); !errors.Is(err, errNotControl) {
		t.Errorf("with the token of another installation the error is %v, want %v", err, errNotControl)
	}
	c.refused(t, "the token of another installation", ReasonHandshake)
}

func TestTokensAreCounted(t *testing.T) {
	h := newHouse(t)
	c := h.control("c1")
	token := h.token(3, RoleEdge)
	var all sync.WaitGroup
	var mu sync.Mutex
	in := 0
	for i := range 8 {
		node := h.client("edge-"+string(rune('a'+i)), c, token)
		all.Go(func() {
			err := node.keeper.obtain(context.Background(), false)
			var r *Refusal
			switch {
			case err == nil:
				mu.Lock()
				in++
				mu.Unlock()
			case !errors.As(err, &r) || r.Reason != ReasonTokenUsed:
				t.Error(err)
			}
		})
	}
	all.Wait()
	if in != 3 {
		t.Errorf("%d nodes enrolled by a token for 3", in)
	}
}

func TestALostAnswerCostsNoUse(t *testing.T) {
	h := newHouse(t)
	c := h.control("c1")
	node := h.client("edge-1", c, h.token(1, RoleEdge))
	for range 2 {
		if err := node.keeper.obtain(t.Context(), false); err != nil {
			t.Fatal(err)
		}
	}
}

func TestANameChangesHands(t *testing.T) {
	h := newHouse(t)
	c := h.control("c1")
	token := h.token(-1, RoleEdge)
	before := h.client("edge-1", c, token)
	if err := before.keeper.obtain(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	after := h.client("edge-1", c, token, func(c *ClientConfig) { c.Dir += "-new" })
	status := bucketOf[ruche.NodeStatus](h.state, "nodestatus")
	var r *Refusal
	for _, step := range []struct {
		name    string
		forward time.Duration
		seen    bool
		taken   bool
	}{
		{name: "just enrolled", taken: true},
		{name: "seen 59 s ago", forward: 2 * time.Minute, seen: true, taken: true},
		{name: "seen a minute ago", forward: 2 * time.Second},
	} {
		h.clock.forward(step.forward)
		if step.seen {
			status.put("edge-1", ruche.NodeStatus{Node: "edge-1", Seen: h.clock.now().Add(-59 * time.Second)})
		}
		err := after.keeper.obtain(t.Context(), false)
		if taken := errors.As(err, &r) && r.Reason == ReasonNameInUse; taken != step.taken || !taken && err != nil {
			t.Fatalf("%s: error %v, want refused %v", step.name, err, step.taken)
		}
	}
	// From now on the old certificate is worth nothing.
	if err := before.keeper.obtain(t.Context(), true); !errors.As(err, &r) || r.Reason != ReasonSuperseded {
		t.Errorf("renewing the old certificate gives %v, want %q", err, ReasonSuperseded)
	}
	c.refused(t, "old certificate", ReasonSuperseded)
	if err := h.reg().Remove(t.Context(), "edge-1"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the removal is known", func() bool { known, _ := c.registry.nodesNow(); return known["edge-1"].Key == "" })
	if err := after.keeper.obtain(t.Context(), true); !errors.As(err, &r) || r.Reason != ReasonUnknownNode {
		t.Errorf("renewing the certificate of a removed node gives %v, want %q", err, ReasonUnknownNode)
	}
}

func TestGuessingIsSlow(t *testing.T) {
	h := newHouse(t)
	c := h.control("c1")
	pin, _ := hex.DecodeString(keyHash(h.reg().authority.root.PublicKey))
	var r *Refusal
	for i := range maxFailures + 1 {
		node := h.client("guesser", c, writeToken(pin, newSecret()))
		want := ReasonToken
		if i == maxFailures {
			want = ReasonRate
		}
		if err := node.keeper.obtain(t.Context(), false); !errors.As(err, &r) || r.Reason != want {
			t.Fatalf("guess %d gives %v, want %q", i, err, want)
		}
	}
	h.clock.forward(failuresFor + time.Second)
	if err := h.client("late", c, h.token(1, RoleEdge)).keeper.obtain(t.Context(), false); err != nil {
		t.Errorf("a minute later: %v", err)
	}
}

func TestCertificatesAreRenewed(t *testing.T) {
	h := newHouse(t)
	c := h.control("c1")
	edge := h.enrolled("edge-1", c, h.token(1, RoleEdge))
	for range 3 {
		before, _ := edge.keeper.current()
		own, _ := c.keeper.current()
		h.clock.forward(certificateLifetime*6/10 + time.Minute) // with jitter
		eventually(t, "both have another certificate", func() bool {
			now, _ := edge.keeper.current()
			ownNow, _ := c.keeper.current()
			return now != before && ownNow != own
		})
	}
	now, _ := edge.keeper.current()
	onDisk, err := loadIdentity(edge.keeper.dir, nil)
	if err != nil || !onDisk.cert.Equal(now.cert) {
		t.Errorf("the disk has another certificate than is in use: %v", err)
	}
}

func TestANodeThatWasOffForLongEnrolsAgain(t *testing.T) {
	h := newHouse(t)
	c := h.control("c1")
	token := h.token(-1, RoleEdge)
	edge := h.client("edge-1", c, token)
	if err := edge.keeper.obtain(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	before, _ := edge.keeper.current()
	own, _ := c.keeper.current()
	h.clock.forward(certificateLifetime + time.Hour)
	eventually(t, "the control node has another certificate itself", func() bool { now, _ := c.keeper.current(); return now != own })
	if err := edge.keeper.obtain(t.Context(), true); err == nil {
		t.Error("an expired certificate was renewed")
	}
	c.refused(t, "expired certificate", ReasonExpired)
	again := h.client("edge-1", c, token)
	h.run(again.Run)
	eventually(t, "it has another certificate", func() bool {
		now, _ := again.keeper.current()
		return now.cert != nil && !now.cert.Equal(before.cert)
	})
}

func TestIdentitiesOnDisk(t *testing.T) {
	h := newHouse(t)
	other := newHouse(t)
	c := h.control("c1")
	token := h.token(-1, RoleEdge, RoleAgent)
	edge := h.client("edge-1", c, token)
	if err := edge.keeper.obtain(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(edge.cfg.Dir, identityFile)
	good, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	first, _ := edge.keeper.current()
	for name, tc := range map[string]struct {
		content string
		token   string
		edit    func(*ClientConfig)
		kept    bool // the certificate
		key     bool // the key, at least
	}{
		"as it was written":               {content: string(good), token: token, kept: true, key: true},
		"without a token":                 {content: string(good), kept: true, key: true},
		"cut in the certificate":          {content: string(good[:len(good)*6/10]), token: token, key: true},
		"empty":                           {token: token},
		"garbage":                         {content: "garbage", token: token},
		"other roles":                     {content: string(good), token: token, edit: as(RoleAgent, RoleEdge), key: true},
		"a token of another installation": {content: string(good), token: other.token(1, RoleEdge), key: true},
	} {
		if err := os.WriteFile(file, []byte(tc.content), 0o600); err != nil {
			t.Fatal(err)
		}
		node := h.client("edge-1", c, tc.token, func(c *ClientConfig) {
			if tc.edit != nil {
				tc.edit(c)
			}
		})
		id, _ := node.keeper.current()
		if kept := id.cert != nil; kept != tc.kept {
			t.Errorf("%s: certificate kept %v, want %v", name, kept, tc.kept)
		}
		if key := id.key.Equal(first.key); key != tc.key {
			t.Errorf("%s: key kept %v, want %v", name, key, tc.key)
		}
	}
}

func TestTokenTexts(t *testing.T) {
	sum := sha256.Sum256([]byte("root"))
	text := writeToken(sum[:], newSecret())
	pin, secret, err := parseToken(" " + text + "\n")
	if err != nil || pin != hex.EncodeToString(sum[:]) || !strings.HasSuffix(text, secret) {
		t.Errorf("%s reads as %s, %s, %v", text, pin, secret, err)
	}
	for _, bad := range []string{"", "RUCHE-1-", text[:len(text)-1], text + "A", "RUCHE-2-" + text[8:], strings.ToLower(text), strings.Replace(text, "-", "", 2)} {
		if _, _, err := parseToken(bad); err == nil {
			t.Errorf("%q passes as a token", bad)
		} else if len(bad) > 20 && strings.Contains(err.Error(), bad[20:]) {
			t.Errorf("the error tells the token: %v", err)
		}
	}
}

func FuzzParseToken(f *testing.F) {
	f.Add("RUCHE-1-A-B")
	f.Add(writeToken(make([]byte, 32), make([]byte, 20)))
	f.Fuzz(func(t *testing.T, text string) {
		pin, secret, err := parseToken(text)
		if err != nil {
			return
		}
		hash, err := hex.DecodeString(pin)
		raw, err2 := digits().DecodeString(secret)
		if err != nil || err2 != nil || len(hash) != 32 || len(raw) != secretBytes {
			t.Errorf("%q reads as %q and %q", text, pin, secret)
		}
	})
}

func TestTheStateDoesNotAnswer(t *testing.T) {
	h := newHouse(t)
	c := h.control("c1")
	token := h.token(-1, RoleEdge)
	edge := h.enrolled("edge-1", c, token, following(bucketEndpoints))
	eventually(t, "it follows", func() bool { return edge.Following().Control != "" })
	h.state.fail(errors.New("the inner reason"))
	err := h.client("edge-2", c, token).keeper.obtain(t.Context(), false)
	var r *Refusal
	if !errors.As(err, &r) || r.Reason != ReasonUnavailable || strings.Contains(err.Error(), "inner") {
		t.Errorf("enrolling gives %v, want %q without the reason", err, ReasonUnavailable)
	}
	c.refused(t, "enrolling", ReasonUnavailable)
	if !strings.Contains(c.log.String(), "the inner reason") {
		t.Error("the log does not tell the reason")
	}
	// Whoever is known goes on, also over a new connection.
	again := h.client("edge-1", c, "", following(bucketEndpoints))
	h.run(again.Run)
	eventually(t, "it follows with a known certificate", func() bool { return again.Following().Control != "" })
	h.state.fail(nil)
	if err := h.client("edge-2", c, token).keeper.obtain(t.Context(), false); err != nil {
		t.Errorf("when the state answers again: %v", err)
	}
}

// By a token for edges nobody takes the place of a control node that is away.
func TestARoleIsNotTakenWithTheName(t *testing.T) {
	h := newHouse(t)
	c := h.control("c1")
	c2 := h.client("c2", c, h.token(1, RoleControl), as(RoleControl), func(cfg *ClientConfig) { cfg.Address = "192.0.2.2:8901" })
	stop := h.run(c2.Run)
	h.waitEnrolled(c2)
	stop()
	h.clock.forward(2 * lately)
	intruder := h.client("c2", c, h.token(1, RoleEdge), func(cfg *ClientConfig) { cfg.Dir += "-intruder" })
	h.run(intruder.Run)
	c.refused(t, "an edge in a control node's place", ReasonNameInUse)
	if e, err := h.nodes.Get(t.Context(), "c2"); err != nil || !slices.Equal(e.Value.Roles, []Role{RoleControl}) {
		t.Errorf("c2 is %+v, %v", e.Value, err)
	}
}

func TestTokensAreListedAndEnded(t *testing.T) {
	h := newHouse(t)
	reg := h.reg()
	free := h.token(-1, RoleEdge, RoleAgent)
	h.clock.forward(time.Minute)
	h.token(2, RoleControl)
	list := func() (ids []string, used []bool) {
		t.Helper()
		l, err := reg.Tokens(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, tok := range l.Tokens {
			ids, used = append(ids, tok.ID), append(used, tok.Used)
		}
		return ids, used
	}
	_, secret, err := parseToken(free)
	if err != nil {
		t.Fatal(err)
	}
	ids, used := list()
	if len(ids) != 2 || ids[0] != tokenKey(secret)[:8] || used[0] || used[1] {
		t.Fatalf("listed are %v, used %v", ids, used)
	}
	for _, id := range []string{"", ids[0][:7], "00000000", secret} {
		if err := reg.RemoveToken(t.Context(), id); !errors.Is(err, ruche.ErrNotFound) {
			t.Errorf("RemoveToken(%q) = %v", id, err)
		}
	}
	c := h.control("c1")
	edge := h.enrolled("edge-1", c, free)
	if _, used := list(); !used[0] || used[1] {
		t.Errorf("used %v after a node has joined by the first", used)
	}
	if err := reg.RemoveToken(t.Context(), strings.ToUpper(ids[0])); err != nil {
		t.Fatal(err)
	}
	if left, _ := list(); len(left) != 1 || left[0] != ids[1] {
		t.Errorf("left are %v, want %v", left, ids[1:])
	}
	var r *Refusal
	if err := h.client("edge-2", c, free).keeper.obtain(t.Context(), false); !errors.As(err, &r) || r.Reason != ReasonToken {
		t.Errorf("a node joins by a token that was ended: %v", err)
	}
	if err := edge.keeper.obtain(t.Context(), true); err != nil {
		t.Errorf("a node that has joined by it does not stay: %v", err)
	}
}
