package vault

import (
	"encoding/json"

	"github.com/ruche-project/ruche"
)

// SpecSealedFor is what the secrets of a workload's specs are sealed for.
func SpecSealedFor(workload string) string { return "secrets of the certificates of " + workload }

// specSecrets is what of a spec is sealed.
type specSecrets struct {
	EAB *ruche.ExternalAccount `json:"eab,omitempty"`
	DNS map[string]string      `json:"dns,omitempty"` // the provider's settings
}

// SealSpecs gives the specs of a workload with what is secret in them sealed, and reports whether anything was in the clear.
func SealSpecs(seal Sealer, workload string, s ruche.CertificateSpecs) (ruche.CertificateSpecs, bool) {
	return eachSpec(s, func(spec *ruche.CertificateSpec) bool {
		secrets := specSecrets{EAB: spec.EAB}
		if spec.DNS != nil {
			secrets.DNS = spec.DNS.Settings
		}
		if secrets.EAB == nil && len(secrets.DNS) == 0 {
			return false
		}
		data, _ := json.Marshal(secrets) // of strings only, cannot fail
		spec.Sealed, spec.EAB = seal.Close(SpecSealedFor(workload), data), nil
		withSettings(spec, nil)
		return true
	})
}

// OpenSpecs puts back what SealSpecs sealed, and reports whether there was any. What cannot be opened stays as it is: whoever needs it finds it in Sealed.
func OpenSpecs(seal Sealer, workload string, s ruche.CertificateSpecs) (ruche.CertificateSpecs, bool) {
	return eachSpec(s, func(spec *ruche.CertificateSpec) bool {
		if len(spec.Sealed) == 0 {
			return false
		}
		data, err := seal.Open(SpecSealedFor(workload), spec.Sealed)
		var secrets specSecrets
		if err != nil || json.Unmarshal(data, &secrets) != nil {
			return false
		}
		spec.Sealed, spec.EAB = nil, secrets.EAB
		withSettings(spec, secrets.DNS)
		return true
	})
}

// eachSpec calls fn for a copy of each spec, and gives the specs as they are then.
func eachSpec(s ruche.CertificateSpecs, fn func(*ruche.CertificateSpec) bool) (ruche.CertificateSpecs, bool) {
	specs, changed := make([]ruche.CertificateSpec, len(s.Specs)), false
	for i, spec := range s.Specs {
		changed = fn(&spec) || changed
		specs[i] = spec
	}
	if !changed {
		return s, false
	}
	s.Specs = specs
	return s, true
}

// withSettings replaces the settings of a DNS provider, which others may have a pointer to.
func withSettings(spec *ruche.CertificateSpec, settings map[string]string) {
	if spec.DNS == nil {
		return
	}
	dns := *spec.DNS
	dns.Settings = settings
	spec.DNS = &dns
}
