package acmeserver

import (
	"maps"
	"strings"
	"sync"

	"github.com/ruche-project/ruche"
)

// counts are what this node has done since it was made.
type counts struct {
	mu      sync.Mutex
	events  map[string]uint64 // by what the audit calls them
	refused map[string]uint64 // by type of problem
}

func (c *counts) event(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.events[name]++
}

func (c *counts) refuse(p *Problem) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refused[strings.TrimPrefix(p.Type, urn)]++
}

// Counts tells what this node has done since it was made, and how many accounts there are.
func (s *Server) Counts() ruche.ACMEServerCount {
	s.counts.mu.Lock()
	defer s.counts.mu.Unlock()
	of := func(results map[string]string) map[string]uint64 {
		list := make(map[string]uint64, len(results)) // also those that were none yet, so that the first one is seen to be more
		for event, result := range results {
			list[result] = s.counts.events[event]
		}
		return list
	}
	return ruche.ACMEServerCount{
		Orders:     of(map[string]string{"order begun": "begun", "order refused": "refused", "certificate issued": "issued", "certificate refused": "failed"}),
		Challenges: of(map[string]string{"challenge met": "met", "challenge failed": "failed"}),
		Refused:    maps.Clone(s.counts.refused), Accounts: int64(s.accounts.size(everything)),
	}
}
