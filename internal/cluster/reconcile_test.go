package cluster

import (
	"testing"
	"time"
)

func TestWhoDoesNotComeUpLetsOthersGoFirst(t *testing.T) {
	const a, b = "https://192.0.2.1:8902", "https://192.0.2.2:8902"
	for _, tc := range []struct {
		name  string
		late  map[string]time.Time
		bAsks bool
		want  bool // a may still ask
	}{
		{"nobody was late", nil, true, true},
		{"a was", map[string]time.Time{a: time.Now()}, true, false},
		{"a was, but nobody else asks", map[string]time.Time{a: time.Now()}, false, true},
		{"a was, long ago", map[string]time.Time{a: time.Now().Add(-2 * beingAway)}, true, true},
		{"both were", map[string]time.Time{a: time.Now(), b: time.Now()}, true, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := reconciling{late: tc.late}
			wanted := []Candidate{{Name: "a", Peer: a, Asks: true}, {Name: "b", Peer: b, Asks: tc.bAsks}}
			r.putOff(wanted)
			if wanted[0].Asks != tc.want || wanted[1].Asks != tc.bAsks {
				t.Errorf("wanted are %+v", wanted)
			}
		})
	}
}
