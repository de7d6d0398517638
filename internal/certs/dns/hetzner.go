package dns

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"
)

const hetznerPoll = 250 * time.Millisecond

// hetzner is the DNS of Hetzner's Cloud API (https://docs.hetzner.cloud), which followed the one of the old DNS console.
type hetzner struct{ api api }

func openHetzner(n network, v values) (writer, error) {
	return hetzner{api{client: n.client, base: "https://api.hetzner.cloud/v1", sign: bearer(v.get("api_token"))}}, nil
}

type hetznerRecord struct {
	Value string `json:"value"`
}

type hetznerAction struct {
	Action struct {
		ID     int    `json:"id"`
		Status string `json:"status"` // running, success, error
		Error  *struct {
			Message string `json:"message"`
		} `json:"error"`
	} `json:"action"`
}

func (h hetzner) path(r record) string {
	return "/zones/" + url.PathEscape(r.zone) + "/rrsets/" + url.PathEscape(apex(r.relative(), "@")) + "/TXT"
}

// values gives those that stand there; exists is whether the set of them does, which has a TTL of its own then.
func (h hetzner) values(ctx context.Context, r record) (there []string, exists bool, err error) {
	var out struct {
		RRSet struct {
			Records []hetznerRecord `json:"records"`
		} `json:"rrset"`
	}
	if err := h.api.call(ctx, http.MethodGet, h.path(r), nil, &out); err != nil {
		if hasStatus(err, http.StatusNotFound) {
			return nil, false, nil
		}
		return nil, false, err
	}
	for _, record := range out.RRSet.Records {
		there = append(there, unquote(record.Value))
	}
	return there, true, nil
}

func (h hetzner) add(ctx context.Context, r record) error {
	there, exists, err := h.values(ctx, r)
	if err != nil || slices.Contains(there, r.value) {
		return err
	}
	in := map[string]any{"records": []hetznerRecord{{quote(r.value)}}}
	if !exists {
		in["ttl"] = int(recordTTL / time.Second)
	}
	return h.act(ctx, h.path(r)+"/actions/add_records", in)
}

func (h hetzner) remove(ctx context.Context, r record) error {
	there, _, err := h.values(ctx, r)
	if err != nil || !slices.Contains(there, r.value) {
		return err
	}
	return h.act(ctx, h.path(r)+"/actions/remove_records", map[string]any{"records": []hetznerRecord{{quote(r.value)}}})
}

// act starts a change and waits for its end.
func (h hetzner) act(ctx context.Context, path string, in any) error {
	var out hetznerAction
	err := h.api.call(ctx, http.MethodPost, path, in, &out)
	for err == nil && out.Action.Status == "running" {
		if err = pause(ctx, hetznerPoll); err == nil {
			err = h.api.call(ctx, http.MethodGet, "/actions/"+strconv.Itoa(out.Action.ID), nil, &out)
		}
	}
	switch {
	case err != nil:
		return err
	case out.Action.Status == "error" && out.Action.Error != nil:
		return fmt.Errorf("the change failed at Hetzner: %s", out.Action.Error.Message)
	case out.Action.Status == "error":
		return errors.New("the change failed at Hetzner")
	}
	return nil
}
