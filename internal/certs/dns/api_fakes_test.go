package dns_test

import (
	"crypto/sha1"
	"encoding/hex"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

func fakeHetzner(f fakeAPI) {
	const set = "/v1/zones/" + apiZone + "/rrsets/" + apiLocal + "/TXT"
	var running atomic.Int32
	f.mux.HandleFunc("GET "+set, func(w http.ResponseWriter, _ *http.Request) {
		list := f.all(func(v string) any { return fields{"value": quoted(v)} })
		if len(list) == 0 {
			f.answer(w, http.StatusNotFound, fields{"error": fields{"code": "not_found", "message": "rrset not found"}})
			return
		}
		f.answer(w, http.StatusOK, fields{"rrset": fields{"records": list, "ttl": 3600}})
	})
	change := func(do func(v string)) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			var in struct {
				TTL     int
				Records []struct{ Value string }
			}
			f.read(r, &in)
			if in.TTL != 0 && len(f.zone.values(apiName)) > 0 {
				f.answer(w, http.StatusUnprocessableEntity, fields{"error": fields{"message": "the TTL of the rrset is another"}})
				return
			}
			do(unquoted(in.Records[0].Value))
			running.Store(1)
			f.answer(w, http.StatusCreated, fields{"action": fields{"id": 7, "status": "running"}})
		}
	}
	f.mux.HandleFunc("POST "+set+"/actions/add_records", change(f.add))
	f.mux.HandleFunc("POST "+set+"/actions/remove_records", change(func(v string) { f.remove(idOf(v)) }))
	f.mux.HandleFunc("GET /v1/actions/7", func(w http.ResponseWriter, _ *http.Request) {
		f.answer(w, http.StatusOK, fields{"action": fields{"id": 7, "status": "success"}})
	})
}

func fakeGandi(f fakeAPI) {
	const set = "/v5/livedns/domains/" + apiZone + "/records/" + apiLocal + "/TXT"
	f.mux.HandleFunc("GET "+set, func(w http.ResponseWriter, _ *http.Request) {
		list := f.all(func(v string) any { return quoted(v) })
		if len(list) == 0 {
			f.answer(w, http.StatusNotFound, fields{"code": 404, "message": "Can't find the DNS record"})
			return
		}
		f.answer(w, http.StatusOK, fields{"rrset_values": list, "rrset_ttl": 300, "rrset_type": "TXT"})
	})
	f.mux.HandleFunc("PUT "+set, func(w http.ResponseWriter, r *http.Request) {
		var in struct {
			TTL    int      `json:"rrset_ttl"`
			Values []string `json:"rrset_values"`
		}
		f.read(r, &in)
		if in.TTL < 300 {
			f.t.Errorf("a TTL of %d", in.TTL)
		}
		var values []string
		for _, v := range in.Values {
			values = append(values, unquoted(v))
		}
		f.set(values)
		f.answer(w, http.StatusCreated, fields{"message": "DNS Record Created"})
	})
	f.mux.HandleFunc("DELETE "+set, func(w http.ResponseWriter, _ *http.Request) {
		f.set(nil)
		w.WriteHeader(http.StatusNoContent)
	})
}

func fakeDigitalOcean(f fakeAPI) {
	const records = "/v2/domains/" + apiZone + "/records"
	f.mux.HandleFunc("GET "+records, func(w http.ResponseWriter, r *http.Request) {
		if q := r.URL.Query(); q.Get("name") != apiName || q.Get("type") != "TXT" {
			f.t.Errorf("it asks for %v", q)
		}
		f.answer(w, http.StatusOK, fields{"domain_records": f.all(func(v string) any { return fields{"id": idNumber(v), "type": "TXT", "name": apiLocal, "data": v} })})
	})
	f.mux.HandleFunc("POST "+records, func(w http.ResponseWriter, r *http.Request) {
		var in struct{ Type, Name, Data string }
		f.read(r, &in)
		if in.Name != apiLocal || in.Type != "TXT" {
			f.t.Errorf("it makes %+v", in)
		}
		f.add(in.Data)
		f.answer(w, http.StatusCreated, fields{"domain_record": fields{"id": idNumber(in.Data)}})
	})
	f.mux.HandleFunc("DELETE "+records+"/{id}", func(w http.ResponseWriter, r *http.Request) {
		f.remove(r.PathValue("id"))
		w.WriteHeader(http.StatusNoContent)
	})
}

