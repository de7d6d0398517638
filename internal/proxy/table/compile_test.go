package table_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/ruche-project/ruche"
)

// step changes the world in a way that next chooses: it gives numbers from 0 to below n.
func (w *world) step(next func(n int) int) {
	id := fmt.Sprintf("container/%04d", next(6))
	d, known := w.declarations[id]
	live := ruche.Endpoint{
		Workload: id, Address: []string{"", "10.0.0.1", "10.0.0.2"}[next(3)],
		State: []ruche.EndpointState{ruche.EndpointReady, ruche.EndpointStopped, ruche.EndpointStarting}[next(3)],
	}
	switch action := next(10); {
	case action == 0:
		delete(w.declarations, id)
		delete(w.endpoints, id)
	case action == 1:
		delete(w.endpoints, id)
	case action == 2 && known:
		d.GoneSince = time.Unix(int64(next(2))*1000, 0)
		w.declarations[id] = d
	case action == 3:
		w.endpoints[id] = live
	case action == 4:
		w.endpoints[fmt.Sprintf("task/%d", next(4))] = live
	case action == 5:
		delete(w.endpoints, fmt.Sprintf("task/%d", next(4)))
	default:
		kind := []ruche.WorkloadKind{ruche.KindContainer, ruche.KindFile, ruche.KindService}[next(3)]
		d = ruche.Declaration{Workload: ruche.Workload{ID: id, Kind: kind, Name: fmt.Sprintf("w%d", next(3)), Created: time.Unix(int64(next(3)), 0)}}
		for range next(4) {
			d.Routes = append(d.Routes, anyRoute(next))
		}
		if next(4) == 0 {
			d.Diagnostics = []ruche.Diagnostic{{Code: ruche.CodeKeyUnknown, Workload: d.Workload.Name, Message: id, Host: []string{"", "a.test"}[next(2)]}}
		}
		w.declarations[id] = d
	}
}

// anyRoute is one of few, so that they often meet.
func anyRoute(next func(n int) int) ruche.Route {
	r := ruche.Route{
		Name: fmt.Sprintf("r%d", next(3)), Source: "here", Port: 80,
		HTTPSMethod: []ruche.HTTPSMethod{"", "", ruche.HTTPSNoHTTP, ruche.HTTPSNoHTTPS}[next(4)],
		Blocked:     []string{"", "", "", "closed"}[next(4)],
	}
	if next(3) == 0 {
		r.Endpoints = []string{[]string{"http://10.1.1.1", "nonsense"}[next(2)]}
	}
	if next(4) == 0 {
		r.Sticky = &ruche.Sticky{Cookie: []string{"", "c"}[next(2)]}
	}
	host := []string{"a.test", "a.test", "b.a.test", "*.test", "*.a.test", "a.*", "~^a", "~test$", "not a host"}[next(9)]
	switch next(4) {
	case 0:
		r.Vocabulary = ruche.VocabularyTraefik
		r.Match.Rule = []string{
			"Host(`a.test`)", "Host(`a.test`) || Host(`b.a.test`)", "HostRegexp(`test$`)", "PathPrefix(`/x`)", "Host(`a.test`) && Path(`/x`)", "Host(",
		}[next(6)]
		r.Match.Priority = next(3)
	case 1:
		r.Vocabulary, r.Protocol = ruche.VocabularyFile, ruche.ProtocolTCP
		r.Match = ruche.Match{Host: []string{host, ""}[next(2)], EntryPoint: []string{"", "db"}[next(2)]}
	default:
		r.Vocabulary = []ruche.Vocabulary{ruche.VocabularyFile, ruche.VocabularyNginxProxy}[next(2)]
		r.Match = ruche.Match{Host: host, Path: []string{"", "/x", "/x/", "= /x", "^~ /x", "~ ^/x", "no path"}[next(7)]}
	}
	return r
}

func TestChangesLeadToWhatCompilingAnewDoes(t *testing.T) {
	for seed := range uint64(40) {
		random := rand.New(rand.NewPCG(seed, 0))
		w := newWorld()
		for range 40 {
			for range random.IntN(3) {
				w.step(random.IntN)
			}
			w.compile() // compares
		}
	}
}

// A route's place may be taken, and given back, by a change that does not touch what declares it.
func TestShadowsFollowChanges(t *testing.T) {
	for name, other := range map[string]ruche.Route{
		"a rule over a pattern": tr("r", "Host(`a.test`)"),
		"another vocabulary":    file("a.test", "/"),
	} {
		w := newWorld().container(1, np("a.test", "/"), np("b.test", "/"))
		for i := range 2 {
			if r := routeByID(t, w.compile(), "nginx-proxy:a.test/"); w.compiled.ShadowedBy(r) != "" {
				t.Errorf("%s, %d: shadowed by %s", name, i, w.compiled.ShadowedBy(r))
			}
			w.container(2, other)
			if r := routeByID(t, w.compile(), "nginx-proxy:a.test/"); w.compiled.ShadowedBy(r) == "" {
				t.Errorf("%s, %d: not shadowed", name, i)
			}
			delete(w.declarations, "container/0002")
		}
	}
}

func FuzzChanges(f *testing.F) {
	f.Add([]byte("a few changes, one after the other, of what is declared and of what is live"))
	f.Fuzz(func(t *testing.T, data []byte) {
		w := newWorld()
		next := func(n int) int {
			if len(data) == 0 {
				return 0
			}
			b := data[0]
			data = data[1:]
			return int(b) % n
		}
		for steps := 0; len(data) > 0 && steps < 50; steps++ {
			w.step(next)
			w.compile() // compares
		}
	})
}
