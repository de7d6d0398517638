package acmeserver

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"sync"
	"time"
)

const (
	nonceLife  = 15 * time.Minute
	nonceSkew  = 2 * time.Minute // by which clocks of nodes may differ
	nonceRing  = 1 << 15         // how many used ones are remembered
	nonceBytes = 8 + 12          // time and random
	macBytes   = 16
)

// nonces makes and takes nonces (RFC 8555 section 6.5). A nonce carries its time and a MAC by a secret that all nodes share, so any node takes
// what another one made and nothing of it is stored. Each node remembers those that it took: there none is taken twice. It is safe for concurrent use.
type nonces struct {
	secret []byte
	now    func() time.Time

	mu    sync.Mutex
	used  map[[nonceBytes]byte]struct{}
	ring  [][nonceBytes]byte // used, in order of use
	next  int
	floor int64 // nanoseconds since 1970: older ones are not taken, since they may have been forgotten
}

func newNonces(secret []byte, now func() time.Time) *nonces {
	return &nonces{secret: secret, now: now, used: map[[nonceBytes]byte]struct{}{}}
}

func (n *nonces) mac(body []byte) []byte {
	mac := hmac.New(sha256.New, n.secret)
	mac.Write([]byte("nonce"))
	mac.Write(body)
	return mac.Sum(nil)[:macBytes]
}

// make gives a new nonce.
func (n *nonces) make() string {
	body := make([]byte, nonceBytes, nonceBytes+macBytes)
	binary.BigEndian.PutUint64(body, uint64(n.now().UnixNano()))
	_, _ = rand.Read(body[8:]) // never fails
	return encode(append(body, n.mac(body)...))
}

// open tells whether the nonce was made here, or at another node, lately.
func (n *nonces) open(text string) (body [nonceBytes]byte, ok bool) {
	data, err := decode(text)
	if err != nil || len(data) != nonceBytes+macBytes || !hmac.Equal(n.mac(data[:nonceBytes]), data[nonceBytes:]) {
		return body, false
	}
	body = [nonceBytes]byte(data)
	age := n.now().Sub(time.Unix(0, made(body)))
	return body, age < nonceLife && age > -nonceSkew
}

func made(body [nonceBytes]byte) int64 { return int64(binary.BigEndian.Uint64(body[:8])) }

// take uses the nonce up. It reports false for one that is strange, old, or was used before.
func (n *nonces) take(text string) bool {
	body, ok := n.open(text)
	if !ok {
		return false
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if _, before := n.used[body]; before || made(body) <= n.floor {
		return false
	}
	n.used[body] = struct{}{}
	if len(n.ring) < nonceRing {
		n.ring = append(n.ring, body)
		return true
	}
	n.floor = max(n.floor, made(n.ring[n.next]))
	delete(n.used, n.ring[n.next])
	n.ring[n.next] = body
	n.next = (n.next + 1) % nonceRing
	return true
}