func fakeIonos(f fakeAPI) {
	f.mux.HandleFunc("GET /dns/v1/zones", func(w http.ResponseWriter, _ *http.Request) {
		f.answer(w, http.StatusOK, []any{fields{"id": "other", "name": "other.test"}, fields{"id": "z1", "name": apiZone}})
	})
	f.mux.HandleFunc("GET /dns/v1/zones/z1", func(w http.ResponseWriter, r *http.Request) {
		if q := r.URL.Query(); q.Get("recordName") != apiName || q.Get("recordType") != "TXT" {
			f.t.Errorf("it asks for %v", q)
		}
		f.answer(w, http.StatusOK, fields{"id": "z1", "records": f.all(func(v string) any { return fields{"id": idOf(v), "name": apiName, "type": "TXT", "content": quoted(v)} })})
	})
	f.mux.HandleFunc("POST /dns/v1/zones/z1/records", func(w http.ResponseWriter, r *http.Request) {
		var in []struct{ Name, Type, Content string }
		f.read(r, &in)
		f.add(in[0].Content)
		f.answer(w, http.StatusCreated, []any{})
	})
	f.mux.HandleFunc("DELETE /dns/v1/zones/z1/records/{id}", func(_ http.ResponseWriter, r *http.Request) { f.remove(r.PathValue("id")) })
}

func fakePorkbun(f fakeAPI) {
	const base = "POST /api/json/v3/dns/"
	f.mux.HandleFunc(base+"retrieveByNameType/"+apiZone+"/TXT/"+apiLocal, func(w http.ResponseWriter, _ *http.Request) {
		f.answer(w, http.StatusOK, fields{"status": "SUCCESS", "records": f.all(func(v string) any { return fields{"id": idOf(v), "name": apiName, "content": v} })})
	})
	f.mux.HandleFunc(base+"create/"+apiZone, func(w http.ResponseWriter, r *http.Request) {
		var in struct{ Name, Type, Content, TTL string }
		f.read(r, &in)
		if in.Name != apiLocal || in.Type != "TXT" || in.TTL != "600" {
			f.t.Errorf("it makes %+v", in)
		}
		f.add(in.Content)
		f.answer(w, http.StatusOK, fields{"status": "SUCCESS", "id": 1})
	})
	f.mux.HandleFunc(base+"delete/"+apiZone+"/{id}", func(w http.ResponseWriter, r *http.Request) {
		f.remove(r.PathValue("id"))
		f.answer(w, http.StatusOK, fields{"status": "SUCCESS"})
	})
}

// ovhAhead is how far the clock of the fake is ahead.
const ovhAhead = time.Hour

func signedForOVH(r *http.Request, body []byte) bool {
	at, _ := strconv.ParseInt(r.Header.Get("X-Ovh-Timestamp"), 10, 64)
	if off := time.Until(time.Unix(at, 0)) - ovhAhead; off.Abs() > time.Minute {
		return false
	}
	u := *r.URL
	u.Scheme, u.Host = "https", r.Header.Get("X-Meant-For")
	sum := sha1.Sum([]byte(strings.Join([]string{apiSecret, "consumer", r.Method, u.String(), string(body), r.Header.Get("X-Ovh-Timestamp")}, "+")))
	return r.Header.Get("X-Ovh-Signature") == "$1$"+hex.EncodeToString(sum[:]) && r.Header.Get("X-Ovh-Application") == "ak" && r.Header.Get("X-Ovh-Consumer") == "consumer"
}

func fakeOVH(f fakeAPI) {
	const zone = "/1.0/domain/zone/" + apiZone
	pending := func() {} // what the next refresh makes true
	f.mux.HandleFunc("GET /1.0/auth/time", func(w http.ResponseWriter, _ *http.Request) {
		f.answer(w, http.StatusOK, time.Now().Add(ovhAhead).Unix())
	})
	f.mux.HandleFunc("GET "+zone+"/record", func(w http.ResponseWriter, r *http.Request) {
		if q := r.URL.Query(); q.Get("fieldType") != "TXT" || q.Get("subDomain") != apiLocal {
			f.t.Errorf("it asks for %v", q)
		}
		f.answer(w, http.StatusOK, f.all(func(v string) any { return idNumber(v) }))
	})
	f.mux.HandleFunc("GET "+zone+"/record/{id}", func(w http.ResponseWriter, r *http.Request) {
		for _, v := range f.zone.values(apiName) {
			if idOf(v) == r.PathValue("id") {
				f.answer(w, http.StatusOK, fields{"target": quoted(v)})
			}
		}
	})
	f.mux.HandleFunc("POST "+zone+"/record", func(w http.ResponseWriter, r *http.Request) {
		var in struct{ FieldType, SubDomain, Target string }
		f.read(r, &in)
		pending = func() { f.add(in.Target) }
		f.answer(w, http.StatusOK, fields{"id": idNumber(in.Target)})
	})
	f.mux.HandleFunc("DELETE "+zone+"/record/{id}", func(_ http.ResponseWriter, r *http.Request) {
		id := r.PathValue("id")
		pending = func() { f.remove(id) }
	})
	f.mux.HandleFunc("POST "+zone+"/refresh", func(http.ResponseWriter, *http.Request) { pending() })
}

