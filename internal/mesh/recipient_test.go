package mesh

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/health"
)

// secret is a value of a test's bucket: text that is sealed on its way to whoever follows.
type secret struct {
	Text    []byte `json:"text"`
	Retired bool   `json:"retired,omitempty"`
	Pad     string `json:"pad,omitempty"`
}

func secretOf(key string) string { return "secret " + key }

// deliverSecrets opens what the house has sealed, and seals it to the node.
func (h *house) deliverSecrets(s *Server) {
	s.cfg.Deliver = map[string]Deliver{bucketCertificates: func(to *Recipient, key string, value json.RawMessage) (json.RawMessage, bool) {
		var v secret
		if json.Unmarshal(value, &v) != nil || v.Retired {
			return nil, false
		}
		text, err := h.seal.Open(secretOf(key), v.Text)
		if err == nil {
			v.Text, err = to.Seal(secretOf(key), text)
		}
		if err != nil {
			return nil, false
		}
		value, err = json.Marshal(v)
		return value, err == nil
	}}
}

func (h *house) secret(key, text string) secret {
	return secret{Text: h.seal.Close(secretOf(key), []byte(text))}
}

// known is what a node knows under a key of the secrets.
func known(c *Client, key string) (v secret, ok bool) {
	b, _, _ := c.replica.hub.since(bucketCertificates, 0)
	for _, i := range b.items {
		if i.key == key && i.value != nil {
			return v, json.Unmarshal(i.value, &v) == nil
		}
	}
	return v, false
}

// awaitSecret waits until a node can open what it is told under a key.
func awaitSecret(t testing.TB, c *Client, key, text string) {
	t.Helper()
	eventually(t, c.cfg.Name+" opens "+key, func() bool {
		v, ok := known(c, key)
		got, err := c.Open(secretOf(key), v.Text)
		return ok && err == nil && string(got) == text
	})
}

func inSafe(t testing.TB, token string) func(*ClientConfig) {
	t.Helper()
	seal, err := TokenSeal(token)
	if err != nil {
		t.Fatal(err)
	}
	return func(c *ClientConfig) { c.Safe = Safe{seal} }
}

func TestWhatIsSecretIsForOneEdgeAlone(t *testing.T) {
	h := newHouse(t)
	c := h.control("c1", h.deliverSecrets)
	rows := bucketOf[secret](h.state, bucketCertificates)
	rows.put("a", h.secret("a", "key of a"))
	rows.put("gone", secret{Retired: true})
	token := h.token(-1, RoleEdge)
	one := h.enrolled("edge-1", c, token, following(bucketCertificates))
	two := h.enrolled("edge-2", c, token, following(bucketCertificates))
	awaitSecret(t, one, "a", "key of a")
	awaitSecret(t, two, "a", "key of a")
	rows.put("b", h.secret("b", "key of b"))
	awaitSecret(t, one, "b", "key of b")
	if _, ok := known(one, "gone"); ok {
		t.Error("what is retired was told")
	}
	v, _ := known(one, "a")
	for name, open := range map[string]func() ([]byte, error){
		"another edge":         func() ([]byte, error) { return two.Open(secretOf("a"), v.Text) },
		"another thing":        func() ([]byte, error) { return one.Open(secretOf("b"), v.Text) },
		"the house's own seal": func() ([]byte, error) { return h.seal.Open(secretOf("a"), v.Text) },
		"a part of it":         func() ([]byte, error) { return one.Open(secretOf("a"), v.Text[:100]) },
		"nothing":              func() ([]byte, error) { return one.Open(secretOf("a"), nil) },
	} {
		if got, err := open(); err == nil {
			t.Errorf("%s opens it: %q", name, got)
		}
	}

	rows.put("a", secret{Retired: true})
	eventually(t, "what was retired is gone", func() bool { _, ok := known(one, "a"); return !ok })

	agent := h.enrolled("agent-1", c, h.token(1, RoleAgent), as(RoleAgent), following(bucketCertificates))
	c.refused(t, "an agent that follows certificates", ReasonRole)
	if _, ok := known(agent, "b"); ok {
		t.Error("an agent was told a secret")
	}
}

