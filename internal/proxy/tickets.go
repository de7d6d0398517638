package proxy

import (
	"crypto/tls"
	"sync"
)

// tickets are the keys of session tickets that all edges share, and what they are put in force in.
type tickets struct {
	mu      sync.Mutex
	keys    [][32]byte // none: each edge has its own, from crypto/tls
	configs []*tls.Config
}

// SetTicketKeys puts session ticket keys in force: new tickets are sealed with the first one, and those that were sealed with any of them are taken. It panics
// without a key.
func (p *Proxy) SetTicketKeys(keys [][32]byte) {
	p.tickets.mu.Lock()
	defer p.tickets.mu.Unlock()
	p.tickets.keys = keys
	for _, c := range p.tickets.configs {
		c.SetSessionTicketKeys(keys)
	}
}

// shareTickets has a config follow the shared keys.
func (p *Proxy) shareTickets(c *tls.Config) {
	p.tickets.mu.Lock()
	defer p.tickets.mu.Unlock()
	if p.tickets.keys != nil {
		c.SetSessionTicketKeys(p.tickets.keys)
	}
	p.tickets.configs = append(p.tickets.configs, c)
}
