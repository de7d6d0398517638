package certs

import (
	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/certs/ech"
	"github.com/ruche-project/ruche/internal/certs/vault"
)

// applyECH puts the shared keys of Encrypted Client Hello in force. Those that cannot be used leave the last ones there.
func (c *Certs) applyECH(u ruche.Update[vault.ECH]) {
	row, told := ech.Of(u)
	switch {
	case !told:
		return
	case len(row.Configs) == 0:
		c.cfg.ApplyECH("", nil)
	default:
		keys, err := ech.Keys(c.cfg.Opener, row)
		if err != nil {
			c.cfg.Logger.Warn("the keys of Encrypted Client Hello cannot be used: clients that have a newer one need a second handshake", "error", err)
			return
		}
		c.cfg.ApplyECH(row.PublicName, keys)
	}
	c.changed.say() // the public name may be served from now on
}
