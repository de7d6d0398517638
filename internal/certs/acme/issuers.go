package acme

import "github.com/ruche-project/ruche"

// SetIssuers replaces the CAs that are configured, when what stands in files of theirs has changed. Orders that are under way end by the terms that they began with.
func (e *Engine) SetIssuers(list []ruche.Issuer) {
	e.mu.Lock()
	e.cfg.Issuers = list
	e.issuersVersion++
	e.mu.Unlock()
	select {
	case e.changed <- struct{}{}:
	default: // it is about to look anyway
	}
}

// issuers gives the CAs that are configured, as they are now.
func (e *Engine) issuers() []ruche.Issuer {
	list, _ := e.issuersNow()
	return list
}

// issuersNow gives them with how often they have been replaced.
func (e *Engine) issuersNow() ([]ruche.Issuer, int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.cfg.Issuers, e.issuersVersion
}
