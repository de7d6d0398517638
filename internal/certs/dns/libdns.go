package dns

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/libdns/cloudflare"
	"github.com/libdns/desec"
	"github.com/libdns/infomaniak"
	"github.com/libdns/libdns"
)

// library is a provider that a module of libdns speaks to.
type library struct {
	records interface {
		libdns.RecordAppender
		libdns.RecordDeleter
	}
	same string              // is in the error of an API that has the very record already; empty: it gives none
	look libdns.RecordGetter // set for an API that would keep the same record twice
}

func (l library) add(ctx context.Context, r record) error {
	if there, err := l.has(ctx, r); there || err != nil {
		return err
	}
	_, err := l.records.AppendRecords(ctx, r.zone+".", []libdns.Record{text(r, recordTTL)})
	if err != nil && l.same != "" && strings.Contains(err.Error(), l.same) {
		return nil
	}
	return err
}

func (l library) has(ctx context.Context, r record) (bool, error) {
	if l.look == nil {
		return false, nil
	}
	all, err := l.look.GetRecords(ctx, r.zone+".")
	want := text(r, 0).RR()
	return slices.ContainsFunc(all, func(one libdns.Record) bool {
		rr := one.RR()
		return rr.Type == want.Type && rr.Name == want.Name && rr.Data == want.Data
	}), err
}

// remove names no TTL: providers raise it to what they allow, and modules compare it.
func (l library) remove(ctx context.Context, r record) error {
	_, err := l.records.DeleteRecords(ctx, r.zone+".", []libdns.Record{text(r, 0)})
	return err
}

func text(r record, ttl time.Duration) libdns.Record {
	return libdns.TXT{Name: libdns.RelativeName(r.name+".", r.zone+"."), TTL: ttl, Text: r.value}
}

func openCloudflare(n network, v values) (writer, error) {
	p := &cloudflare.Provider{APIToken: v.get("api_token"), ZoneToken: v.get("zone_token"), HTTPClient: n.client}
	return library{records: p, same: "81058"}, nil // "an identical record already exists"
}

func openDesec(_ network, v values) (writer, error) {
	return library{records: &desec.Provider{Token: v.get("token")}}, nil
}

func openInfomaniak(_ network, v values) (writer, error) {
	p := &infomaniak.Provider{APIToken: v.get("api_token")}
	return library{records: p, look: p}, nil
}
