package dns

import (
	"context"

	wire "github.com/miekg/dns"
)

// ECH gives the ECHConfigLists (RFC 9849) in the HTTPS records (RFC 9460) of a name, through CNAMEs; none are no error.
func (r *Resolver) ECH(ctx context.Context, name string) ([][]byte, error) {
	answer, err := r.lookup(ctx, name, wire.TypeHTTPS)
	if err != nil {
		return nil, err
	}
	var lists [][]byte
	for _, rr := range answer.Answer {
		https, ok := rr.(*wire.HTTPS)
		if !ok {
			continue
		}
		for _, v := range https.Value {
			if e, ok := v.(*wire.SVCBECHConfig); ok {
				lists = append(lists, e.ECH)
			}
		}
	}
	return lists, nil
}
