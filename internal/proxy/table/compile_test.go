package table_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/ruche-project/ruche"
)

// step changes the world by the next bytes, and reports whether there were enough.
func (w *world) step(next func(n int) int) {
	id := fmt.Sprintf("container/%04d", next(6))
	d, known := w.declarations[id]
	switch action := next(8); {
	case action == 0:
		delete(w.declarations, id)
		delete(w.endpoints, id)
	case action == 1:
		delete(w.endpoints, id)
	case action == 2 && known:
		d.GoneSince = time.Unix(int64(next(2))*1000, 0)
		w.declarations[id] = d
	case action == 3:
		w.endpoints[id] = ruche.Endpoint{Workload: id, Address: fmt.Sprintf("10.0.0.%d", next(3)), State: []ruche.EndpointState{
			ruche.EndpointReady, ruche.EndpointStopped, ruche.EndpointStarting,
		}[next(3)]}
	default:
		kind := []ruche.WorkloadKind{ruche.KindContainer, ruche.KindFile}[next(2)]
		d = ruche.Declaration{Workload: ruche.Workload{ID: id, Kind: kind, Name: fmt.Sprintf("w%d", next(3)), Created: time.Unix(int64(next(3)), 0)}}
		for range next(4) {
			d.Routes = append(d.Routes, anyRoute(next))
		}
		if next(4) == 0 {
			d.Diagnostics = []ruche.Diagnostic{{Code: ruche.CodeKeyUnknown, Workload: d.Workload.Name, Host: []string{"", "a.test"}[next(2)]}}
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
