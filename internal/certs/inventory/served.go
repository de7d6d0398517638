package inventory

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
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
		l.infos[id], l.prints[s.Fingerprint] = l.file(id, s), id
	}
	info := l.infos[id]
	if info == nil {
		return
	}
	info.ServedBy = append(info.ServedBy, node)
	if problem := fmt.Sprintf("it is not good for %s: it is for %s", name, s.Unfit); s.Unfit != "" && !slices.Contains(l.unfit[id], problem) {
		l.unfit[id] = append(l.unfit[id], problem)
		if info.State == ruche.CertificateValid && info.Kind == ruche.CertificateFile {
			info.State = ruche.CertificateFailing // clients refuse it
		}
	}
	if info.Kind == ruche.CertificateFile && !slices.Contains(info.Names, name) {
		info.Names = append(info.Names, name)
		slices.Sort(info.Names)
	}
}

// file makes the certificate of a file that an edge serves.
func (l *lister) file(id string, s vault.Serving) *ruche.CertificateInfo {
	info := &ruche.CertificateInfo{
		ID: id, Kind: s.Kind, State: ruche.CertificateValid, Source: "file " + s.File, Fingerprint: s.Fingerprint, NotBefore: s.NotBefore, NotAfter: s.NotAfter,
		CA: s.Issuer, KeyType: s.KeyType, Serial: s.Serial,
	}
	switch {
	case !l.in.Now.Before(s.NotAfter):
		info.State = ruche.CertificateExpired
	case l.in.Now.Before(s.NotBefore):
		info.State, info.Problems = ruche.CertificatePending, []string{"it is not valid before " + s.NotBefore.UTC().Format(time.RFC3339)}
	}
	return info
}

// unserved tells of a stored certificate that is wanted where edges serve its names with something worse.
func (l *lister) unserved(info *ruche.CertificateInfo) (problems []string) {
	if _, wanted := l.in.Wants[info.ID]; !wanted || !stored(info) || l.in.Now.Sub(info.Issued) < settle {
		return nil
	}
	for _, node := range slices.Sorted(maps.Keys(l.in.Served)) {
		for _, host := range info.Names {
			s, known := l.in.Served[node].Names[host]
			if !known || s.Kind == ruche.CertificateFile || s.NotAfter.After(info.NotAfter) {
				continue
			}
			if _, another := l.prints[s.Fingerprint]; another && l.in.Now.Before(s.NotAfter) {
				continue // this one, or another that is stored
			}
			problems = append(problems, fmt.Sprintf("edge %s serves %s with another one (%s), which is worse", node, host, s.Kind))
		}
	}
	return problems
}

// stored tells of a certificate of the store that may be served.
func stored(info *ruche.CertificateInfo) bool {
	return info.Fingerprint != "" && info.Kind != ruche.CertificateFile && info.Retired.IsZero() && info.Revoked.IsZero()
}

// seen adds what was seen of names that are passed through, and of what is watched.
func (l *lister) seen(names []ruche.ServedName) []ruche.ServedName {
	byName := make(map[string]int, len(names))
	for i, n := range names {
		byName[n.Name] = i
	}
	add := func(name, edge string, sight vault.Sight) {
		i, known := byName[name]
		if !known {
			i, byName[name] = len(names), len(names)
			names = append(names, ruche.ServedName{Name: name, Kind: ruche.CertificateNone})
		}
		l.sight(&names[i], edge, sight)
	}
	for _, node := range slices.Sorted(maps.Keys(l.in.Served)) {
		for name, sight := range l.in.Served[node].Seen {
			add(name, node, sight)
		}
	}
	for name, sight := range l.in.Sights {
		add(name, "", sight)
	}
	slices.SortStableFunc(names, func(a, b ruche.ServedName) int { return cmp.Compare(a.Name, b.Name) })
	return names
}

// sight adds a look to a name. Of several looks the first one that found a certificate counts, and every problem.
func (l *lister) sight(n *ruche.ServedName, edge string, s vault.Sight) {
	if n.Seen.Before(s.Seen) {
		n.Seen = s.Seen
	}
	n.Problem = cmp.Or(n.Problem, s.Problem)
	served := n.Kind != ruche.CertificateNone && n.Kind != ruche.CertificateForeign
	switch {
	case served && s.Fingerprint != "" && n.Fingerprint != s.Fingerprint:
		n.Problem = cmp.Or(n.Problem, "what is seen from outside is not what the edges say they serve")
	case served:
	case n.Fingerprint == "" && s.Fingerprint != "":
		n.Kind, n.Fingerprint, n.NotAfter, n.CA, n.Withdrawn = ruche.CertificateForeign, s.Fingerprint, s.NotAfter, s.Issuer, s.Revoked
		n.Certificate = l.prints[s.Fingerprint]
	}
	switch {
	case edge == "":
	case n.Fingerprint != s.Fingerprint && s.Fingerprint != "":
		if n.Others == nil {
			n.Others = map[string]string{}
		}
		n.Others[edge] = s.Fingerprint
	default:
		n.Edges = append(n.Edges, edge)
	}
}