func fakeCloudflare(f fakeAPI) {
	const base = "/client/v4/zones"
	record := func(v string) fields {
		return fields{"id": idOf(v), "zone_id": "z1", "zone_name": apiZone, "type": "TXT", "name": apiName, "content": quoted(v), "ttl": 60}
	}
	f.mux.HandleFunc("GET "+base, func(w http.ResponseWriter, r *http.Request) {
		f.answer(w, http.StatusOK, fields{"success": true, "result": []any{fields{"id": "z1", "name": strings.TrimSuffix(r.URL.Query().Get("name"), ".")}}})
	})
	f.mux.HandleFunc("GET "+base+"/z1/dns_records", func(w http.ResponseWriter, r *http.Request) {
		list := []any{}
		for _, v := range f.zone.values(apiName) {
			if strings.Contains(v, r.URL.Query().Get("content.contains")) {
				list = append(list, record(v))
			}
		}
		f.answer(w, http.StatusOK, fields{"success": true, "result": list})
	})
	f.mux.HandleFunc("POST "+base+"/z1/dns_records", func(w http.ResponseWriter, r *http.Request) {
		var in struct{ Name, Type, Content string }
		f.read(r, &in)
		v := unquoted(in.Content)
		if slices.Contains(f.zone.values(apiName), v) {
			f.answer(w, http.StatusBadRequest, fields{"success": false, "errors": []any{fields{"code": 81058, "message": "An identical record already exists."}}})
			return
		}
		f.add(v)
		f.answer(w, http.StatusOK, fields{"success": true, "result": record(v)})
	})
	f.mux.HandleFunc("DELETE "+base+"/z1/dns_records/{id}", func(w http.ResponseWriter, r *http.Request) {
		f.remove(r.PathValue("id"))
		f.answer(w, http.StatusOK, fields{"success": true, "result": record("gone")})
	})
}

func fakeDesec(f fakeAPI) {
	const sets = "/api/v1/domains/" + apiZone + "/rrsets/"
	f.mux.HandleFunc("GET "+sets+apiLocal+"/TXT", func(w http.ResponseWriter, _ *http.Request) {
		list := f.all(func(v string) any { return quoted(v) })
		if len(list) == 0 {
			f.answer(w, http.StatusNotFound, fields{"detail": "Not found."})
			return
		}
		f.answer(w, http.StatusOK, fields{"subname": apiLocal, "type": "TXT", "records": list, "ttl": 3600})
	})
	f.mux.HandleFunc("PUT "+sets+"{$}", func(w http.ResponseWriter, r *http.Request) {
		var in []struct {
			Subname string
			TTL     int
			Records []string
		}
		f.read(r, &in)
		if in[0].Subname != apiLocal || in[0].TTL < 3600 {
			f.t.Errorf("it writes %+v", in)
		}
		var values []string
		for _, v := range in[0].Records {
			values = append(values, unquoted(v))
		}
		f.set(values)
		f.answer(w, http.StatusOK, []any{})
	})
}

func fakeInfomaniak(f fakeAPI) {
	const records = "/2/zones/" + apiZone + "/records"
	record := func(v string) any {
		return fields{"id": idNumber(v), "source": apiLocal, "type": "TXT", "ttl": 300, "target": quoted(v)}
	}
	f.mux.HandleFunc("GET /2/domains/"+apiZone+"/zones", func(w http.ResponseWriter, _ *http.Request) {
		f.answer(w, http.StatusOK, fields{"result": "success", "data": []any{fields{"fqdn": apiZone}}})
	})
	f.mux.HandleFunc("GET "+records, func(w http.ResponseWriter, _ *http.Request) {
		f.answer(w, http.StatusOK, fields{"result": "success", "data": f.all(record)})
	})
	f.mux.HandleFunc("POST "+records, func(w http.ResponseWriter, r *http.Request) {
		var in struct{ Source, Type, Target string }
		f.read(r, &in)
		if in.Source != apiLocal || in.Type != "TXT" {
			f.t.Errorf("it makes %+v", in)
		}
		f.add(in.Target)
		f.answer(w, http.StatusOK, fields{"result": "success", "data": record(in.Target)})
	})
	f.mux.HandleFunc("DELETE "+records+"/{id}", func(w http.ResponseWriter, r *http.Request) {
		f.remove(r.PathValue("id"))
		f.answer(w, http.StatusOK, fields{"result": "success", "data": true})
	})
}
