package pebbletest

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/letsencrypt/pebble/v2/acme"
	"github.com/letsencrypt/pebble/v2/core"
)

// Pebble is not made for many requests at once, nor for its own work beside them:
//   - It locks orders and authorizations in different orders, so that requests that meet come to a standstill. They are served one after the other here.
//   - To show an order it takes the order's lock for reading twice. When its validation or its issuing asks for the lock between the two, all three wait for
//     ever. Here an order is shown only while nothing works on it.
//   - It keeps orders by the serial number of their certificate without leading zeros, and looks for what a new order replaces (RFC 9773 section 4.1) by the number as
//     it is in the certificate, where one of 250 begins with a zero. Here such orders are kept by both.

// begin waits until a request can be served, which c.serve then has to do. It reports false when ctx ends before.
func (c *CA) begin(ctx context.Context, path string) bool {
	for {
		c.serving.Lock()
		if id, ok := strings.CutPrefix(path, "/my-order/"); !ok || c.rests(id) {
			return true
		}
		c.serving.Unlock()
		select {
		case <-ctx.Done():
			return false
		case <-time.After(time.Millisecond):
		}
	}
}

// serve has Pebble answer, and lets the next request in.
func (c *CA) serve(next http.Handler, w http.ResponseWriter, r *http.Request) {
	defer c.serving.Unlock()
	next.ServeHTTP(w, r)
}

// rests reports whether Pebble does nothing with an order but to wait for requests.
func (c *CA) rests(id string) bool {
	order := c.store.GetOrderByID(id)
	if order == nil {
		return true
	}
	order.RLock()
	defer order.RUnlock()
	for _, a := range order.AuthorizationObjects {
		if status, busy := validation(a); busy || status == acme.StatusInvalid && order.Error == nil {
			return false // the order is about to get the error
		}
	}
	switch {
	case !order.BeganProcessing:
		return true
	case order.CertificateObject == nil:
		return false
	}
	if _, err := c.store.GetOrderByIssuedSerial(order.CertificateObject.ID); err != nil {
		return false // it is about to be kept
	}
	c.keepByWhole(order)
	return true
}

// validation gives the status of an authorization, and whether the CA looks at one of its challenges.
func validation(a *core.Authorization) (status string, busy bool) {
	a.RLock()
	defer a.RUnlock()
	for _, ch := range a.Challenges {
		ch.RLock()
		busy = busy || ch.Status == acme.StatusProcessing
		ch.RUnlock()
	}
	return a.Status, busy
}

// keepByWhole keeps an order by the serial number of its certificate as it is in there: with a zero before a first bit that is set.
func (c *CA) keepByWhole(order *core.Order) {
	serial := order.CertificateObject.Cert.SerialNumber
	if serial.BitLen()%8 != 0 {
		return
	}
	id := "00" + order.CertificateObject.ID
	if _, err := c.store.GetOrderByIssuedSerial(id); err == nil {
		return
	}
	twin := &core.Order{ID: order.ID, AccountID: order.AccountID, CertificateObject: &core.Certificate{ID: id}}
	twin.Identifiers = order.Identifiers
	_ = c.store.AddOrderByIssuedSerial(twin) // the error is that of an order without a certificate
}