func TestKeysOfANodeLieOnItsDiskSealed(t *testing.T) {
	h := newHouse(t)
	c := h.control("c1", h.deliverSecrets)
	rows := bucketOf[secret](h.state, bucketCertificates)
	rows.put("a", h.secret("a", "key of a"))
	token := h.token(-1, RoleEdge)
	dir := filepath.Join(h.dir, "edge-1")
	bare := h.client("edge-1", c, token, following(bucketCertificates))
	stop := h.run(bare.Run)
	awaitSecret(t, bare, "a", "key of a")
	stop()
	mine := loadedKey(t, dir, nil)

	// From the next start on this node has a seal: what lay there in the clear does not any more.
	sealed := h.client("edge-1", c, token, following(bucketCertificates), inSafe(t, token))
	for _, name := range []string{identityFile, boxFile, certificatesFile} {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		private, _ := bare.box.private.Bytes()
		if bytes.Contains(data, []byte("PRIVATE KEY")) || bytes.Contains(data, private) || bytes.Contains(data, []byte("key of a")) {
			t.Errorf("%s holds a key in the clear", name)
		}
	}
	if _, err := loadIdentity(dir, nil); !errors.Is(err, ErrSeal) {
		t.Errorf("the identity opens without the token: %v", err)
	}
	if loadedKey(t, dir, sealed.cfg.Safe) != mine {
		t.Error("the node has another key than before")
	}
	if v, ok := known(sealed, "a"); !ok {
		t.Error("after a start nothing is known")
	} else if got, err := sealed.Open(secretOf("a"), v.Text); err != nil || string(got) != "key of a" {
		t.Errorf("after a start the node opens %q, %v", got, err)
	}

	// With another token what was there is lost, and comes anew.
	again := h.token(-1, RoleEdge)
	h.clock.forward(2 * time.Minute) // for that long its name is kept
	lost := h.client("edge-1", c, again, following(bucketCertificates), inSafe(t, again))
	h.run(lost.Run)
	awaitSecret(t, lost, "a", "key of a")
	if loadedKey(t, dir, lost.cfg.Safe) == mine {
		t.Error("the node has the key that it could not open")
	}

	// Without any token a node whose keys cannot be opened does not throw them away.
	cfg := lost.cfg
	cfg.Token, cfg.Safe = "", nil
	if _, err := NewClient(cfg); !errors.Is(err, ErrSeal) || !strings.Contains(err.Error(), "give the join token") {
		t.Errorf("without the token the node says %v", err)
	}
}

func loadedKey(t testing.TB, dir string, safe Safe) string {
	t.Helper()
	id, err := loadIdentity(dir, safe)
	if err != nil {
		t.Fatal(err)
	}
	return id.hash
}

