package acme

import (
	"context"
	"log/slog"
	"slices"

	acmez "github.com/mholt/acmez/v3/acme"
)

// maxListed is how many orders of an account are looked through.
const maxListed = 300

// find looks for an order that was made for this journal: one for the same names that waits for us, and that no other journal has.
func (r *run) find(ctx context.Context) (acmez.Order, error) {
	c := &call{}
	listed, err := listOrders(withCall(ctx, c), r.client, r.account, maxListed)
	if err != nil {
		if f := explain(err, c); f.unreachable {
			return acmez.Order{}, f
		}
		return acmez.Order{}, nil // this CA has no list
	}
	var others []string
	for _, e := range r.orders.all() {
		others = append(others, e.Value.URL)
	}
	for _, url := range slices.Backward(listed) {
		if slices.Contains(others, url) {
			continue
		}
		order, err := r.get(ctx, url)
		if err != nil {
			continue
		}
		waits := order.Status == acmez.StatusPending || order.Status == acmez.StatusReady
		if waits && sameNames(order.Identifiers, r.journal.Names) && (r.journal.Profile == "" || r.journal.Profile == order.Profile) {
			r.log.Info("an order was found again at the CA", slog.String("order", url))
			order.Location = url
			return order, nil
		}
	}
	return acmez.Order{}, nil
}
