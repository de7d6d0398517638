package dns

import (
	"context"
	"crypto/sha1" // OVH signs calls with it
	"encoding/hex"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// ovh is https://api.ovh.com, with an application key, its secret and a consumer key.
type ovh struct {
	api                   api
	application, consumer string
	secret                string
	ahead                 time.Duration // how far the clock there, by which calls are signed, is ahead of this node's
}

func ovhEndpoint(name string) (string, bool) {
	switch name {
	case "", "ovh-eu":
		return "https://eu.api.ovh.com/1.0", true
	case "ovh-ca":
		return "https://ca.api.ovh.com/1.0", true
	case "ovh-us":
		return "https://api.us.ovhcloud.com/1.0", true
	}
	return "", false
}

func checkOVH(v values) error {
	if _, ok := ovhEndpoint(v.get("endpoint")); !ok && !strings.HasPrefix(v.get("endpoint"), fromFile) {
		return errors.New("endpoint is none of ovh-eu, ovh-ca, ovh-us")
	}
	return nil
}

func openOVH(n network, v values) (writer, error) {
	base, _ := ovhEndpoint(v.get("endpoint"))
	o := &ovh{application: v.get("application_key"), consumer: v.get("consumer_key"), secret: v.get("application_secret")}
	o.api = api{client: n.client, base: base, sign: o.sign}
	return byID{o}, nil
}

// sign signs a call as OVH wants it: a SHA-1 of the secrets, the call and the time there.
func (o *ovh) sign(r *http.Request, body []byte) {
	now := strconv.FormatInt(time.Now().Add(o.ahead).Unix(), 10)
	sum := sha1.Sum([]byte(strings.Join([]string{o.secret, o.consumer, r.Method, r.URL.String(), string(body), now}, "+")))
	r.Header.Set("X-Ovh-Application", o.application)
	r.Header.Set("X-Ovh-Consumer", o.consumer)
	r.Header.Set("X-Ovh-Timestamp", now)
	r.Header.Set("X-Ovh-Signature", "$1$"+hex.EncodeToString(sum[:]))
}

func (o *ovh) path(r record) string { return "/domain/zone/" + url.PathEscape(r.zone) }

func (o *ovh) list(ctx context.Context, r record) ([]entry, error) {
	var there int64
	if err := o.api.call(ctx, http.MethodGet, "/auth/time", nil, &there); err != nil {
		return nil, err
	}
	o.ahead = time.Until(time.Unix(there, 0))
	var ids []int64
	query := url.Values{"fieldType": {"TXT"}, "subDomain": {r.relative()}}
	if err := o.api.call(ctx, http.MethodGet, o.path(r)+"/record?"+query.Encode(), nil, &ids); err != nil {
		return nil, err
	}
	var found []entry
	for _, id := range slices.Sorted(slices.Values(ids)) {
		var one struct {
			Target string `json:"target"`
		}
		if err := o.api.call(ctx, http.MethodGet, o.path(r)+"/record/"+strconv.FormatInt(id, 10), nil, &one); err != nil {
			return nil, err
		}
		found = append(found, entry{strconv.FormatInt(id, 10), one.Target})
	}
	return found, nil
}

func (o *ovh) create(ctx context.Context, r record) error {
	in := map[string]any{"fieldType": "TXT", "subDomain": r.relative(), "target": r.value, "ttl": int(recordTTL / time.Second)}
	if err := o.api.call(ctx, http.MethodPost, o.path(r)+"/record", in, nil); err != nil {
		return err
	}
	return o.publish(ctx, r)
}

func (o *ovh) erase(ctx context.Context, r record, id string) error {
	if err := o.api.call(ctx, http.MethodDelete, o.path(r)+"/record/"+id, nil, nil); err != nil {
		return err
	}
	return o.publish(ctx, r)
}

// publish makes changes take effect.
func (o *ovh) publish(ctx context.Context, r record) error {
	return o.api.call(ctx, http.MethodPost, o.path(r)+"/refresh", nil, nil)
}
