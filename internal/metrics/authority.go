package metrics

import (
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ruche-project/ruche"
)

// authority shows how the internal authority is doing, and its ACME server.
type authority struct {
	cfg Config

	issuer, crl, certificates              *prometheus.Desc
	orders, challenges, refused, acmeUsers *prometheus.Desc
}

func newAuthority(cfg Config) *authority {
	return &authority{
		cfg:          cfg,
		issuer:       desc("ca_issuer_expiry_timestamp_seconds", "When a root or intermediate of the internal authority expires, in seconds of the Unix epoch.", "authority", "issuer"),
		crl:          desc("ca_crl_expiry_timestamp_seconds", "Until when the list of what an issuer of the internal authority has revoked is good, in seconds of the Unix epoch. It is renewed every day, a week before.", "authority", "issuer"),
		certificates: desc("ca_certificates", "Certificates of the internal authority that have not expired, by state: \"good\" or \"revoked\".", "authority", "state"),
		orders:       desc("acme_server_orders_total", "Orders at this node's ACME server, by result: \"begun\", \"refused\" (names or limits), \"issued\", \"failed\" (the authority does not sign).", "result"),
		challenges:   desc("acme_server_challenges_total", "Names that clients of this node's ACME server were to prove, by result: \"met\" or \"failed\".", "result"),
		refused:      desc("acme_server_requests_refused_total", "Requests that this node's ACME server has refused, by the type of the problem (RFC 8555 section 6.7).", "reason"),
		acmeUsers:    desc("acme_server_accounts", "Accounts of the ACME server, as of some minutes ago."),
	}
}

// Describe implements prometheus.Collector.
func (a *authority) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{a.issuer, a.crl, a.certificates, a.orders, a.challenges, a.refused, a.acmeUsers} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (a *authority) Collect(ch chan<- prometheus.Metric) {
	if a.cfg.Authorities != nil {
		for _, s := range a.cfg.Authorities() {
			a.collect(ch, s)
		}
	}
	if a.cfg.ACMEServer == nil {
		return
	}
	c := a.cfg.ACMEServer()
	for d, list := range map[*prometheus.Desc]map[string]uint64{a.orders: c.Orders, a.challenges: c.Challenges, a.refused: c.Refused} {
		for label, n := range list {
			ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), label)
		}
	}
	gauge(ch, a.acmeUsers, float64(c.Accounts))
}

func (a *authority) collect(ch chan<- prometheus.Metric, s ruche.AuthorityStatus) {
	for _, i := range slices.Concat(s.Roots, s.Intermediates) {
		gauge(ch, a.issuer, float64(i.NotAfter.Unix()), s.Name, i.ID)
		if !i.CRLUntil.IsZero() {
			gauge(ch, a.crl, float64(i.CRLUntil.Unix()), s.Name, i.ID)
		}
	}
	gauge(ch, a.certificates, float64(s.Live), s.Name, "good")
	gauge(ch, a.certificates, float64(s.Revoked), s.Name, "revoked")
}
