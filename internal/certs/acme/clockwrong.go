package acme

import (
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/ruche-project/ruche"
)

// clockTells is how far our clock may be from a CA's.
const clockTells = time.Minute

// heard compares clocks: the answer's header Date (RFC 9110 section 6.6.1) ought to lie between when the request was sent and when the answer came.
func (e *Engine) heard(directory string, sent time.Time, answer *http.Response) {
	date, err := http.ParseTime(answer.Header.Get("Date"))
	if err != nil || answer.Header.Get("Age") != "" { // a cache keeps the Date of long ago
		return
	}
	var ahead time.Duration
	switch came := e.now(); {
	case date.Before(sent):
		ahead = sent.Sub(date)
	case date.After(came):
		ahead = came.Sub(date)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.clocks[directory] = ahead
}

// wrongClocks warns where our clock and that of a CA differ.
func (e *Engine) wrongClocks() []ruche.Warning {
	e.mu.Lock()
	defer e.mu.Unlock()
	var all []ruche.Warning
	for directory, ahead := range e.clocks {
		if ahead.Abs() < clockTells || !slices.ContainsFunc(e.cfg.Issuers, func(i ruche.Issuer) bool { return i.Directory == directory }) {
			continue
		}
		way := "ahead of"
		if ahead < 0 {
			way = "behind"
		}
		all = append(all, ruche.Warning{
			Code: ruche.CodeClockWrong, Severity: ruche.SeverityWarning, Subject: directory,
			Message: fmt.Sprintf("the clock of this node is %s %s the CA's", ahead.Abs().Round(time.Second), way),
			Hint:    "set it, and have it kept right (timedatectl; chrony or systemd-timesyncd): certificates are renewed by it, and clients refuse what begins in their future",
		})
	}
	return all
}
