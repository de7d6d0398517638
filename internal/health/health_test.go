package health_test

import (
	"testing"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/health"
)

func TestRegistryKeepsOneWarningPerCodeAndSubject(t *testing.T) {
	var r health.Registry
	if !r.Set(ruche.Warning{Code: ruche.CodeCertInvalid, Subject: "b", Message: "first"}) {
		t.Error("Set of a new warning reported that it stood already")
	}
	if r.Set(ruche.Warning{Code: ruche.CodeCertInvalid, Subject: "b", Message: "second"}) {
		t.Error("Set of a standing warning reported that it is new")
	}
	r.Set(ruche.Warning{Code: ruche.CodeCertInvalid, Subject: "a"})

	got := r.List()
	if len(got) != 2 || got[0].Subject != "a" || got[1].Message != "second" {
		t.Errorf("List() = %+v, want subject a, then b with the second message", got)
	}
	if !r.Clear(ruche.CodeCertInvalid, "b") || r.Clear(ruche.CodeCertInvalid, "b") {
		t.Error("Clear must report true once, then false")
	}
	if got := r.List(); len(got) != 1 {
		t.Errorf("after Clear, List() = %+v, want one warning", got)
	}
}

func TestAGroupTakesBackItsOwnWarnings(t *testing.T) {
	var r health.Registry
	r.Set(ruche.Warning{Code: ruche.CodeCertInvalid, Subject: "another's"})
	g := health.Group{Registry: &r}
	a, b := ruche.Warning{Code: ruche.CodeCertShort, Subject: "a"}, ruche.Warning{Code: ruche.CodeCertShort, Subject: "b"}
	if news := g.Stand([]ruche.Warning{a, b}); len(news) != 2 || len(r.List()) != 3 {
		t.Errorf("at first %v are new, %v stand", news, r.List())
	}
	if news := g.Stand([]ruche.Warning{b}); len(news) != 0 || len(r.List()) != 2 {
		t.Errorf("with one left, %v are new, %v stand", news, r.List())
	}
	if g.Stand(nil); len(r.List()) != 1 || r.List()[0].Subject != "another's" {
		t.Errorf("in the end %v stand", r.List())
	}
}
