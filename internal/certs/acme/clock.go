package acme

import (
	"time"

	"github.com/ruche-project/ruche/internal/certs/vault"
)

// issued is when a record came here. A time to come is that of a clock that was ahead: then the CA's is as good.
func (v *view) issued(id string) time.Time {
	at := v.records[id].Value.Issued
	if l := v.leaves[id]; at.After(v.now) && l.cert != nil {
		return l.cert.NotBefore
	}
	return at
}

// waits reports whether the next try is yet to come. What a clock said that was ahead does not count: nobody would try for that long.
func (v *view) waits(st vault.State) bool {
	return v.now.Before(st.NextTry) && !st.LastTry.After(v.now.Add(skew)) && st.NextTry.Before(v.now.Add(longestWait))
}

const (
	// skew is by how much clocks of nodes may differ.
	skew = 10 * time.Minute
	// longestWait is more than any CA is listened to that wants to be left alone.
	longestWait = 31 * 24 * time.Hour
)
