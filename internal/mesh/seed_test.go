package mesh

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ruche-project/ruche"
)

// planted is a state, and the buckets of it that a seed goes to.
func planted(t *testing.T, s Seed) (*state, bucket[AuthorityRecord], bucket[Token]) {
	t.Helper()
	all := newState()
	authority, tokens := bucketOf[AuthorityRecord](all, "authority"), bucketOf[Token](all, "tokens")
	if err := s.Plant(t.Context(), authority, tokens); err != nil {
		t.Fatal(err)
	}
	return all, authority, tokens
}

// rewritten is the seed as it is after it was kept as JSON.
func rewritten(t *testing.T, s Seed) (Seed, []byte) {
	t.Helper()
	data, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	var again Seed
	if err := json.Unmarshal(data, &again); err != nil {
		t.Fatal(err)
	}
	return again, data
}

func TestASeedLetsNodesJoin(t *testing.T) {
	text, seal, err := NewSeal()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "seal")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	at := newClock()
	seed, texts, err := NewSeed(seal, at.now())
	if err != nil {
		t.Fatal(err)
	}
	seed, data := rewritten(t, seed)
	for role, text := range texts {
		_, secret, err := parseToken(text)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(data, []byte(secret)) || bytes.Contains(data, []byte(text)) {
			t.Errorf("the seed holds the token for %s", role)
		}
	}
	edge, agent, control := texts[RoleEdge], texts[RoleAgent], texts[RoleControl]
	all, kept, tokens := planted(t, seed)
	given, err := ReadSeal(file)
	if err != nil {
		t.Fatal(err)
	}
	authority, err := OpenAuthority(t.Context(), kept, given, at.now)
	if err != nil {
		t.Fatal(err)
	}
	registry := NewRegistry(authority, bucketOf[Node](all, "nodes"), tokens, bucketOf[ruche.NodeStatus](all, "nodestatus"))
	for i, tc := range []struct {
		token string
		roles []Role
		want  Reason // of the refusal; empty when it is let in
	}{
		{edge, []Role{RoleEdge}, ""}, {edge, []Role{RoleAgent}, ReasonTokenRole}, {edge, []Role{RoleControl}, ReasonTokenRole}, {edge, []Role{RoleEdge, RoleAgent}, ReasonTokenRole},
		{agent, []Role{RoleAgent}, ""}, {agent, []Role{RoleEdge}, ReasonTokenRole}, {agent, []Role{RoleControl}, ReasonTokenRole},
		{control, []Role{RoleControl}, ""}, {control, []Role{RoleEdge}, ReasonTokenRole}, {control, []Role{RoleAgent}, ReasonTokenRole},
		{strings.Replace(edge, tokenPrefix, "RUCHE-2-", 1), []Role{RoleEdge}, ReasonToken},
	} {
		pin, secret, err := parseToken(tc.token)
		if hash, rootErr := seed.Root(); err == nil && (rootErr != nil || pin != hash || pin != keyHash(authority.Root().PublicKey)) {
			t.Errorf("case %d: the token pins %s, the root is %s, %v", i, pin, hash, rootErr)
		}
		identity, err := newIdentity()
		if err != nil {
			t.Fatal(err)
		}
		request, err := identity.request()
		if err != nil {
			t.Fatal(err)
		}
		_, err = registry.enrol(t.Context(), enrolment{Token: secret, Name: "n" + strconv.Itoa(i), Roles: tc.roles, Address: "10.0.0.1:8901", Request: request}, false)
		var refused *Refusal
		if errors.As(err, &refused) != (tc.want != "") || refused != nil && refused.Reason != tc.want || err != nil && refused == nil {
			t.Errorf("case %d: %v for %v gives %v, want refusal %q", i, tc.token[:9], tc.roles, err, tc.want)
		}
	}
}

func TestWhoHasTheSeedAloneCanMakeNoCertificate(t *testing.T) {
	seed, _, err := NewSeed(testSeal(t), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	_, kept, _ := planted(t, seed)
	if _, err := OpenAuthority(t.Context(), kept, testSeal(t), nil); err == nil || !strings.Contains(err.Error(), "another key") {
		t.Errorf("with another sealing key the authority opened: %v", err)
	}
}

func TestPlantingAgainChangesNothing(t *testing.T) {
	seal := testSeal(t)
	seed, _, err := NewSeed(seal, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	_, authority, tokens := planted(t, seed)
	keys := make([]string, 0, len(seed.Tokens))
	for key := range seed.Tokens {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	used := seed.Tokens[keys[0]]
	used.LastKey = "a node's"
	tokens.put(keys[0], used)
	if err := tokens.Delete(t.Context(), keys[1]); err != nil { // somebody has ended it
		t.Fatal(err)
	}
	if err := seed.Plant(t.Context(), authority, tokens); err != nil {
		t.Fatal(err)
	}
	list, err := tokens.List(t.Context())
	if err != nil || len(list) != 2 || list[keys[0]].Value.LastKey != used.LastKey {
		t.Errorf("after planting again the tokens are %v, %v", list, err)
	}
	other, _, err := NewSeed(seal, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Plant(t.Context(), authority, tokens); err == nil || !strings.Contains(err.Error(), "another installation") {
		t.Errorf("planting over another installation's state: %v", err)
	}
	if list, err := tokens.List(t.Context()); err != nil || len(list) != 2 {
		t.Errorf("that left the tokens %v, %v", list, err)
	}
	if err := authority.Delete(t.Context(), rootKey); err != nil { // as when it was cut off before the end
		t.Fatal(err)
	}
	if err := seed.Plant(t.Context(), authority, tokens); err != nil {
		t.Fatal(err)
	}
	if list, err := tokens.List(t.Context()); err != nil || len(list) != 3 {
		t.Errorf("going on with a planting left the tokens %v, %v", list, err)
	}
	if (Seed{}).Plant(t.Context(), authority, tokens) == nil {
		t.Error("an empty seed was planted")
	}
}
