package inventory

import (
	"cmp"
	"crypto/x509"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/certs/vault"
)

// settle is how long edges may take to serve what was stored, before that is worth a word.
const settle = time.Minute

// served puts together what edges serve, by name, and adds to each certificate who serves it. Files become certificates of the inventory.
func (l *lister) served() []ruche.ServedName {
	type way struct {
		serving vault.Serving
		edges   []string
	}
	ways := map[string]map[string]*way{} // by name and by what it is served with
	for _, node := range slices.Sorted(maps.Keys(l.in.Served)) {
		for name, s := range l.in.Served[node].Names {
			if ways[name] == nil {
				ways[name] = map[string]*way{}
			}
			key := cmp.Or(s.Fingerprint, string(s.Kind))
			if s.Kind == ruche.CertificateSelfSigned {
				key = string(s.Kind) // each edge has its own
			}
			if ways[name][key] == nil {
				ways[name][key] = &way{serving: s}
			}
			ways[name][key].edges = append(ways[name][key].edges, node)
			l.serves(node, name, s)
		}
	}
	var names []ruche.ServedName
	for _, name := range slices.Sorted(maps.Keys(ways)) {
		var best *way
		for _, key := range slices.Sorted(maps.Keys(ways[name])) {
			if w := ways[name][key]; best == nil || len(w.edges) > len(best.edges) {
				best = w
			}
		}
		n := ruche.ServedName{Name: name, Kind: best.serving.Kind, Fingerprint: best.serving.Fingerprint, NotAfter: best.serving.NotAfter, Edges: best.edges, Certificate: l.prints[best.serving.Fingerprint]}
		for key, w := range ways[name] {
			if w == best {
				continue
			}
			if n.Others == nil {
				n.Others = map[string]string{}
			}
			for _, e := range w.edges {
				n.Others[e] = key
			}
		}
		names = append(names, n)
	}
	return l.seen(names)
}

// serves notes that an edge serves a name with a certificate.
func (l *lister) serves(node, name string, s vault.Serving) {
	id := l.prints[s.Fingerprint]
	if id == "" && s.Kind == ruche.CertificateFile {
		id = "file:" + s.File + "@" + node
		info := &ruche.CertificateInfo{ID: id, Kind: s.Kind, State: ruche.CertificateValid, Source: "file " + s.File, Fingerprint: s.Fingerprint, NotAfter: s.NotAfter}
		if !l.in.Now.Before(s.NotAfter) {
			info.State = ruche.CertificateExpired
		}
		l.infos[id], l.prints[s.Fingerprint] = info, id
	}
	info := l.infos[id]
	if info == nil {
		return
	}
	info.ServedBy = append(info.ServedBy, node)
	if info.Kind == ruche.CertificateFile && !slices.Contains(info.Names, name) {
		info.Names = append(info.Names, name)
		slices.Sort(info.Names)
	}
}

// unserved tells of a stored certificate that edges serve its names with something worse.
func (l *lister) unserved(info *ruche.CertificateInfo) {
	if info.State == ruche.CertificateRetired || info.Fingerprint == "" || info.Kind == ruche.CertificateFile || l.in.Now.Sub(info.Issued) < settle {
		return
	}
	for _, node := range slices.Sorted(maps.Keys(l.in.Served)) {
		for _, host := range slices.Sorted(maps.Keys(l.in.Served[node].Names)) {
			s := l.in.Served[node].Names[host]
			if s.Fingerprint == info.Fingerprint || !slices.Contains(info.Names, host) || s.Kind == ruche.CertificateFile || s.NotAfter.After(info.NotAfter) {
				continue
			}
			info.Problems = append(info.Problems, fmt.Sprintf("edge %s serves %s with another one (%s), which is worse", node, host, s.Kind))
		}
	}
}

// seen adds what was seen from outside.
func (l *lister) seen(names []ruche.ServedName) []ruche.ServedName {
	for _, name := range slices.Sorted(maps.Keys(l.in.Sights)) {
		sight := l.in.Sights[name]
		i := slices.IndexFunc(names, func(n ruche.ServedName) bool { return n.Name == name })
		if i < 0 {
			names = append(names, ruche.ServedName{Name: name, Kind: ruche.CertificateNone})
			i = len(names) - 1
		}
		n := &names[i]
		n.Seen, n.Problem = sight.Seen, sight.Problem
		if leaf, err := x509.ParseCertificate(sight.Certificate); err == nil {
			fingerprint := vault.Fingerprint(leaf.Raw)
			if n.Fingerprint != "" && n.Fingerprint != fingerprint && n.Problem == "" {
				n.Problem = "what is seen from outside is not what the edges say they serve"
			}
			if n.Fingerprint == "" {
				n.Kind, n.Fingerprint, n.NotAfter, n.Certificate = KindForeign, fingerprint, leaf.NotAfter, l.prints[fingerprint]
			}
		}
	}
	slices.SortStableFunc(names, func(a, b ruche.ServedName) int { return cmp.Compare(a.Name, b.Name) })
	return names
}

// KindForeign is the kind of a certificate that others look after: of a name that is passed through, or watched.
const KindForeign ruche.CertificateKind = "foreign"

// Select gives the certificates of a list that a selection is about. An ID or name that selects nothing gives an error.
func Select(list []ruche.CertificateInfo, s ruche.CertificateSelection) ([]ruche.CertificateInfo, error) {
	if !s.All && len(s.IDs) == 0 && s.Issuer == "" && s.Serial == "" && s.Fingerprint == "" && s.Key == "" {
		return nil, fmt.Errorf("nothing is selected (name certificates, or give --issuer, --serial or --all)")
	}
	for _, id := range s.IDs {
		if !slices.ContainsFunc(list, func(c ruche.CertificateInfo) bool { return named(c, id) }) {
			return nil, fmt.Errorf("no certificate has the ID or name %q (\"ruche certs list\" lists them): %w", id, ruche.ErrNotFound)
		}
	}
	var chosen []ruche.CertificateInfo
	for _, c := range list {
		if c.Kind != ruche.CertificateFile && fits(c, s) {
			chosen = append(chosen, c)
		}
	}
	return chosen, nil
}

func named(c ruche.CertificateInfo, id string) bool {
	return c.ID == id || slices.Contains(c.Names, strings.ToLower(id))
}

func fits(c ruche.CertificateInfo, s ruche.CertificateSelection) bool {
	digits := func(given string) string {
		return strings.TrimLeft(strings.ToLower(strings.ReplaceAll(given, ":", "")), "0")
	}
	switch {
	case len(s.IDs) > 0 && !slices.ContainsFunc(s.IDs, func(id string) bool { return named(c, id) }):
		return false
	case s.Issuer != "" && c.Issuer != s.Issuer && !strings.Contains(strings.ToLower(c.CA), strings.ToLower(s.Issuer)):
		return false
	case s.Serial != "" && strings.TrimLeft(c.Serial, "0") != digits(s.Serial):
		return false
	case s.Key != "" && strings.TrimLeft(c.Key, "0") != digits(s.Key):
		return false
	case s.Fingerprint != "" && strings.TrimLeft(c.Fingerprint, "0") != digits(s.Fingerprint):
		return false
	}
	return len(s.IDs) > 0 || c.Retired.IsZero()
}
