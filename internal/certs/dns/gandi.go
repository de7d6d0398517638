package dns

import (
	"context"
	"net/http"
	"net/url"
	"slices"
)

// gandiTTL is the shortest that Gandi takes, in seconds.
const gandiTTL = 300

// gandi is LiveDNS (https://api.gandi.net/docs/livedns/), which knows sets of values only.
type gandi struct{ api api }

type gandiSet struct {
	TTL    int      `json:"rrset_ttl"`
	Values []string `json:"rrset_values"`
}

func openGandi(n network, v values) (writer, error) {
	sign := bearer(v.get("token"))
	if key := v.get("api_key"); key != "" && v.get("token") == "" {
		sign = func(r *http.Request, _ []byte) { r.Header.Set("Authorization", "Apikey "+key) }
	}
	return gandi{api{client: n.client, base: "https://api.gandi.net/v5/livedns", sign: sign}}, nil
}

func (g gandi) path(r record) string {
	return "/domains/" + url.PathEscape(r.zone) + "/records/" + url.PathEscape(apex(r.relative(), "@")) + "/TXT"
}

func (g gandi) get(ctx context.Context, r record) (gandiSet, error) {
	set := gandiSet{TTL: gandiTTL}
	err := g.api.call(ctx, http.MethodGet, g.path(r), nil, &set)
	if hasStatus(err, http.StatusNotFound) {
		err = nil
	}
	return set, err
}

func (g gandi) add(ctx context.Context, r record) error {
	set, err := g.get(ctx, r)
	if err != nil || slices.Contains(set.Values, quote(r.value)) {
		return err
	}
	set.Values = append(set.Values, quote(r.value))
	return g.api.call(ctx, http.MethodPut, g.path(r), set, nil)
}

func (g gandi) remove(ctx context.Context, r record) error {
	set, err := g.get(ctx, r)
	if err != nil {
		return err
	}
	rest := slices.DeleteFunc(slices.Clone(set.Values), func(v string) bool { return unquote(v) == r.value })
	switch {
	case len(rest) == len(set.Values):
		return nil
	case len(rest) == 0:
		return g.api.call(ctx, http.MethodDelete, g.path(r), nil, nil)
	}
	set.Values = rest
	return g.api.call(ctx, http.MethodPut, g.path(r), set, nil)
}
