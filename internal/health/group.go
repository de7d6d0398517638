package health

import "github.com/ruche-project/ruche"

// Group are the warnings of a part that looks at all it cares for at once. The zero value with a Registry is ready; one goroutine uses it at a time.
type Group struct {
	Registry *Registry
	stand    map[key]bool
}

// Stand makes these the warnings of the part that stand, takes back what stood and is not among them, and gives those that are new.
func (g *Group) Stand(all []ruche.Warning) (news []ruche.Warning) {
	next := make(map[key]bool, len(all))
	for _, w := range all {
		if g.Registry.Set(w) {
			news = append(news, w)
		}
		next[key{w.Code, w.Subject}] = true
	}
	for k := range g.stand {
		if !next[k] {
			g.Registry.Clear(k.code, k.subject)
		}
	}
	g.stand = next
	return news
}
