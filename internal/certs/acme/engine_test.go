package acme_test

import (
	"testing"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/pebbletest"
)

func TestACertificateIsIssued(t *testing.T) {
	for _, challenge := range []ruche.ChallengeType{ruche.ChallengeHTTP01, ruche.ChallengeTLSALPN01} {
		t.Run(string(challenge), func(t *testing.T) {
			w := newWorld(t, pebbletest.Options{})
			s := spec("shop.example")
			s.Challenge = challenge
			w.want("service/a", s)
			w.run()
			rec, _ := w.certificate(s)
			w.verify(rec, "shop.example")
		})
	}
}
