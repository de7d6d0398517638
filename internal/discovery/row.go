package discovery

import (
	"encoding/json"

	"github.com/ruche-project/ruche"
)

// row is what is wanted in the buckets under one key; nil means no key.
type row struct {
	declaration *ruche.Declaration
	endpoint    *ruche.Endpoint
	sighting    *ruche.Sighting
	ingress     *ruche.Ingress
	// certificates never stand without a declaration: they are of the same workload, and go with it.
	certificates *ruche.CertificateSpecs
}

// wishes gives the certificates that a declaration goes with; nil when the workload asks for none.
func wishes(d *ruche.Declaration, specs []ruche.CertificateSpec) *ruche.CertificateSpecs {
	if len(specs) == 0 {
		return nil
	}
	return &ruche.CertificateSpecs{Workload: d.Workload, Specs: specs}
}

// specs gives the certificates of a row.
func (r row) specs() []ruche.CertificateSpec {
	if r.certificates == nil {
		return nil
	}
	return r.certificates.Specs
}

// encoded is a row as it is compared and written: by bucket, empty where there is no key.
type encoded struct{ declaration, endpoint, sighting, ingress, certificates string }

func (r row) encode() encoded {
	var e encoded
	if r.declaration != nil {
		data, _ := json.Marshal(r.declaration) // of plain types only, cannot fail
		e.declaration = string(data)
	}
	if r.endpoint != nil {
		data, _ := json.Marshal(r.endpoint)
		e.endpoint = string(data)
	}
	if r.sighting != nil {
		data, _ := json.Marshal(r.sighting)
		e.sighting = string(data)
	}
	if r.ingress != nil {
		data, _ := json.Marshal(r.ingress)
		e.ingress = string(data)
	}
	if r.certificates != nil {
		data, _ := json.Marshal(r.certificates)
		e.certificates = string(data)
	}
	return e
}

// changes gives what makes a row out of what stands in the buckets.
func (e encoded) changes(key string, stands encoded) []Change {
	var list []Change
	for _, c := range []struct{ bucket, now, before string }{
		{BucketDeclarations, e.declaration, stands.declaration}, {BucketEndpoints, e.endpoint, stands.endpoint},
		{BucketSightings, e.sighting, stands.sighting}, {BucketIngress, e.ingress, stands.ingress},
		{BucketCertSpecs, e.certificates, stands.certificates},
	} {
		switch {
		case c.now == c.before:
		case c.now == "":
			list = append(list, Change{Bucket: c.bucket, Key: key})
		default:
			list = append(list, Change{Bucket: c.bucket, Key: key, Value: json.RawMessage(c.now)})
		}
	}
	return list
}

// unsure stands for what may be in the buckets under a key after a write that failed: it differs from every row. Only a control node may write to the bucket of the mesh, be it
// that a key is not there.
func unsure(key string) encoded {
	if key == ingressKey {
		return encoded{ingress: "?"}
	}
	return encoded{declaration: "?", endpoint: "?", sighting: "?", certificates: "?"}
}
