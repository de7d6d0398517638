package dns

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// digitalOcean is https://docs.digitalocean.com/reference/api/reference/domain-records/.
type digitalOcean struct{ api api }

func openDigitalOcean(n network, v values) (writer, error) {
	return byID{digitalOcean{api{client: n.client, base: "https://api.digitalocean.com/v2", sign: bearer(v.get("api_token"))}}}, nil
}

func (d digitalOcean) path(r record) string { return "/domains/" + url.PathEscape(r.zone) + "/records" }

func (d digitalOcean) list(ctx context.Context, r record) ([]entry, error) {
	var out struct {
		Records []struct {
			ID   int64  `json:"id"`
			Type string `json:"type"`
			Data string `json:"data"`
		} `json:"domain_records"`
	}
	query := url.Values{"type": {"TXT"}, "name": {r.name}, "per_page": {"200"}}
	if err := d.api.call(ctx, http.MethodGet, d.path(r)+"?"+query.Encode(), nil, &out); err != nil {
		return nil, err
	}
	var found []entry
	for _, e := range out.Records {
		if e.Type == "TXT" {
			found = append(found, entry{strconv.FormatInt(e.ID, 10), e.Data})
		}
	}
	return found, nil
}

func (d digitalOcean) create(ctx context.Context, r record) error {
	in := map[string]any{"type": "TXT", "name": apex(r.relative(), "@"), "data": r.value, "ttl": int(recordTTL / time.Second)}
	return d.api.call(ctx, http.MethodPost, d.path(r), in, nil)
}

func (d digitalOcean) erase(ctx context.Context, r record, id string) error {
	return d.api.call(ctx, http.MethodDelete, d.path(r)+"/"+id, nil, nil)
}

// ionos is https://developer.hosting.ionos.com/docs/dns.
type ionos struct{ api api }

func openIonos(n network, v values) (writer, error) {
	key := v.get("api_key")
	if key == "" {
		key = v.get("prefix") + "." + v.get("secret")
	}
	sign := func(r *http.Request, _ []byte) { r.Header.Set("X-API-Key", key) }
	return byID{ionos{api{client: n.client, base: "https://api.hosting.ionos.com/dns/v1", sign: sign}}}, nil
}

func (i ionos) zone(ctx context.Context, r record) (string, error) {
	var zones []struct {
		ID   string `json:"id"`
		Name string `json:"name"`
	}
	if err := i.api.call(ctx, http.MethodGet, "/zones", nil, &zones); err != nil {
		return "", err
	}
	for _, z := range zones {
		if plain(z.Name) == r.zone {
			return "/zones/" + url.PathEscape(z.ID), nil
		}
	}
	return "", fmt.Errorf("the zone %s is not in this account at IONOS", r.zone)
}

func (i ionos) list(ctx context.Context, r record) ([]entry, error) {
	zone, err := i.zone(ctx, r)
	if err != nil {
		return nil, err
	}
	var out struct {
		Records []struct {
			ID      string `json:"id"`
			Name    string `json:"name"`
			Type    string `json:"type"`
			Content string `json:"content"`
		} `json:"records"`
	}
	query := url.Values{"recordName": {r.name}, "recordType": {"TXT"}}
	if err := i.api.call(ctx, http.MethodGet, zone+"?"+query.Encode(), nil, &out); err != nil {
		return nil, err
	}
	var found []entry
	for _, e := range out.Records {
		if e.Type == "TXT" && plain(e.Name) == r.name {
			found = append(found, entry{e.ID, e.Content})
		}
	}
	return found, nil
}

func (i ionos) create(ctx context.Context, r record) error {
	zone, err := i.zone(ctx, r)
	if err != nil {
		return err
	}
	in := []map[string]any{{"name": r.name, "type": "TXT", "content": r.value, "ttl": int(recordTTL / time.Second)}}
	return i.api.call(ctx, http.MethodPost, zone+"/records", in, nil)
}

func (i ionos) erase(ctx context.Context, r record, id string) error {
	zone, err := i.zone(ctx, r)
	if err != nil {
		return err
	}
	return i.api.call(ctx, http.MethodDelete, zone+"/records/"+url.PathEscape(id), nil, nil)
}

// porkbunTTL is the shortest that Porkbun takes, in seconds.
const porkbunTTL = "600"

// porkbun is https://porkbun.com/api/json/v3/documentation. Its keys are in the body of each call.
type porkbun struct {
	api         api
	key, secret string
}

type porkbunAnswer struct {
	Status  string `json:"status"`
	Message string `json:"message"`
	Records []struct {
		ID      string `json:"id"`
		Content string `json:"content"`
	} `json:"records"`
}

func openPorkbun(n network, v values) (writer, error) {
	return byID{porkbun{api{client: n.client, base: "https://api.porkbun.com/api/json/v3"}, v.get("api_key"), v.get("secret_key")}}, nil
}

func (p porkbun) call(ctx context.Context, path string, in map[string]string) (porkbunAnswer, error) {
	in["apikey"], in["secretapikey"] = p.key, p.secret
	var out porkbunAnswer
	if err := p.api.call(ctx, http.MethodPost, path, in, &out); err != nil {
		return out, err
	}
	if out.Status != "SUCCESS" {
		return out, errors.New("the API refuses: " + out.Message)
	}
	return out, nil
}

func (p porkbun) list(ctx context.Context, r record) ([]entry, error) {
	out, err := p.call(ctx, "/dns/retrieveByNameType/"+url.PathEscape(r.zone)+"/TXT/"+url.PathEscape(r.relative()), map[string]string{})
	if err != nil {
		return nil, err
	}
	var found []entry
	for _, e := range out.Records {
		found = append(found, entry{e.ID, e.Content})
	}
	return found, nil
}

func (p porkbun) create(ctx context.Context, r record) error {
	_, err := p.call(ctx, "/dns/create/"+url.PathEscape(r.zone), map[string]string{"name": r.relative(), "type": "TXT", "content": r.value, "ttl": porkbunTTL})
	return err
}

func (p porkbun) erase(ctx context.Context, r record, id string) error {
	_, err := p.call(ctx, "/dns/delete/"+url.PathEscape(r.zone)+"/"+url.PathEscape(id), map[string]string{})
	return err
}