// A control node's key as a member of the state is on its disk sealed too, and in a file in memory that follows it.
func TestAMembersKeyIsInMemoryOnly(t *testing.T) {
	h := newHouse(t)
	dir := filepath.Join(h.dir, "c1")
	member, err := OpenMember(dir, Safe{h.seal})
	if err != nil {
		t.Fatal(err)
	}
	path := member.Certificate()
	var last []byte
	for range 2 {
		if err := EnrolOwn(t.Context(), h.reg(), member, "c1", "127.0.0.1:8901", slog.New(slog.DiscardHandler), &health.Registry{}); err != nil {
			t.Fatal(err)
		}
		disk, err := os.ReadFile(FilesOfMember(dir).Certificate)
		if err != nil || bytes.Contains(disk, []byte(pemKey)) || !FilesOfMember(dir).For("127.0.0.1") {
			t.Errorf("on the disk is %q, %v", disk, err)
		}
		data, err := os.ReadFile(path)
		if err != nil || !bytes.Contains(data, []byte(pemKey)) || bytes.Equal(data, last) || member.Certificate() != path {
			t.Errorf("in memory is %q, %v", data, err)
		}
		last = data
		_ = os.Remove(filepath.Join(dir, identityFile)) // the next has another key
	}
	again, err := OpenMember(dir, Safe{h.seal})
	if err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(again.Certificate()); err != nil || !bytes.Equal(data, last) {
		t.Errorf("after a start there is %q in memory, %v", data, err)
	}
	// What an earlier release left there in the clear is used, and sealed at the next start.
	old := filepath.Join(h.dir, "old")
	bare, err := OpenMember(old, nil)
	if err == nil {
		err = EnrolOwn(t.Context(), h.reg(), bare, "old", "127.0.0.1:8901", slog.New(slog.DiscardHandler), &health.Registry{})
	}
	if err != nil {
		t.Fatal(err)
	}
	plain, _ := os.ReadFile(bare.Certificate())
	now, err := OpenMember(old, Safe{h.seal})
	if err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(now.Certificate()); err != nil || !bytes.Equal(data, plain) || !bytes.Contains(plain, []byte(pemKey)) {
		t.Errorf("of what lay in the clear there is %q in memory, %v", data, err)
	}
	if _, err := newOwnKeeper(h.reg(), old, "old", []Role{RoleControl}, "127.0.0.1:8901", now, slog.New(slog.DiscardHandler), &health.Registry{}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{identityFile, peerFile} {
		if data, err := os.ReadFile(filepath.Join(old, name)); err != nil || bytes.Contains(data, []byte(pemKey)) {
			t.Errorf("%s still holds a key in the clear (%v)", name, err)
		}
	}
	if _, err := OpenMember(dir, Safe{testSeal(t)}); !errors.Is(err, ErrSeal) {
		t.Errorf("with another key it says %v", err)
	}
}

func TestAnEdgeWritesWhatItServesAndNothingElse(t *testing.T) {
	h := newHouse(t)
	c := h.control("c1")
	edge := h.enrolled("edge-1", c, h.token(1, RoleEdge))
	row := func(node string) json.RawMessage { return raw(`{"node":"` + node + `","names":{}}`) }
	for name, tc := range map[string]struct {
		change ruche.Change
		ok     bool
	}{
		"its own":              {ruche.Change{Bucket: bucketServed, Key: "edge-1", Value: row("edge-1")}, true},
		"a second row":         {ruche.Change{Bucket: bucketServed, Key: "edge-1/1", Value: row("edge-1")}, true},
		"another edge's":       {ruche.Change{Bucket: bucketServed, Key: "edge-2", Value: row("edge-2")}, false},
		"another edge's key":   {ruche.Change{Bucket: bucketServed, Key: "edge-2", Value: row("edge-1")}, false},
		"as another edge":      {ruche.Change{Bucket: bucketServed, Key: "edge-1", Value: row("edge-2")}, false},
		"a certificate":        {ruche.Change{Bucket: bucketCertificates, Key: "a", Value: row("edge-1")}, false},
		"a declaration":        {ruche.Change{Bucket: bucketDeclarations, Key: "a", Value: raw(`{"workload":{"id":"a","node":"edge-1"}}`)}, false},
		"what cannot be read":  {ruche.Change{Bucket: bucketServed, Key: "edge-1", Value: raw(`[]`)}, false},
		"a challenge's answer": {ruche.Change{Bucket: bucketChallenges, Key: "a", Value: row("edge-1")}, false},
	} {
		err := edge.Apply(t.Context(), []ruche.Change{tc.change})
		if (err == nil) != tc.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// BenchmarkFirstFollow is what the first look at 10,000 certificates costs a control node for each edge, TLS and the edge itself left out, and what an update of one does.
func BenchmarkFirstFollow(b *testing.B) {
	h := newHouse(b)
	s := &Server{cfg: ServerConfig{}}
	h.deliverSecrets(s)
	const records = 10_000
	hub := newHub([]string{bucketCertificates})
	puts := map[string]json.RawMessage{}
	for i := range records {
		key := strings.Repeat("k", 20) + string(rune('a'+i%26)) + time.Duration(i).String()
		v := h.secret(key, strings.Repeat("p", 138)) // a key of P-256 in PKCS #8
		v.Pad = strings.Repeat("c", 3200)            // a chain of two certificates in base64
		puts[key], _ = json.Marshal(v)
	}
	hub.apply(bucketCertificates, ruche.Update[json.RawMessage]{Reset: true, Puts: puts})
	all, _, _ := hub.since(bucketCertificates, 0)
	node, err := openBox(b.TempDir(), "edge", nil, slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	for name, n := range map[string]int{"10000": records, "1": 1} {
		for _, sealed := range []bool{true, false} {
			b.Run(name+map[bool]string{true: "-sealed", false: "-plain"}[sealed], func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					to, err := newRecipient("edge", node.public())
					if err != nil {
						b.Fatal(err)
					}
					f := &follower{server: s, to: to}
					var deliver func([]*item) []*item
					if sealed {
						deliver = f.delivery(bucketCertificates, true)
					}
					var longest longest
					if _, err := writeBatch(&longest, nil, bucketCertificates, batch{reset: true, items: all.items[:n]}, deliver); err != nil {
						b.Fatal(err)
					}
					b.ReportMetric(float64(longest.gap.Microseconds())/1000, "ms-longest-pause")
					b.ReportMetric(float64(longest.bytes)/float64(n), "B/record")
				}
			})
		}
	}
}

// longest notes the longest time between two lines that are written.
type longest struct {
	last  time.Time
	gap   time.Duration
	bytes int
}

func (l *longest) Write(p []byte) (int, error) {
	now := time.Now()
	if !l.last.IsZero() {
		l.gap = max(l.gap, now.Sub(l.last))
	}
	l.last = now
	l.bytes += len(p)
	return len(p), nil
}

// A node that starts with what it knew, and hears nothing new, is told of what time that is: who waits for it to have something would wait for ever.
func TestARevisionComesWithoutNews(t *testing.T) {
	h := newHouse(t)
	c := h.control("c1")
	h.endpoints().put("a", at("10.0.0.1"))
	token := h.token(-1, RoleEdge)
	revisions := func(c *Client) <-chan int64 {
		seen := make(chan int64, 100)
		view := Follow[ruche.Endpoint](c, bucketEndpoints)
		h.run(func(ctx context.Context) error {
			return view.Watch(ctx, func(u ruche.Update[ruche.Endpoint]) { seen <- u.Revision })
		})
		return seen
	}
	edge := h.client("edge-1", c, token, following(bucketEndpoints))
	stop := h.run(edge.Run)
	first := <-revisions(edge)
	h.mirrorOf(edge).await(t, "a", "10.0.0.1")
	stop()
	again := h.client("edge-1", c, token, following(bucketEndpoints))
	seen := revisions(again)
	if got := <-seen; got != 0 {
		t.Fatalf("from the disk comes revision %d", got)
	}
	h.run(again.Run)
	if got := <-seen; got != first {
		t.Errorf("from the control node comes revision %d, want %d", got, first)
	}
}

// FuzzOpenWhatIsSealed gives a node what somebody else may have written for it: only what was sealed to it opens.
func FuzzOpenWhatIsSealed(f *testing.F) {
	node, err := openBox(f.TempDir(), "edge", nil, slog.New(slog.DiscardHandler))
	if err != nil {
		f.Fatal(err)
	}
	to, err := newRecipient("edge", node.public())
	if err != nil {
		f.Fatal(err)
	}
	sealed, err := to.Seal("what", []byte("secret"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sealed, node.public())
	f.Add(sealed[:headBytes], "")
	f.Add([]byte{sealedVersion}, "AAAA")
	f.Fuzz(func(t *testing.T, data []byte, shown string) {
		if got, err := node.open("what", data); err == nil && (!bytes.Equal(data, sealed) || string(got) != "secret") {
			t.Errorf("%q opens as %q", data, got)
		}
		if r, err := newRecipient("edge", shown); err == nil && shown != "" {
			if _, err := r.Seal("what", nil); err != nil {
				t.Errorf("a key that is taken cannot be sealed to: %v", err)
			}
		}
	})
}
