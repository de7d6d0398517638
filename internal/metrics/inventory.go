package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/ruche-project/ruche"
)

// inventory shows how certificates are doing, on control nodes.
type inventory struct {
	list func() []ruche.CertificateInfo

	count, expires, due, failures *prometheus.Desc
}

func newInventory(list func() []ruche.CertificateInfo) *inventory {
	return &inventory{
		list:     list,
		count:    desc("certificates", "Certificates of the installation, by kind and state. To be warned of are \"failing\" and \"expired\".", "kind", "state"),
		expires:  desc("certificate_expiry_timestamp_seconds", "When a certificate expires, in seconds of the Unix epoch.", "certificate", "name"),
		due:      desc("certificate_renewal_timestamp_seconds", "When a certificate is to be renewed, in seconds of the Unix epoch. Missing where nobody renews it here.", "certificate", "name"),
		failures: desc("certificate_failures", "Failed tries to get or renew a certificate since the last that succeeded.", "certificate", "name"),
	}
}

// Describe implements prometheus.Collector.
func (i *inventory) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{i.count, i.expires, i.due, i.failures} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (i *inventory) Collect(ch chan<- prometheus.Metric) {
	type group struct{ kind, state string }
	counts := map[group]int{}
	for _, c := range i.list() {
		counts[group{string(c.Kind), string(c.State)}]++
		name := ""
		if len(c.Names) > 0 {
			name = c.Names[0]
		}
		if c.State == ruche.CertificateRetired {
			continue // that it expires is nobody's concern
		}
		if !c.NotAfter.IsZero() {
			gauge(ch, i.expires, float64(c.NotAfter.Unix()), c.ID, name)
		}
		if !c.Due.IsZero() {
			gauge(ch, i.due, float64(c.Due.Unix()), c.ID, name)
		}
		gauge(ch, i.failures, float64(c.Failures), c.ID, name)
	}
	for g, n := range counts {
		gauge(ch, i.count, float64(n), g.kind, g.state)
	}
}
