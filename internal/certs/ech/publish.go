package ech

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/ruche-project/ruche"
)

// lookups is how many names are looked up at a time, lookupTime how long all of them may take.
const (
	lookups    = 16
	lookupTime = 15 * time.Second
)

// Lookup asks DNS.
type Lookup interface {
	// ECH gives the ECHConfigLists in the HTTPS records of a name.
	ECH(ctx context.Context, name string) ([][]byte, error)
}

// Status says which HTTPS records are to be published for names, and what DNS has now.
func Status(ctx context.Context, bucket Bucket, names []string, dns Lookup) (ruche.ECHStatus, error) {
	entry, err := bucket.Get(ctx, rowKey)
	switch {
	case errors.Is(err, ruche.ErrNotFound):
		return ruche.ECHStatus{Records: []ruche.ECHRecord{}}, nil
	case err != nil:
		return ruche.ECHStatus{}, fmt.Errorf("cannot read the keys of Encrypted Client Hello: %w", err)
	case len(entry.Value.Configs) == 0:
		return ruche.ECHStatus{}, errDamaged
	}
	row := entry.Value
	list := List(row.Configs[0])
	s := ruche.ECHStatus{PublicName: row.PublicName, Config: list, Rotated: row.Rotated, Next: row.Rotated.Add(Life), Records: make([]ruche.ECHRecord, len(names))}
	ctx, cancel := context.WithTimeout(ctx, lookupTime)
	defer cancel()
	slots := make(chan struct{}, lookups)
	var asking sync.WaitGroup
	for i, name := range names {
		s.Records[i] = ruche.ECHRecord{Name: name, Record: fmt.Sprintf(`%s. HTTPS 1 . alpn="h2,http/1.1" ech=%q`, name, base64.StdEncoding.EncodeToString(list))}
		slots <- struct{}{}
		asking.Go(func() {
			defer func() { <-slots }()
			s.Records[i].Published, s.Records[i].Problem = published(ctx, name, row.Configs, dns)
		})
	}
	asking.Wait()
	return s, nil
}

// published says what DNS has of a name. The configs are those that edges take, the newest first.
func published(ctx context.Context, name string, configs [][]byte, dns Lookup) (has ruche.ECHPublished, problem string) {
	lists, err := dns.ECH(ctx, name)
	if err != nil {
		return ruche.ECHUnknown, err.Error()
	}
	// A list may have configs of others beside ours.
	holds := func(config []byte) bool {
		return slices.ContainsFunc(lists, func(list []byte) bool { return bytes.Contains(list, config) })
	}
	switch {
	case len(lists) == 0:
		return ruche.ECHMissing, ""
	case holds(configs[0]):
		return ruche.ECHCurrent, ""
	case slices.ContainsFunc(configs[1:], holds):
		return ruche.ECHOutdated, ""
	}
	return ruche.ECHForeign, ""
}
